"""Points in a plane, as the templates draw them: positions in per cent, so that text keeps its size on a phone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitface.report import format
from bitface.report.drawings import charts
from bitface.report.drawings.charts import round_step

_MOST_TICKS = 7
_MARGIN = 0.04
# How many looks there are: a colour, a dash and the shape of a mark, see `marks.html.j2` and the style sheet.
_LOOKS = 8


@dataclass(frozen=True)
class Mark:
    """A point: its place in per cent from the left and from the top, what to say about it, and its interval's ends."""

    x: float
    y: float
    title: str
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """Points of one kind, and a line: its corners as SVG points in a box of 100 by 100; empty: no line."""

    name: str
    look: int
    marks: tuple[Mark, ...]
    line: str


@dataclass(frozen=True)
class Plot:
    """Series over two axes; ticks are (position in per cent, text).

    Attributes:
        names: in the place of the ticks across, where the points stand for things that have names.
        limits: vertical lines, each with what it says.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    names: tuple[charts.Name, ...]
    limits: tuple[tuple[float, str], ...]
    summary: str


def plot(data: Mapping[str, Any]) -> Plot | None:
    """A plot of the report's `plots`, see `page.render`; None where it has no point."""
    logs = bool(data["x"].get("log")), bool(data["y"].get("log"))
    lines = []
    for one in data["series"]:
        marks = [point for point in one["points"] if _fits(point, logs)]
        line = [point for point in one.get("line") or (marks if one.get("joined") else ()) if _fits(point, logs)]
        lines.append((str(one["name"]), marks, line))
    points = [point for _, *both in lines for some in both for point in some]
    if not points:
        return None
    limits = [limit for limit in data.get("limits") or () if _fits((limit[0],), logs)]
    across = _Axis.over([point[0] for point in [*points, *limits]], logs[0], data["x"].get("most"))
    up = _Axis.over([point[1] for point in points], logs[1], data["y"].get("most"))

    def down(value: float) -> float:
        return round(100 - up.at(value), 3)

    series = []
    for number, (name, some, line) in enumerate(lines):
        placed = tuple(Mark(across.at(x), down(y), title, _ends(rest, logs[1], up)) for x, y, title, *rest in some)
        corners = " ".join(f"{across.at(point[0])},{down(point[1])}" for point in line)
        series.append(Series(name, number % _LOOKS + 1, placed, corners if len(line) > 1 else ""))
    low, high = min(point[1] for point in points), max(point[1] for point in points)
    listed = ", ".join(f"{len(one.marks)} of {one.name}" if one.marks else one.name for one in series)
    summary = f"{data['title']}: {listed}; {data['y']['label']} from {low:.3g} to {high:.3g}"
    summary += "".join(f"; {words}" for _, words in limits)
    names = charts.names([(across.at(place), str(name)) for place, name in enumerate(data["x"].get("names") or (), 1)])
    return Plot(
        str(data["title"]), str(data["x"]["label"]), str(data["y"]["label"]), tuple(series),
        () if names else across.ticks(), up.ticks(), names,
        tuple((across.at(value), str(words)) for value, words in limits), summary,
    )  # fmt: skip


def _fits(point: Sequence[Any], logs: tuple[bool, bool]) -> bool:
    places = list(zip(point, logs, strict=False))
    return not any(format.missing(value) or (log and value <= 0) for value, log in places)


def _ends(rest: Sequence[Any], log: bool, up: "_Axis") -> tuple[float, float] | None:
    """The ends of a point's interval from the top, inside the drawing."""
    if not rest or not rest[0] or any(format.missing(value) for value in rest[0]):
        return None
    low, high = (0.0 if log and value <= 0 else up.at(value) for value in rest[0])
    return round(100 - min(100.0, high), 3), round(100 - max(0.0, low), 3)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    @staticmethod
    def over(values: Sequence[float], log: bool, most: float | None = None) -> "_Axis":
        """An axis with a little room at both ends, but not beyond `most`."""
        low, high = (math.log10(value) if log else float(value) for value in (min(values), max(values)))
        room = _MARGIN * (high - low) or (0.5 if log else max(abs(high), 1.0) * 0.05)
        end = high + room if most is None else min(high + room, math.log10(most) if log else most)
        return _Axis(low - room, end, log)

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
                _power(value) if self.log else f"{value:,.{decimals}f}",
            )
            for value in values
        )


def _power(exponent: float) -> str:
    value = 10**exponent
    return f"{value:.2g}" if value >= 1e-3 * (1 - 1e-9) else format.far(float(f"{value:.2g}"))
