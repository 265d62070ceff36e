"""What has to be known of the impostor scores: how many there are above a score, and the score at a rank.

Two answers to the same questions: `ImpostorArray` holds the scores, `tiles.TiledImpostors` forms them again
whenever they are asked for, because all pairs of a large set don't fit in memory.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bitface.evaluation.arrays import Floats, Ints, score_array


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
