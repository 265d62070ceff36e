"""What changed in bytes, time and engines."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitface.report import format
from bitface.report.changes.side import Side, Table
from bitface.results.float_students import DistillationRecord, PruningRecord
from bitface.runtime.bench import Row
from bitface.targets.registry import TARGETS, title_of


def sizes(before: Side, after: Side, columns: Sequence[str]) -> Table:
    """The files of both."""
    first, second = _files(before), _files(after)
    rows = [[name, *_pair(first.get(name), second.get(name))] for name in dict.fromkeys([*first, *second])]
    return {"title": "Size", "columns": ["File", *columns, "Change"], "rows": rows}


def _files(side: Side) -> Mapping[str, int]:
    result = side.model.result
    if isinstance(result, PruningRecord | DistillationRecord):
        return {"model.onnx": result.after.bytes} if result.after.bytes else {}
    return result.bytes if result else {}


def _pair(before: int | None, after: int | None) -> list[str]:
    change = format.DASH if not before or after is None else f"{100 * (after / before - 1):+.1f} %"
    return [format.size(before), format.size(after), change]


def times(before: Side, after: Side, columns: Sequence[str]) -> Table:
    """Times on the same engine, and each beside its own run's float network."""
    first, second = before.times, after.times
    rows = []
    for key in first:
        if key in second:
            engine, precision, batch, threads = key
            one, other = first[key], second[key]
            name = f"{_title(engine)}, {precision}, batch {batch}, threads {threads}"
            times = [format.milliseconds(row.median_ms) for row in (one, other)]
            rows.append([name, *times, _to_float(one), _to_float(other), _verdict(one, other)])
    return {
        "title": "Time",
        "caption": "Medians of one run, and how many times as fast as the float network of the same bench on the same "
        "engine, with 95 % intervals. Two runs of bench may have met another load: trust the ratios.",
        "columns": ["Engine", *columns, *(f"Times as fast, {column}" for column in columns), "Beyond the intervals"],
        "rows": rows,
    }


def _title(engine: str) -> str:
    return title_of(engine) if engine in TARGETS else engine


def _to_float(row: Row) -> str:
    if row.ratio is None:
        return format.DASH
    ends = row.ratio_interval
    return format.ratio(row.ratio) + (f" [{format.number(ends[0])}, {format.number(ends[1])}]" if ends else "")


def _verdict(before: Row, after: Row) -> str:
    first, second = before.ratio_interval, after.ratio_interval
    if not first or not second:
        return format.DASH
    if second[0] > first[1]:
        return "yes, faster"
    return "yes, slower" if second[1] < first[0] else "no"


def engines(before: Side, after: Side, columns: Sequence[str]) -> Table:
    """Agreement with the teacher on each engine, and which of them runs the model by default."""
    first, second = before.quantization, after.quantization
    rows: list[list[str]] = []
    if first and second:
        rows.append(["runs by default", _title(first.engine), _title(second.engine), format.DASH])
        for name in dict.fromkeys([*first.agreement, *second.agreement]):
            pair = [one.agreement[name].mean if name in one.agreement else None for one in (first, second)]
            change = format.DASH if pair[0] is None or pair[1] is None else f"{pair[1] - pair[0]:+.4f}"
            rows.append([f"agreement, {_title(name)}", *map(format.unit, pair), change])
    caption = "Agreement: mean cosine of held-out faces to the teacher's embeddings."
    return {"title": "Engines", "caption": caption, "columns": ["", *columns, "Change"], "rows": rows}


def headline(before: Side, after: Side) -> list[dict[str, Any]]:
    """The change in bytes of the model's own file, and in agreement."""
    figures = []
    first, second = _files(before), _files(after)
    for name in first:
        if name in second and first[name]:
            ratio = f"{format.size(first[name])} before, {format.size(second[name])} after ({name})"
            figures.append({"label": "size", "value": _pair(first[name], second[name])[2], "note": ratio})
            break
    one, other = before.quantization, after.quantization
    if one and other:
        pair = one.engine_agreement.mean, other.engine_agreement.mean
        note = f"{format.unit(pair[0])} before, {format.unit(pair[1])} after; mean cosine of held-out faces"
        label = "agreement with the teacher"
        figures.append({"label": label, "value": f"{pair[1] - pair[0]:+.4f}", "note": note})
    return figures
