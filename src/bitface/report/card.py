"""The same report as Markdown: a model card for a repository, without drawings."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitface.report import annex_iv, format, verification

# What Markdown or the HTML in it would read as more than text. Backslashes come first.
_SPECIAL = "\\`*_[]|#~"


def card(report: Mapping[str, Any]) -> str:
    """The card of a report, see `page.render`."""
    lines = [f"# {text(report['title'])}", ""]
    lines += [text(report[key]) + "\n" for key in ("subtitle",) if report.get(key)]
    lines += [f"Made {text(format.date(report['created']))} by bitface.", ""] if report.get("created") else []
    models = report.get("models") or ()
    lines += _overview(models)
    for title, key in (("Warnings", "warnings"), ("Notes", "notes")):
        if remarks := report.get(key):
            lines += [f"## {title}", "", *(f"- {text(one)}" for one in remarks), ""]
    for one in report.get("changes") or ():
        lines += [f"## {text(one['title'])}", "", *_listing(one)]
    for model in models:
        lines += _model(model)
    for one in report.get("comparisons") or ():
        lines += [f"## {text(one['title'])}", "", *_comparison(one)]
    lines += _latency(report.get("latency") or {})
    for one in report.get("tables") or ():
        lines += [f"## {text(one['title'])}", "", *_listing(one)]
    for analysis in report.get("analyses") or ():
        lines += [f"## {text(analysis.title)}", ""]
        lines += [text(sentence) + "\n" for sentence in analysis.diagnosis.sentences]
    if steps := report.get("next"):
        lines += ["## Next", "", *(f"- {text(one['words'])}\n\n      {_code(one['command'])}\n" for one in steps)]
    if facts := report.get("provenance"):
        rows = [[format.label(key), format.plain(value)] for key, value in facts.items()]
        lines += ["## Provenance", "", *table(["", ""], rows), ""]
    if models:
        rows = annex_iv.points(report)
        caption = f"Where this says “{annex_iv.YOURS}”, no measurement can: it is for whoever puts the model to use."
        lines += ["## Technical documentation (EU AI Act, Annex IV)", "", caption, ""]
        lines += [*table(["Point", "What", "Content"], rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def text(value: Any) -> str:
    """Text in one line that Markdown shows as it is: no markup, no HTML, no cell that ends early."""
    line = " ".join("".join(one if one.isprintable() else " " for one in str(value)).split())
    for character in _SPECIAL:
        line = line.replace(character, f"\\{character}")
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(command: str) -> str:
    """A line of an indented block, in which no character but the end of the line means anything."""
    return " ".join("".join(one if one.isprintable() else " " for one in command).split())


def table(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    lines = [columns, *rows]
    text_rows = [f"| {' | '.join(map(text, line))} |" for line in lines]
    return [text_rows[0], "|---" * len(columns) + "|", *text_rows[1:]]


def _overview(models: Sequence[Mapping[str, Any]]) -> list[str]:
    entries = [model for model in models if model.get("files") or model.get("figures")]
    if not entries:
        return []
    names = list(dict.fromkeys(figure["name"] for model in entries for figure in model.get("figures") or ()))
    timed = any(model.get("latency") for model in entries)
    several = len({(model.get("parameters"), model.get("macs")) for model in entries} - {(None, None)}) > 1
    rows = []
    for model in entries:
        files, whole = model.get("files") or (), model.get("float_bytes")
        first: Mapping[str, Any] = files[0] if files else {}
        known_share = not format.missing(first.get("bytes")) and not format.missing(whole) and whole
        row = [model["name"], model.get("bits") or format.DASH, format.size(first.get("bytes"))]
        row.append(format.percent(first["bytes"] / whole, 1) if known_share else format.DASH)
        row += [format.amount(model.get(key)) for key in ("parameters", "macs")] if several else []
        if timed:
            row += _time(model.get("latency") or {})
        figures = {figure["name"]: figure for figure in model.get("figures") or ()}
        row += [_share(figures.get(name) or {}) for name in names]
        rows.append(row)
    times = ["Time", "Times as fast as float32"] if timed else []
    counts = ["Parameters", "Multiply-adds"] if several else []
    return [*table(["Model", "Bits", "Size", "Of float32", *counts, *times, *names], rows), ""]


def _time(row: Mapping[str, Any]) -> list[str]:
    ends = row.get("ratio_interval")
    interval = f" [{format.number(ends[0])}, {format.number(ends[1])}]" if ends else ""
    return [format.milliseconds(row.get("median_ms")), format.ratio(row.get("ratio")) + interval]


def _share(figure: Mapping[str, Any]) -> str:
    interval = format.interval(figure.get("interval"))
    return format.percent(figure.get("value")) + (f" [{interval}]" if interval else "")


def _model(model: Mapping[str, Any]) -> list[str]:
    lines = []
    if agreement := model.get("agreement"):
        rows = [
            [engine, format.count(row["count"]), *(format.unit(row[key]) for key in ("mean", "p01", "minimum"))]
            for engine, row in agreement.items()
        ]
        lines += ["Cosine between its embeddings and those of the network that it was made from:", ""]
        lines += [*table(["Engine", "Images", "Mean", "1st percentile", "Lowest"], rows), ""]
    if evaluations := model.get("evaluation"):
        content = verification.table(evaluations)
        rows = [
            [title, *(f"{cell.value}{f' [{cell.detail}]' if cell.detail else ''}" for cell in cells)]
            for title, cells in content.rows
        ]
        lines += [*table(["Verification", *content.labels], rows), ""]
    for one in model.get("tables") or ():
        lines += [f"### {text(one['title'])}", "", *_listing(one)]
    if model.get("unquantized"):
        rows = [[one["name"], one["role"], one["reason"]] for one in model["unquantized"]]
        lines += ["Left in floating point:", "", *table(["Tensor", "Role", "Why"], rows), ""]
    return [f"## {text(model['name'])}", "", *lines] if lines else []


def _listing(one: Mapping[str, Any]) -> list[str]:
    caption = [text(one["caption"]), ""] if one.get("caption") else []
    return [*caption, *table(one["columns"], one["rows"]), ""]


def _comparison(one: Mapping[str, Any]) -> list[str]:
    best = [f"- not beaten at fewer {text(cost)}: {text(', '.join(names))}" for cost, names in one["frontier"].items()]
    caption = "Figures in per cent, with 95 % intervals; times of one image, all alternating in one run."
    return [*_listing({**one["table"], "caption": caption}), *best, ""]


def _latency(latency: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            *(row.get(key) for key in ("model", "engine", "precision", "batch", "threads")),
            f"{format.milliseconds(row.get('median_ms'))} (IQR {format.milliseconds(row.get('iqr_ms'), 2)})",
            _time(row)[1],
            row.get("note") or "",
        ]
        for row in latency.get("rows") or ()
    ]
    columns = ["Model", "Engine", "Precision", "Batch", "Threads", "Median", "Times as fast as float32", "Note"]
    return ["## Speed", "", f"Measured on {text(latency['machine'])}.", "", *table(columns, rows), ""] if rows else []
