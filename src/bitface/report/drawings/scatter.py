"""The drawing of a comparison: costs against accuracy, in per cent of its box, as in `charts`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitface.report import format
from bitface.report.drawings.charts import MOST_TICKS, round_step, ticks


@dataclass(frozen=True)
class Spot:
    """A point of a scatter plot: places in per cent from the left and the top, and the ends of its interval."""

    left: float
    top: float
    high: float
    low: float
    number: int
    best: bool


@dataclass(frozen=True)
class Scatter:
    """What networks cost against what they are worth.

    Attributes:
        steps: the frontier as a staircase, (left, top) in per cent.
        across, down: ticks of both axes, position in per cent and text.
        summary: what it shows, in a sentence.
    """

    spots: tuple[Spot, ...]
    steps: tuple[tuple[float, float], ...]
    across: tuple[tuple[float, str], ...]
    down: tuple[tuple[float, str], ...]
    title: str
    summary: str


def scatter(drawing: Mapping[str, Any]) -> Scatter | None:
    """A scatter plot of costs (from zero) against shares; None where there is no point.

    Args:
        drawing: `unit` (`bytes` or `ms`), `of` (what the shares are of), and `points`: number, name, x, y, interval,
            best.
    """
    points = [point for point in drawing["points"] if not format.missing(point["x"]) and not format.missing(point["y"])]
    if not points:
        return None
    divisor, unit = 1.0, str(drawing["unit"])
    if unit == "bytes":
        divisor, unit = format.size_unit(max(point["x"] for point in points))
    costs = [point["x"] / divisor for point in points]
    widest = round_step(max(costs) or 1, MOST_TICKS)
    right = math.ceil(max(costs) / widest + 1e-9) * widest
    shares = [100 * value for point in points for value in (point["y"], *_ends(point))]
    step = round_step(max(max(shares) - min(shares), 0.1), MOST_TICKS)
    bottom = math.floor(min(shares) / step) * step
    top = max(math.ceil(max(shares) / step) * step, bottom + step)

    def height(share: float) -> float:
        result: float = round(100 * (top - 100 * share) / (top - bottom), 3)
        return result

    spots = []
    for cost, point in zip(costs, points, strict=True):
        ends = _ends(point) or (point["y"],)
        low, high = height(min(ends)), height(max(ends))
        spots.append(Spot(round(100 * cost / right, 3), height(point["y"]), high, low, point["number"], point["best"]))
    corners: list[tuple[float, float]] = []
    for spot in sorted((spot for spot in spots if spot.best), key=lambda spot: (spot.left, -spot.top)):
        corners += [(spot.left, corners[-1][1])] if corners else []
        corners.append((spot.left, spot.top))
    down = tuple((round(100 - place, 3), text) for place, text in ticks(bottom, top))
    best = ", ".join(point["name"] for point in points if point["best"])
    title = f"{drawing['of']} (%) against {unit}"
    return Scatter(tuple(spots), tuple(corners), ticks(0.0, right), down, title, f"{title}; not beaten: {best}")


def _ends(point: Mapping[str, Any]) -> tuple[float, ...]:
    interval = point.get("interval") or {}
    ends = (interval.get("low"), interval.get("high"))
    return tuple(float(end) for end in ends if end is not None and not format.missing(end))
