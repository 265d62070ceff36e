"""Points in a plane, as the templates draw them: positions in per cent, so that text keeps its size on a phone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bitface.report import format
from bitface.report.charts import round_step

_MOST_TICKS = 7
_MARGIN = 0.04


@dataclass(frozen=True)
class Mark:
    """A point: its place in per cent from the left and from the top, and what to say about it."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Series:
    """Points of one kind; `lines` join them: (x1, y1, x2, y2) in per cent."""

    name: str
    tone: str
    marks: tuple[Mark, ...]
    lines: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Plot:
    """Series over two axes; ticks are (position in per cent, text)."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    summary: str


def plot(data: Mapping[str, Any]) -> Plot | None:
    """A plot of the report's `plots`, see `page.render`; None where it has no point."""
    log = bool(data["y"].get("log"))
    drawn = [(one, [point for point in one["points"] if _fits(point, log)]) for one in data["series"]]
    points = [point for _, some in drawn for point in some]
    if not points:
        return None
    across = _Axis.over([point[0] for point in points], False)
    up = _Axis.over([point[1] for point in points], log)
    series = []
    for number, (one, some) in enumerate(drawn, 1):
        marks = tuple(Mark(across.at(x), round(100 - up.at(y), 3), title) for x, y, title in some)
        pairs = pairwise(marks) if one.get("joined") else ()
        lines = tuple((a.x, a.y, b.x, b.y) for a, b in pairs)
        series.append(Series(str(one["name"]), f"s{number}", marks, lines))
    low, high = min(point[1] for point in points), max(point[1] for point in points)
    listed = ", ".join(f"{len(one.marks)} of {one.name}" for one in series)
    summary = f"{data['title']}: {listed}; {data['y']['label']} from {low:.3g} to {high:.3g}"
    labels = str(data["x"]["label"]), str(data["y"]["label"])
    return Plot(str(data["title"]), *labels, tuple(series), across.ticks(), up.ticks(), summary)


def _fits(point: Sequence[Any], log: bool) -> bool:
    return not format.missing(point[0]) and not format.missing(point[1]) and (not log or point[1] > 0)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    @staticmethod
    def over(values: Sequence[float], log: bool) -> "_Axis":
        """An axis with a little room at both ends."""
        low, high = (math.log10(value) if log else float(value) for value in (min(values), max(values)))
        room = _MARGIN * (high - low) or (0.5 if log else max(abs(high), 1.0) * 0.05)
        return _Axis(low - room, high + room, log)

    def at(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        return round(100 * (place - self.low) / (self.high - self.low), 3)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        step = round_step(self.high - self.low, _MOST_TICKS)
        step = max(step, 1.0) if self.log and self.high - self.low > 1 else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [index * step for index in range(first, last + 1)]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return tuple(
            (
                round(100 * (value - self.low) / (self.high - self.low), 3),
                f"{10**value:.2g}" if self.log else f"{value:,.{decimals}f}",
            )
            for value in values
        )
