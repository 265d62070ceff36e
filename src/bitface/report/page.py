"""The page itself: the report's data, filled into the templates that lie beside this file."""

import base64
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, UndefinedError

from bitface.files import write_bytes
from bitface.report import analysed, format, verification
from bitface.report.drawings import charts, curves, plots
from bitface.report.drawings.scatter import scatter
from bitface.report.markup import labelled
from bitface.results.analysis import AnalysisRecord

_IMAGE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}")
_PNG = b"\x89PNG\r\n\x1a\n"
# Control characters and lone surrogates (from file names that aren't UTF-8) are no HTML; the marks that turn
# the direction of writing would let one name rearrange the text around it.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def render(report: Mapping[str, Any], pictures: Sequence[Mapping[str, np.ndarray]] = ()) -> str:
    """One self-contained HTML page without network or script. Values are escaped, missing sections absent.

    Args:
        report: plain JSON-like data. Only `title` is needed:

            title, subtitle: text. created: an ISO date.
            headline: [{label, value, note?}], the few figures to see first.
            warnings, notes: lists of text. about: the model that the warnings are of, where they don't say it.
            changes: tables as below, which come first.
            plots: [{title, x: {label, log?, most?, names?}, y: {label, log?, most?}, series: [{name, points: [(x, y,
                words, interval?)], joined?, line?}], limits?: [(x, words)]}]; `line`, [(x, y)], is drawn without marks,
                `joined` draws one through the points; an axis ends at `most`; `names` are what stands at 1, 2, ….
            tables: [{title, caption?, columns, rows}] of text.
            curves: [{title, series: [{name, roc, tar}]}], a ROC and a DET plot of each, with `roc` and `tar` as
                `ScoreSummary.to_json` gives them.
            analyses: `AnalysisRecord`s.
            models: one for each artifact, see below.
            latency: {machine, rows: [{model, engine, precision, batch, threads, median_ms, iqr_ms,
                per_second, ratio, baseline, note?}]}; `ratio` says how many times as fast as `baseline`, or
                is None, and `note` says why.
            comparisons: [{title, threads, rows, drawings, table}] as `report.comparison` gives them: rows [{name,
                error, bytes, latency, figures}], drawings as `scatter.scatter` takes them; `table` is the card's.
            faces: {caption, png: PNG bytes or a data URI of an image}.
            next: [{words, command}], what to do with what the page says.
            provenance: {name: value}.

            A model has a `name`, and any of: bits (`w8a8`), parameters, macs, files [{name, bytes}], float_bytes (of
            the float32 weights), agreement {engine: {count, mean, p01, minimum, cosines?}}, the default engine first,
            layers [{name, kind, weight_bits, activation_bits, reason, parameters, bytes}], tensors [{name, role,
            bits, detail}], unquantized [{name, role, reason}] (empty: none is left), evaluation [{label, result}] with
            results as `VerificationResult.to_json` gives them, scores [{title, sides: {name: `bins` of
            `ScoreSummary.to_json`}}], tables as those of the report, data and plan (mappings), seconds {step:
            seconds}; and for the table of several models figures [{name, value, interval?}] and latency {median_ms,
            iqr_ms?, ratio?, ratio_interval?, note?}.
        pictures: of each of the analyses, see `analysis.render`; the page shows no other face of theirs.

    Raises:
        ValueError: `title` is missing, or the faces are neither PNG bytes nor a data URI of an image.
    """
    if not report.get("title"):
        raise ValueError("a report needs a title")
    models = [_model(model) for model in report.get("models") or ()]
    latency, faces = _latency(report), _faces(report)
    drawings = [drawing for data in report.get("plots") or () if (drawing := plots.plot(data))]
    analyses = _analyses(report.get("analyses") or (), pictures)
    groups = [
        (group["title"], [drawing for data in curves.plots(group) if (drawing := plots.plot(data))])
        for group in report.get("curves") or ()
    ]
    sections = [("change-1", "Changes")] if report.get("changes") else []
    sections += [("curves", "Operating points")] if groups else []
    sections += [(f"model-{number}", model["name"]) for number, model in enumerate(models, 1)]
    comparisons = [_comparison(one) for one in report.get("comparisons") or ()]
    sections += [(f"comparison-{number}", one["title"]) for number, one in enumerate(comparisons, 1)]
    sections += [("speed", "Speed")] if latency else []
    sections += [("faces", "Faces")] if faces else []
    # One for all of them: what follows a plot is a plot or its table.
    listed = report.get("tables") or ()
    if drawings or listed:
        sections += [("plot-1", "Plots and tables") if drawings else ("table-1", "Tables")] if sections else []
    sections += [section for one in analyses for section in one["sections"]]
    sections += [("next", "Next")] if report.get("next") else []
    sections += [("provenance", "Provenance")] if report.get("provenance") else []
    return fill(
        "page.html.j2", report=report, sections=sections, models=models, latency=latency, faces=faces,
        comparisons=comparisons, plots=drawings, curves=groups, analyses=analyses, overview=_overview(models),
    )  # fmt: skip


def fill(template: str, **values: Any) -> str:
    """A template of this folder as text; what HTML can't hold or what turns the direction of writing is replaced."""
    try:
        text = _templates().get_template(template).render(**values)
    except UndefinedError as error:
        raise ValueError(f"the report's data lacks something: {error}") from error
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Writes the page of a report, see `render`, whole or not at all.

    Raises:
        BitfaceError: the file can't be written.
        ValueError: as `render`.
    """
    write_bytes(path, render(report).encode())


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = "amount count size percent unit far interval milliseconds number ratio duration date plain label"
    environment.filters |= {name: getattr(format, name) for name in names.split()} | {"labelled": labelled}
    return environment


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    files, layers = model.get("files") or (), model.get("layers") or ()
    seconds = (model.get("seconds") or {}).values()
    agreement = model.get("agreement") or {}
    default: Mapping[str, Any] = next(iter(agreement.values()), {})
    return {
        **model,
        "name": str(model.get("name") or "Model"),
        "bits": str(model.get("bits") or ""),
        "sizes": _sizes(files, model.get("float_bytes")),
        "histograms": _histograms(agreement),
        "strip": charts.strip(layers) if layers else None,
        "verification": verification.table(model["evaluation"]) if model.get("evaluation") else None,
        "scores": [
            (one["title"], drawing) for one in model.get("scores") or () if (drawing := curves.scores(one["sides"]))
        ],
        "agreed": None if format.missing(default.get("p01")) else default["p01"],
        "total_seconds": sum(value for value in seconds if not format.missing(value)),
    }


def _overview(models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The table of several models: those of which more is known than a plan, and which columns it has."""
    rows = [model for model in models if model["sizes"] or model.get("figures")]
    if len(rows) < 2:
        return None
    names = dict.fromkeys(figure["name"] for model in rows for figure in model.get("figures") or ())
    counts = {(model.get("parameters"), model.get("macs")) for model in rows}
    return {
        "rows": [
            {**model, "anchor": f"model-{models.index(model) + 1}",
             "shown": {figure["name"]: figure for figure in model.get("figures") or ()}}
            for model in rows
        ],
        "names": list(names),
        "sized": any(model["sizes"] for model in rows),
        # Of one network in several plans they tell nothing.
        "counted": len(counts - {(None, None)}) > 1,
        "timed": any(model.get("latency") for model in rows),
        "agreed": any(model["agreed"] is not None for model in rows),
    }  # fmt: skip


def _analyses(analyses: Sequence[AnalysisRecord], pictures: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    images = [*pictures, *({} for _ in analyses)]
    return [
        analysed.parts(one, images[number], f"analysis-{number + 1}-", f": {one.title}")
        for number, one in enumerate(analyses)
    ]


def _sizes(files: Sequence[Mapping[str, Any]], whole: Any) -> list[dict[str, Any]]:
    comparable = not format.missing(whole) and whole > 0
    rows = [(str(file.get("name")), file.get("bytes"), "own") for file in files]
    if rows and comparable:
        rows.insert(0, ("float32 weights, for comparison", whole, "reference"))
    lengths = charts.shares([size for _, size, _ in rows])
    return [
        {
            "label": label,
            "percent": length,
            "value": format.size(size),
            "detail": format.percent(size / whole, 1) if comparable and size and tone == "own" else "",
            "tone": tone,
        }
        for (label, size, tone), length in zip(rows, lengths, strict=True)
    ]


def _histograms(agreement: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, charts.HistogramBars]]:
    engines = {engine: row for engine, row in agreement.items() if row.get("cosines")}
    axis = charts.cosine_range([row["cosines"] for row in engines.values()])
    histograms = ((name, charts.histogram(row["cosines"], axis, row.get("p01"))) for name, row in engines.items())
    return [(name, histogram) for name, histogram in histograms if histogram]


def _latency(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rows as they are, and the same rows as bars: a scale for each batch size and number of threads."""
    latency = report.get("latency") or {}
    rows = latency.get("rows") or ()
    groups: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.get("batch"), row.get("threads")), []).append(row)
    bars = [(batch, threads, _bars(group)) for (batch, threads), group in groups.items()]
    return {"machine": latency.get("machine"), "rows": rows, "groups": bars} if rows else None


def _comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The rows with their figures by name, and the drawings."""
    rows = [
        {**row, "number": number, "shown": {figure["name"]: figure for figure in row.get("figures") or ()}}
        for number, row in enumerate(comparison["rows"], 1)
    ]
    names = dict.fromkeys(name for row in rows for name in row["shown"] if name not in ("AUC", "EER"))
    drawings = [drawing for drawing in map(scatter, comparison.get("drawings") or ()) if drawing]
    return {**comparison, "rows": rows, "names": list(names), "drawings": drawings}


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lengths = charts.shares([row.get("median_ms") for row in rows])
    return [
        {
            "label": " · ".join(str(row[key]) for key in ("model", "engine", "precision") if row.get(key)),
            "percent": length,
            "value": format.milliseconds(row.get("median_ms")),
            "remark": _compared(row),
            "tone": "reference" if str(row.get("precision", "")).lstrip("bfloat").isdigit() else "own",
        }
        for row, length in zip(rows, lengths, strict=True)
    ]


def _compared(row: Mapping[str, Any]) -> str:
    """The ratio and what it is a ratio to, or why there is none."""
    if format.missing(row.get("ratio")):
        return str(row.get("note") or "")
    return f"{format.ratio(row['ratio'])} as fast as {row.get('baseline') or 'the baseline'}"


def _faces(report: Mapping[str, Any]) -> dict[str, str] | None:
    """The image as a data URI. Any other address would make the page reach for the network."""
    faces = report.get("faces") or {}
    image = faces.get("png")
    if not image:
        return None
    if isinstance(image, bytes) and image.startswith(_PNG):
        image = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    if not isinstance(image, str) or not _IMAGE.fullmatch(image):
        raise ValueError("the faces must be a PNG file's bytes or a data URI of a PNG, JPEG or WebP image")
    return {"caption": str(faces.get("caption") or "Faces"), "uri": image}
