"""The geometry of an analysis: distributions as outlines, layers as a line, ranges as columns, maps as dots.

Positions are per cent of a drawing's box, as in `charts`, so that text keeps its size. Outlines are points of a box of
100 by 100 that is stretched to the page.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitface.analysis.layers import Point
from bitface.report import format
from bitface.report.drawings import charts
from bitface.results.analysis import AngleDistribution, QuantizerRange

# A golden angle apart, so that neighbouring classes have colours far from each other, however many there are.
_HUE = 137.508
_MOST_DB = 60.0


@dataclass(frozen=True)
class Outline:
    """One distribution: its corners as SVG points, its colour's class, and its figures in words."""

    name: str
    tone: str
    points: str
    figures: str


@dataclass(frozen=True)
class Outlines:
    """Distributions over one axis; `ticks` as in `charts.HistogramBars`."""

    outlines: tuple[Outline, ...]
    ticks: tuple[tuple[float, str], ...]
    summary: str


def outlines(groups: Mapping[str, AngleDistribution]) -> Outlines | None:
    """Distributions of one axis (see `analysis.distributions`), each as high as its share of faces or pairs."""
    if not groups:
        return None
    first = next(iter(groups.values()))
    low, width, bins = first.low, first.width, len(first.counts)
    tallest = max(max(one.counts) / one.count for one in groups.values())
    curves = []
    for place, (name, one) in enumerate(groups.items()):
        corners = ["0,100"]
        for index, count in enumerate(one.counts):
            height = 100 - 100 * count / one.count / tallest
            corners += [f"{100 * index / bins:.2f},{height:.2f}", f"{100 * (index + 1) / bins:.2f},{height:.2f}"]
        figures = f"mean {one.mean:.2f}°, median {one.median:.2f}°, 90 % from {one.p05:.2f}° to {one.p95:.2f}°"
        curves.append(Outline(name, f"line{place % 4}", " ".join([*corners, "100,100"]), figures))
    summary = "; ".join(f"{one.name}: {one.figures}" for one in curves)
    return Outlines(tuple(curves), charts.ticks(low, low + bins * width), summary)


@dataclass(frozen=True)
class OutlineStep:
    """One tensor of the network: where it stands, its height, what to say of it, and whether the damage starts here."""

    x: float
    y: float
    width: float
    title: str
    start: bool


@dataclass(frozen=True)
class LayerChart:
    """Signal over noise, and the cosine, along the network."""

    steps: tuple[OutlineStep, ...]
    line: str
    cosine: str
    ticks: tuple[tuple[float, str], ...]
    names: tuple[charts.Name, ...]
    summary: str


def layer_chart(points: Sequence[Point], start: Point | None) -> LayerChart | None:
    """The points of `analysis.layers` from the image to the embedding; above 60 dB everything looks alike."""
    if not points:
        return None
    width = 100 / len(points)
    steps = []
    for index, point in enumerate(points):
        height = 100 - 100 * min(max(point.snr, 0.0), _MOST_DB) / _MOST_DB
        bits = f", {point.bits} bits" if point.bits else ""
        title = (
            f"{point.name} ({point.kind}{bits}): {point.snr:.1f} dB, {point.before:.1f} dB before, cosine "
            f"{format.unit(point.cosine)}"
        )
        begins = start is not None and point.name == start.name
        steps.append(OutlineStep(round((index + 0.5) * width, 3), round(height, 2), round(width, 3), title, begins))
    cosines = " ".join(f"{one.x},{100 - 100 * max(p.cosine, 0.0):.2f}" for one, p in zip(steps, points, strict=True))
    end = points[-1]
    summary = f"Signal over noise of {len(points)} tensors; the embedding ends at {end.snr:.1f} dB"
    if start:
        summary += f", the damage starts at {start.name}"
    ticks = tuple((100 - 100 * value / _MOST_DB, f"{value:.0f} dB") for value in (0, 20, 40, 60))
    names = charts.names([(one.x, point.name) for one, point in zip(steps, points, strict=True)])
    return LayerChart(tuple(steps), " ".join(f"{one.x},{one.y}" for one in steps), cosines, ticks, names, summary)


@dataclass(frozen=True)
class RangePlot:
    """The values before a quantizer and the range it holds; heights are logarithms of counts."""

    title: str
    columns: tuple[charts.Column, ...]
    width: float
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    words: str


def range_plot(one: QuantizerRange) -> RangePlot:
    """A quantizer and what it rounds."""
    counts, width = one.counts, one.width
    left = min(one.start, one.low)
    right = max(one.start + len(counts) * width, one.high)
    span = max(right - left, 1e-9)
    tallest = math.log1p(max(counts))
    columns = tuple(
        charts.Column(
            round(100 * (one.start + index * width - left) / span, 3),
            round(100 * math.log1p(count) / tallest, 2),
        )
        for index, count in enumerate(counts)
        if count
    )
    words = (
        f"{one.clipped:.2%} clipped, {one.unused} of {one.levels} levels unused; error {one.noise:.2%} of "
        f"the energy, {one.clip_noise:.2%} by clipping"
    )
    low, high = (round(100 * (edge - left) / span, 3) for edge in (one.low, one.high))
    return RangePlot(
        f"{one.tensor}, {one.bits} bits",
        columns,
        round(100 * width / span, 3),
        low,
        high,
        charts.ticks(left, right),
        words,
    )


@dataclass(frozen=True)
class Dot:
    """A face on a map."""

    x: float
    y: float
    color: str
    title: str


def dots(places: Sequence[Sequence[float]], groups: Sequence[int], titles: Sequence[str]) -> tuple[Dot, ...]:
    """A map's faces; the colour is the class's, whatever the map."""
    if not places:
        return ()
    xs, ys = zip(*places, strict=True)
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    return tuple(
        Dot(
            round(2 + 96 * (x - left) / max(right - left, 1e-9), 2),
            round(2 + 96 * (y - low) / max(high - low, 1e-9), 2),
            f"hsl({group * _HUE % 360:.0f} 65% 50%)",
            title,
        )
        for (x, y), group, title in zip(places, groups, titles, strict=True)
    )
