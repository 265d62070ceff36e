"""`bitface report`: what earlier commands measured in, one page, a model card and the plain data of both out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface import report
from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError, UsageError
from bitface.files import write_bytes, write_json
from bitface.jobs import evidence, provenance
from bitface.jobs.drawings import search_page, sensitivity_page
from bitface.jobs.flipped import pictures
from bitface.jobs.result import model_of
from bitface.jobs.runs import ANALYSIS, BENCH, SEARCH, SENSITIVITY, Document, read_runs, reading
from bitface.jobs.subjects import Subject, subjects, told_apart
from bitface.report import format
from bitface.report.card import card

_SHOWN = ("accuracy", "protocol", "auc", "eer", "tar", "counts")
_NAMED = 3
# Height and width of a face, in pixels.
_CROP = (112, 112)
_SECTIONS = {SENSITIVITY: sensitivity_page, SEARCH: search_page}


@dataclass(frozen=True)
class ReportRequest:
    """What to report on; the options of `bitface report`.

    Attributes:
        runs: folders of results, or results themselves; see `runs.read_runs`.
        out: the page; the card lies beside it as `.md`, the data as `.json`.
        faces: shows the faces of flipped pairs, where the results hold an analysis and its images are still there.
    """

    runs: Sequence[Path]
    out: Path = Path("report.html")
    title: str | None = None
    faces: bool = False


def make_report(request: ReportRequest) -> dict[str, Any]:
    """Writes the page, the card and the data.

    Returns:
        The content of the JSON file: the report's input, see `report.render`, without any face.

    Raises:
        BitfaceError: a run can't be read, or nothing can be written.
        UsageError: no run is named, or the page has no name of its own.
    """
    if not request.runs:
        raise UsageError("name a folder that bitface wrote, or a JSON file")
    if request.out.suffix not in (".html", ".htm") or request.out.is_dir():
        raise UsageError(f"--out names the page, such as report.html; '{request.out}' isn't one")
    documents = read_runs(request.runs)
    content = build(documents, request.title)
    shown = _faces(documents, content) if request.faces else ()
    try:
        page = report.render(content, shown)
        text = card(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BitfaceError(
            f"{', '.join(map(str, request.runs))}: a result was changed and can't be drawn; make it again"
        ) from error
    write_bytes(request.out, page.encode())
    write_bytes(request.out.with_suffix(".md"), text.encode())
    write_json(request.out.with_suffix(".json"), content)
    return content


def build(documents: Sequence[Document], title: str | None = None) -> dict[str, Any]:
    """The report's input."""
    models, warnings = subjects(documents)
    content: dict[str, Any] = {
        "bitface": bitface.__version__,
        "title": title or _title(models, documents),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "warnings": [*warnings, *provenance.teachers(documents)],
        "notes": [],
        "models": [],
        "plots": [],
        "tables": [],
    }
    latency = _latency(documents, content)
    lists = {_list(one.content) for model in models for one in model.evaluations}
    for model in models:
        content["models"].append(_model(model, models, len(lists) > 1, latency, content))
    if len(content["models"]) == 1:
        content["headline"] = _headline(content["models"][0])
    content["curves"] = _curves(models)
    _sections(content, documents)
    content["analyses"] = _analyses(content, documents, models)
    if latency:
        content["latency"] = latency
    content["provenance"] = provenance.facts(models, documents)
    content["warnings"], content["notes"] = (_together(content[key]) for key in ("warnings", "notes"))
    return {key: value for key, value in content.items() if value}


def _title(models: Sequence[Subject], documents: Sequence[Document]) -> str:
    names = [one.name for one in models]
    if not names:
        return f"{documents[0].path.resolve().parent.name}: report"
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} models"


def _headline(model: dict[str, Any]) -> list[dict[str, str]]:
    """Size, speed and accuracy of the only model, each with its interval."""
    found = []
    if files := model.get("files"):
        size, whole = files[0]["bytes"], model["float_bytes"]
        note = f"{whole / size:.1f}x smaller than the float32 weights"
        found.append({"label": "size", "value": format.size(size), "note": note})
    if time := model.get("latency"):
        where = f"{time['engine']}, batch {time['batch']}, threads {time['threads']}"
        found.append({"label": "time", "value": format.milliseconds(time["median_ms"]), "note": where})
    if time and not format.missing(time.get("ratio")):
        low, high = map(format.number, time["ratio_interval"])
        note = f"as fast as {time['baseline']}; {low}–{high} (95 %)"
        found.append({"label": "speed", "value": format.ratio(time["ratio"]), "note": note})
    for figure in model.get("figures") or ():
        if figure["name"].startswith("accuracy") or figure is model["figures"][-1]:
            note = f"{format.interval(figure['interval'])} (95 %)"
            found.append({"label": figure["name"], "value": format.percent(figure["value"]), "note": note})
    if agreement := model.get("agreement"):
        engine, row = next(iter(agreement.items()))
        note = f"mean cosine of {row['count']} held-out faces to the teacher's, {engine}"
        found.append({"label": "agreement", "value": format.unit(row["mean"]), "note": note})
    return found


def _remarks(content: dict[str, Any], name: str, result: dict[str, Any]) -> None:
    for key in ("warnings", "notes"):
        content[key] += [(name, str(text)) for text in result.get(key) or ()]


def _together(remarks: list[str | tuple[str, str]]) -> list[str]:
    """Each remark once, with all of whom it is true in front."""
    found: dict[str, dict[str, None]] = {}
    for one in remarks:
        name, text = one if isinstance(one, tuple) else ("", one)
        found.setdefault(text, {})[name] = None
    return [": ".join(part for part in (", ".join(filter(None, names)), text) if part) for text, names in found.items()]


def _model(
    model: Subject, models: Sequence[Subject], several: bool, latency: dict[str, Any] | None, content: dict[str, Any]
) -> dict[str, Any]:
    """A model of the report; its warnings and notes go to the whole."""
    row: dict[str, Any] = {"name": model.name}
    if model.result:
        with reading(model.result):
            row = {**model_of(model.result.content), **row, "plan": model.result.content["plan"]}
            _remarks(content, model.name, model.result.content)
            if left := len(row["unquantized"]):
                content["notes"].append((model.name, f"{left} tensors stay in floating point, each listed below"))
    columns, figures, scores, tables = [], [], [], []
    for document in model.evaluations:
        with reading(document):
            result = document.content
            columns += _columns(result)
            figures += _figures(result, several)
            scores += _scores(result)
            tables += evidence.tables(result)
            _remarks(content, model.name, result)
            content["notes"] += _unsupported(result)
    row |= {"evaluation": columns, "figures": figures, "scores": scores, "tables": tables}
    row["latency"] = _own_time(model, models, latency)
    return {key: value for key, value in row.items() if value or key == "unquantized"}


def _list(result: dict[str, Any]) -> str:
    """What an evaluation was made on, in words."""
    flip = ", flipped images added" if result.get("flip") else ""
    return f"{Path(str(result['pairs'])).name}, {result.get('protocol', 'list')}{flip}"


def _columns(result: dict[str, Any]) -> list[dict[str, Any]]:
    label = f"{result['precision']} ({result['engine']}), {_list(result)}"
    found = [{"label": label, "result": {key: result[key] for key in _SHOWN}}]
    if baseline := result.get("baseline"):
        shown = {key: baseline[key] for key in _SHOWN}
        found.append({"label": f"baseline {Path(baseline['model']).name}, {_list(result)}", "result": shown})
    return found


def _figures(result: dict[str, Any], several: bool) -> list[dict[str, Any]]:
    """Accuracy, and TAR at the strictest FAR that the data supports."""
    of, accuracy = f" ({_list(result)})" if several else "", result["accuracy"]
    found = [{"name": f"accuracy{of}", "value": accuracy["mean"], "interval": accuracy["interval"]}]
    for point in result["tar"]:
        if point["tar"] is not None:
            name = f"TAR at FAR {point['far']:g}{of}"
            found.append({"name": name, "value": point["tar"], "interval": point["interval"]})
    return found


def _scores(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The histograms of the model and of its baseline, where the evaluation holds them."""
    sides = {result["precision"]: result, "baseline": result.get("baseline") or {}}
    bins = {name: one["bins"] for name, one in sides.items() if one.get("bins")}
    return [{"title": _list(result), "sides": bins}] if bins else []


def _unsupported(result: dict[str, Any]) -> list[str]:
    points = [point for point in result["tar"] if point["tar"] is None]
    if not points:
        return []
    fars = ", ".join(f"{point['far']:g}" for point in points)
    return [f"{_list(result)}: no TAR at FAR {fars} ({points[0]['reason']})"]


def _curves(models: Sequence[Subject]) -> list[dict[str, Any]]:
    """A group of curves for each list: every model, and every baseline once."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for model in models:
        for document in model.evaluations:
            result = document.content
            group = groups.setdefault(_list(result), {})
            engine = f" ({result['engine']})" if len(model.evaluations) > 1 else ""
            _curve(group, f"{model.name}{engine}", result)
            if baseline := result.get("baseline"):
                known = any(one["fingerprint"] == baseline["fingerprint"] for one in group.values())
                if not known:
                    _curve(group, f"baseline {Path(baseline['model']).name}", baseline)
    return [{"title": title, "series": list(group.values())} for title, group in groups.items() if group]


def _curve(group: dict[str, dict[str, Any]], name: str, result: dict[str, Any]) -> None:
    if result.get("roc"):
        kept = {key: result[key] for key in ("roc", "tar", "fingerprint")}
        group.setdefault(name, {"name": name, **kept})


def _latency(documents: Sequence[Document], content: dict[str, Any]) -> dict[str, Any] | None:
    """The rows of all benches, as one section."""
    benches = [one for one in documents if one.kind == BENCH]
    rows: list[dict[str, Any]] = []
    for one in benches:
        with reading(one):
            rows += [{**row, "median_ms": float(row["median_ms"])} for row in one.content["rows"]]
            content["notes"] += one.content["notes"]
    if len(benches) > 1:
        content["warnings"].append(f"times of {len(benches)} runs of bench: only ratios inside one run mean much")
    machines = dict.fromkeys(str(one.content["machine"]) for one in benches)
    return {"machine": "; ".join(machines), "rows": rows} if rows else None


def _own_time(model: Subject, models: Sequence[Subject], latency: dict[str, Any] | None) -> dict[str, Any] | None:
    """A model's time for the overview: of the smallest batch on the fewest threads, of the fastest engine."""
    full, short = model.labels
    alone = [one for one in models if one.labels[1] == short] == [model]
    rows = [row for row in (latency or {}).get("rows", ()) if row["model"] == full or (alone and row["model"] == short)]
    return min(rows, key=lambda row: (row["batch"], row["threads"], row["median_ms"]), default=None)


def _sections(content: dict[str, Any], documents: Sequence[Document]) -> None:
    """The plots and tables of results that have pages of their own, each under that page's title."""
    drawn = []
    for document in documents:
        if draw := _SECTIONS.get(document.kind):
            with reading(document):
                drawn.append((document, draw(document.content)))
    names = told_apart([(page["title"], document.path) for document, page in drawn])
    for name, (document, page) in zip(names, drawn, strict=True):
        content["plots"] += [{**plot, "title": f"{name}: {plot['title']}"} for plot in page["plots"]]
        content["tables"] += [{**table, "title": f"{name}: {table['title']}"} for table in page["tables"]]
        content["models"] += [{**model, "name": f"{name}: {model['name']}"} for model in page.get("models", ())]
        _remarks(content, name, document.content)


def _analyses(
    content: dict[str, Any], documents: Sequence[Document], models: Sequence[Subject]
) -> list[dict[str, Any]]:
    """The analyses, under the names of their students where those are models of the report."""
    known = {model.fingerprint: model.name for model in models}
    found = [one for one in documents if one.kind == ANALYSIS]
    titles = []
    for one in found:
        with reading(one):
            titles.append(known.get(one.content["student"]["fingerprint"], str(one.content["title"])))
    names = told_apart(list(zip(titles, (one.path for one in found), strict=True)))
    for name, one in zip(names, found, strict=True):
        _remarks(content, name, one.content)
    return [{**one.content, "title": name} for name, one in zip(names, found, strict=True)]


def _faces(documents: Sequence[Document], content: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The crops of each analysis's flipped pairs; a warning where they aren't to be had."""
    analyses = [one for one in documents if one.kind == ANALYSIS]
    if not analyses:
        content.setdefault("warnings", []).append("no faces to show: --faces shows the flipped pairs of an analysis")
    found = []
    for one in analyses:
        with reading(one):
            try:
                found.append(_crops(one.content))
            except BitfaceError as error:
                found.append({})
                content.setdefault("warnings", []).append(f"{one.path.name}: faces can't be shown: {error}")
    return found


def _crops(analysis: dict[str, Any]) -> dict[str, np.ndarray]:
    """The faces of an analysis's flipped pairs, from the folder that it names."""
    if not (flips := analysis["flips"]):
        return {}
    folder = Path(analysis["faces"]["folder"])
    files = [FaceFile(folder, path) for pair in flips["worst"] for path in (pair["left"], pair["right"])]
    return pictures(list(dict.fromkeys(files)), flips, _CROP)
