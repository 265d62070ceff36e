"""Operating curves of several models in one plot, and the scores of two models in one drawing."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from bitface.report import format
from bitface.report.drawings import charts
from bitface.report.drawings.angles import Outline, Outlines

Plot = dict[str, Any]
# The shares of scores at or below the ends and the middle of what is said of a histogram.
_MIDDLE = (0.05, 0.5, 0.95)


def plots(group: Mapping[str, Any]) -> list[Plot]:
    """ROC and DET of a group of the report's `curves`, see `page.render`, as `plots.plot` takes them.

    A FAR of 0 has no place on a logarithmic axis; what is accepted there is drawn at the least FAR that has one.
    """
    fars = [far for one in group["series"] for far in one["roc"]["far"] if far > 0]
    edge = min(fars, default=1.0)
    return [
        {
            "title": title,
            "x": {"label": "FAR", "log": True, "most": 1.0},
            "y": {"label": label, "log": log, "most": 1.0},
            "series": [_series(one, key, edge) for one in group["series"]],
        }
        for title, label, key, log in (
            ("ROC", "TAR", "tar", False),
            ("DET", "FRR (1 - TAR)", "frr", True),
        )
    ]


def _series(one: Mapping[str, Any], key: str, edge: float) -> dict[str, Any]:
    roc, points = one["roc"], []
    for point in one.get("tar") or ():
        if format.missing(point.get("tar")) or format.missing(point.get("reached")):
            continue
        interval = point.get("interval") or {}
        ends = [interval.get("low"), interval.get("high")]
        value = point["tar"]
        if key == "frr":
            value, ends = 1 - value, [None if end is None else 1 - end for end in reversed(ends)]
        title = (
            f"{one['name']}, for FAR {format.far(point['far'])}: threshold {format.unit(point.get('threshold'))}, TAR "
            f"{format.percent(point['tar'])} {format.interval(interval)}"
        )
        points.append((max(point["reached"], edge), value, title.strip(), ends))
    line = list(zip(roc["far"], roc[key], strict=True))
    start = [(edge, value) for far, value in line if far <= 0][-1:]
    return {"name": one["name"], "points": points, "line": start + [corner for corner in line if corner[0] > 0]}


def scores(sides: Mapping[str, Mapping[str, Any]]) -> Outlines | None:
    """Genuine and impostor scores of each side; `sides`: name → {low, width, genuine, impostor}, all of equal bins.

    The axis is cut to where any score is. Each curve is as high as its share of its own kind's pairs.
    """
    kinds = [
        (f"{kind}, {name}", one[kind])
        for kind in ("genuine", "impostor")
        for name, one in sides.items()
        if sum(one[kind])
    ]
    if not kinds:
        return None
    first = next(iter(sides.values()))
    used = [index for _, counts in kinds for index, count in enumerate(counts) if count]
    start, end = min(used), max(used) + 1
    low, width = first["low"] + start * first["width"], first["width"]
    tallest = max(max(counts) / sum(counts) for _, counts in kinds)
    outlines = []
    for place, (name, counts) in enumerate(kinds):
        corners = ["0,100"]
        for index, count in enumerate(counts[start:end]):
            height = 100 - 100 * count / sum(counts) / tallest
            edges = (100 * index / (end - start), 100 * (index + 1) / (end - start))
            corners += [f"{edge:.2f},{height:.2f}" for edge in edges]
        outlines.append(Outline(name, f"line{place % 4}", " ".join([*corners, "100,100"]), _figures(counts, first)))
    summary = "; ".join(f"{one.name}: {one.figures}" for one in outlines)
    return Outlines(tuple(outlines), charts.ticks(low, low + (end - start) * width), summary)


def _figures(counts: Sequence[int], first: Mapping[str, Any]) -> str:
    """The median and the middle 90 %, to the width of a bin."""
    total, sums = sum(counts), list(accumulate(counts))
    ends = [next(place for place, reached in enumerate(sums) if reached >= share * total) for share in _MIDDLE]
    low, median, high = (first["low"] + (place + 0.5) * first["width"] for place in ends)
    return f"{format.count(total)} pairs, median {median:.2f}, 90 % from {low:.2f} to {high:.2f}"
