"""Impostor scores of all pairs of N images, or of all images on one side with all on another, formed tile by tile.

Each question is answered by one pass over the tiles: a histogram once, then exact work on the few scores in
those of its bins that matter. Scores are never kept: memory is bounded by a tile and the histogram, whatever N. They
don't depend on the tiles (see `similarity`), nor does any answer.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.scores.impostors import DRAWN_BINS
from bitface.evaluation.scores.similarity import FAILED, RESOLUTION

_BINS = 1 << 18
_WIDTH = 2.0 / _BINS
_CAPACITY = 1 << 20


class TiledImpostors:
    """The impostor scores among all pairs of the given rows, or between two sides; see `impostors.ImpostorScores`.

    Args:
        unit: [N, D], usable unit vectors from `unit_rows`.
        subject: [N], whose image each is.
        failed: further impostor pairs, those that touch a failed image, all of which score -1.
        block: rows and columns of a tile; 24 bytes of memory for each of its block² pairs.
        capacity: the most scores of one bin that are kept for sorting; a fuller bin is cut finer first.
        probe: `(unit, subject)` of another side, [M, D] and [M]. Every row then meets every one of these, and an
            impostor pair is two of different subjects.
    """

    def __init__(
        self,
        unit: Floats,
        subject: NDArray[np.integer],
        failed: int = 0,
        block: int = 1024,
        capacity: int = _CAPACITY,
        probe: tuple[Floats, NDArray[np.integer]] | None = None,
    ) -> None:
        self._unit, self._subject, self._failed = unit, subject, failed
        self._other, self._other_subject = probe or (unit, subject)
        self._one_sided = probe is None
        self._block, self._capacity = block, capacity
        self._histogram = np.zeros(_BINS + 1, dtype=np.int64)
        for scores, impostor in self._tiles():
            self._histogram += np.bincount(_bins(scores[impostor]), minlength=_BINS + 1)
        self._formed = int(self._histogram.sum())

    @property
    def count(self) -> int:
        return self._formed + self._failed

    def counts(self, values: Floats) -> tuple[Ints, Ints]:
        homes = _bins(values)
        # A bin without any of the values lies on one side of each of them, and its count says everything.
        plain = self._histogram.copy()
        plain[homes] = 0
        below = np.searchsorted(homes, np.arange(_BINS + 1), "left")
        reached = np.bincount(below, weights=plain, minlength=len(values) + 1).astype(np.int64)
        passed = reached.copy()
        for scores in self._within(homes):
            reached += np.bincount(np.searchsorted(values, scores, "right"), minlength=len(values) + 1)
            passed += np.bincount(np.searchsorted(values, scores, "left"), minlength=len(values) + 1)
        # A score that has reached k of the values is at least each of the first k.
        at_least = np.cumsum(reached[::-1])[::-1][1:]
        above = np.cumsum(passed[::-1])[::-1][1:]
        return above, at_least + np.where(values <= FAILED, self._failed, 0)

    def at_rank(self, ranks: Ints) -> tuple[Floats, Ints]:
        values = np.full(len(ranks), FAILED)
        above = np.zeros(len(ranks), dtype=np.int64)
        formed = ranks <= self._formed
        if not formed.all():
            above[~formed] = self.counts(np.array([FAILED]))[0][0]
        whole = _Window(-1.0, 2.0, self._formed)
        places = {index: _descend(whole, self._histogram, int(ranks[index])) for index in np.flatnonzero(formed)}
        while places:
            windows = {place.window for place in places.values()}
            sorted_scores = self._collect({window for window in windows if window.members <= self._capacity})
            histograms = self._refine({window for window in windows if window.divisible} - sorted_scores.keys())
            for index, place in list(places.items()):
                if place.window in histograms:
                    places[index] = _descend(place.window, histograms[place.window], place.rank, place.above)
                    continue
                if place.window in sorted_scores:
                    scores = sorted_scores[place.window]
                    values[index] = scores[len(scores) - place.rank]
                    higher = len(scores) - int(np.searchsorted(scores, values[index], "right"))
                else:
                    values[index], higher = place.window.low, 0
                above[index] = place.above + higher
                del places[index]
        return values, above

    def histogram(self) -> Ints:
        bins = self._histogram[:-1].reshape(DRAWN_BINS, -1).sum(1)
        bins[-1] += self._histogram[-1]
        bins[0] += self._failed
        result: Ints = bins
        return result

    def highest(self, count: int) -> tuple[Floats, Ints, Ints]:
        """At least the `count` highest scores where a bin allows it, descending, with the rows of each pair.

        With two sides the first row is one of the first side, the second one of the probes.

        A bin too full to be kept is left out with all below it, and fewer come back.
        """
        from_top = np.cumsum(self._histogram[::-1])
        floor = _BINS - min(int(np.searchsorted(from_top, count, "left")), _BINS)
        if self._histogram[floor] > self._capacity:
            floor += 1
        lowest = floor * _WIDTH - 1
        parts = []
        for scores, impostor, top, side in self._placed_tiles():
            if scores.max(initial=-1.0) >= lowest:
                row, column = np.nonzero((scores >= lowest) & impostor)
                parts.append((scores[row, column], row + top, column + side))
        values, left, right = (
            (np.concatenate(column) for column in zip(*parts, strict=True))
            if parts
            else (np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        )
        order = np.lexsort((right, left, -values))
        return values[order], left[order], right[order]

    def _placed_tiles(self) -> Iterator[tuple[Floats, Bools, int, int]]:
        size = self._block
        for top in range(0, len(self._unit), size):
            for side in range(top if self._one_sided else 0, len(self._other), size):
                rows, columns = slice(top, top + size), slice(side, side + size)
                scores = self._unit[rows] @ self._other[columns].T
                np.clip(scores, -1.0, 1.0, out=scores)
                impostor = self._subject[rows, None] != self._other_subject[None, columns]
                # On the diagonal of one side every pair stands twice.
                yield scores, np.triu(impostor, 1) if self._one_sided and side == top else impostor, top, side

    def _tiles(self) -> Iterator[tuple[Floats, Bools]]:
        for scores, impostor, _, _ in self._placed_tiles():
            yield scores, impostor

    def _within(self, homes: Ints) -> Iterator[Floats]:
        """The impostor scores that lie in the given bins, tile by tile."""
        mask = np.zeros(_BINS + 1, dtype=bool)
        mask[homes] = True
        for scores, impostor in self._tiles():
            yield scores[impostor & mask[_bins(scores)]]

    def _collect(self, windows: set["_Window"]) -> dict["_Window", Floats]:
        """The scores in each window, ascending."""
        parts: dict[_Window, list[Floats]] = {window: [] for window in windows}
        for scores in self._within(_homes(windows)) if windows else ():
            for window, blocks in parts.items():
                blocks.append(scores[window.holds(scores)])
        return {window: np.sort(np.concatenate(blocks)) for window, blocks in parts.items()}

    def _refine(self, windows: set["_Window"]) -> dict["_Window", Ints]:
        """The scores in each window, counted in finer bins."""
        histograms = {window: np.zeros(_BINS + 1, dtype=np.int64) for window in windows}
        for scores in self._within(_homes(windows)) if windows else ():
            for window, histogram in histograms.items():
                offset = (scores[window.holds(scores)] - window.low) / (window.width / _BINS)
                histogram += np.bincount(offset.astype(np.int64), minlength=_BINS + 1)
        return histograms


class _Window(NamedTuple):
    """A range of scores from `low` upwards, `width` wide, and how many scores it holds."""

    low: float
    width: float
    members: int

    @property
    def divisible(self) -> bool:
        """Whether the window is wider than the grid of scores, and so may hold different ones."""
        return self.width > RESOLUTION

    def holds(self, scores: Floats) -> Bools:
        return (scores >= self.low) & (scores < self.low + self.width)


class _Place(NamedTuple):
    """Where a rank has been traced to: its rank from the top of a window, and the scores above that."""

    window: _Window
    rank: int
    above: int


def _descend(window: _Window, histogram: Ints, rank: int, above: int = 0) -> _Place:
    """The bin of a window's histogram that holds the score of the given rank from the top."""
    from_top = np.cumsum(histogram[::-1])
    place = int(np.searchsorted(from_top, rank, "left"))
    members = int(histogram[_BINS - place])
    higher = int(from_top[place]) - members
    width = window.width / _BINS
    return _Place(_Window(window.low + (_BINS - place) * width, width, members), rank - higher, above + higher)


def _homes(windows: set[_Window]) -> Ints:
    return np.unique(_bins(np.array([window.low for window in windows])))


def _bins(scores: Floats) -> Ints:
    # Scores are multiples of 2^-52 between -1 and 1: neither the sum nor the quotient is rounded.
    return ((scores + 1) / _WIDTH).astype(np.int64)
