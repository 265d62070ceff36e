"""The geometry of the drawings, in per cent of the width that the page has; the templates draw it.

Widths in per cent keep the text at its size on a phone, where a drawing that is scaled as a whole would
become unreadable.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitface.report import format

_MOST_BINS = 40
MOST_TICKS = 7
_FLOAT_BITS = 32
# Names along an axis, and their letters; layers of a kind that are listed.
_MOST_NAMES, _LONGEST_NAME, _FEW = 12, 16, 4


def shares(values: Sequence[float | None]) -> list[float]:
    """Lengths of bars in per cent of the longest, from zero. A value that is missing has length 0."""
    lengths = [0.0 if value is None or format.missing(value) else max(0.0, float(value)) for value in values]
    longest = max(lengths, default=0.0)
    return [round(100 * value / longest, 3) if longest else 0.0 for value in lengths]


@dataclass(frozen=True)
class Column:
    """One bin: its left edge and its height in per cent."""

    left: float
    height: float


@dataclass(frozen=True)
class HistogramBars:
    """Bins of equal width over [low, high].

    Attributes:
        columns: the bins that aren't empty; `width` of each in per cent.
        ticks: position in per cent and text.
        marker: position of the first percentile in per cent, where it is given.
        summary: what it shows, in a sentence.
    """

    columns: tuple[Column, ...]
    width: float
    ticks: tuple[tuple[float, str], ...]
    marker: float | None
    summary: str


def cosine_range(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The common axis of several histograms of cosines: from the lowest value to 1, at round numbers."""
    lowest = min((value for group in groups for value in group if not format.missing(value)), default=0.0)
    step = round_step(max(1.0 - lowest, 1e-6), _MOST_BINS)
    return min(math.floor(lowest / step + 1e-9) * step, 1.0 - step), 1.0


def histogram(values: Sequence[float], axis: tuple[float, float], marker: float | None = None) -> HistogramBars | None:
    """A histogram of cosines over an axis from `cosine_range`; None where there is no value."""
    finite = sorted(float(value) for value in values if not format.missing(value))
    if not finite:
        return None
    low, high = axis
    step = round_step(max(high - low, 1e-6), _MOST_BINS)
    bins = max(1, round((high - low) / step))
    counts = [0] * bins
    for value in finite:
        # A cosine of float32 vectors may exceed 1 by a rounding error.
        counts[min(bins - 1, max(0, math.floor((value - low) / step + 1e-9)))] += 1
    tallest = max(counts)
    columns = tuple(
        Column(round(100 * index / bins, 4), round(100 * count / tallest, 3))
        for index, count in enumerate(counts)
        if count
    )
    median = finite[len(finite) // 2]
    summary = (
        f"Cosines of {len(finite):,} images from {format.unit(finite[0])} to {format.unit(finite[-1])}, "
        f"half of them above {format.unit(median)}; the tallest bar is {tallest:,} images"
    )
    position = None
    if marker is not None and not format.missing(marker) and low <= marker <= high:
        position = round(100 * (marker - low) / (high - low), 3)
    return HistogramBars(columns, round(100 / bins, 4), ticks(low, high), position, summary)


def ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Round numbers on an axis: position in per cent and text."""
    step = round_step(high - low, MOST_TICKS)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(
        (round(100 * (index * step - low) / (high - low), 3), f"{index * step:.{decimals}f}")
        for index in range(first, last + 1)
    )


def round_step(width: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20, … times a power of ten that cuts `width` into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(width / most))
    steps = (factor * power for factor in (1, 2, 5, 10, 20))
    return next(step for step in steps if width / step <= most * (1 + 1e-9))


@dataclass(frozen=True)
class Name:
    """The name of a layer below an axis: its place in per cent, what there is room for, and all of it."""

    place: float
    short: str
    whole: str


def names(places: Sequence[tuple[float, str]]) -> tuple[Name, ...]:
    """As many of the names along an axis as there is room for on a phone; of a long name the end tells most."""
    step = max(1, math.ceil(len(places) / _MOST_NAMES))
    return tuple(
        Name(place, name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}", name)
        for place, name in places[::step]
    )


@dataclass(frozen=True)
class StripCell:
    """One layer of the strip: `width` in rem, `tone` for its colour, its bits, its name, and what to say about it."""

    width: float
    tone: str
    weight: str
    activation: str
    name: str
    title: str


@dataclass(frozen=True)
class Kind:
    """All layers of the same bits: how many, which (where they are few), and their share of the parameters (None where
    unknown)."""

    tone: str
    bits: str
    layers: int
    names: tuple[str, ...]
    share: float | None


@dataclass(frozen=True)
class Strip:
    """The bit plan as a row of cells, with its legend and its summary in words."""

    cells: tuple[StripCell, ...]
    kinds: tuple[Kind, ...]
    summary: str


def strip(layers: Sequence[Mapping[str, Any]]) -> Strip:
    """The bit plan drawn in the order of the network; `layers` as in the report's `models`."""
    parameters = [0 if format.missing(layer.get("parameters")) else layer["parameters"] for layer in layers]
    total = sum(parameters)
    # Two lines of a desktop page from thirty layers on: narrower, most cells would have the same least width.
    # But the largest cell must fit into one line.
    line = 120.0 if len(layers) > 30 else 60.0
    line = min(line, 60.0 * total / max(parameters)) if total else 0.0
    cells = []
    groups = defaultdict[tuple[str, str], list[tuple[str, int]]](list)
    for layer, own in zip(layers, parameters, strict=True):
        weight, activation = _bits("w", layer.get("weight_bits")), _bits("a", layer.get("activation_bits"))
        tone = _tone(layer.get("weight_bits"))
        name = str(layer.get("name", ""))
        title = f"{name}: {weight}{activation}, {own:,} parameters"
        cells.append(StripCell(round(line * own / total, 2) if total else 0.0, tone, weight, activation, name, title))
        groups[tone, weight + activation].append((name, own))
    kinds = tuple(
        Kind(
            tone, bits, len(owned), tuple(name for name, _ in owned) if len(owned) <= _FEW else (),
            sum(own for _, own in owned) / total if total else None,
        )
        for (tone, bits), owned in groups.items()
    )  # fmt: skip
    listed = ", ".join(f"{kind.layers} {kind.bits}" for kind in kinds)
    summary = f"Bit plan of {len(layers)} layers in the order of the network: {listed}"
    return Strip(tuple(cells), kinds, summary)


def _bits(letter: str, bits: Any) -> str:
    return f"{letter}{format.DASH}" if format.missing(bits) else f"{letter}{bits:d}"


def _tone(bits: Any) -> str:
    if format.missing(bits):
        return "none"
    return "float" if bits >= _FLOAT_BITS else f"b{min(8, max(2, int(bits)))}"
