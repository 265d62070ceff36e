"""What has to be known of the impostor scores: how many there are above a score, and the score at a rank.

Two answers to the same questions: `ImpostorArray` holds the scores, `tiles.TiledImpostors` forms them again
whenever they are asked for, because all pairs of a large set don't fit in memory.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bitface.evaluation.arrays import Floats, Ints, score_array

DRAWN_BINS = 256
"""A power of two, as the bins of `tiles` are, so that a drawn bin is a number of whole ones."""


class ImpostorScores(Protocol):
    """The impostor scores of a protocol, whether held or formed on demand."""

    @property
    def count(self) -> int:
        """The number of impostor pairs."""

    def counts(self, values: Floats) -> tuple[Ints, Ints]:
        """How many impostor scores lie above each value, and how many are at least it.

        Args:
            values: [V], distinct, ascending.
        """

    def at_rank(self, ranks: Ints) -> tuple[Floats, Ints]:
        """The impostor score at each rank (1 is the highest), and how many lie strictly above it."""


class BinnedImpostors(ImpostorScores, Protocol):
    """Impostor scores that can be drawn, too."""

    def histogram(self) -> Ints:
        """How many scores lie in each of `DRAWN_BINS` bins of equal width from -1 to 1."""


def histogram(scores: Floats) -> Ints:
    """How many scores between -1 and 1 lie in each of `DRAWN_BINS` bins of equal width; 1 is in the last."""
    places = ((scores + 1) * (DRAWN_BINS / 2)).astype(np.int64)
    return np.bincount(places.clip(0, DRAWN_BINS - 1), minlength=DRAWN_BINS)


class ImpostorArray:
    """Impostor scores held in memory, [I]. Raises BitfaceError where there are none, or NaN among them."""

    def __init__(self, scores: ArrayLike) -> None:
        self._ascending = np.sort(score_array(scores, "impostor"))

    @property
    def count(self) -> int:
        return len(self._ascending)

    def counts(self, values: Floats) -> tuple[Ints, Ints]:
        above = self.count - np.searchsorted(self._ascending, values, "right")
        at_least = self.count - np.searchsorted(self._ascending, values, "left")
        return above, at_least

    def at_rank(self, ranks: Ints) -> tuple[Floats, Ints]:
        values = self._ascending[self.count - ranks]
        return values, self.count - np.searchsorted(self._ascending, values, "right")

    def histogram(self) -> Ints:
        return histogram(self._ascending)
