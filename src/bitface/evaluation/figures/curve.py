"""The ROC curve and what is read off it: the area under it and the equal error rate.

Between two neighbouring genuine scores the curve is a straight line, so that its corners are known from the
impostor scores counted at the genuine ones. That makes area and EER exact even where the impostor scores are
too many to be kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bitface.evaluation.arrays import Floats, Ints, score_array
from bitface.evaluation.scores.impostors import ImpostorArray, ImpostorScores


@dataclass(frozen=True, eq=False)
class Roc:
    """The corners of the ROC curve, from (0, 0) to (1, 1): `far` and `tar`, each [K], none descending."""

    far: Floats
    tar: Floats

    def thinned(self, points: int = 200) -> "Roc":
        """The curve as a plot with a logarithmic FAR axis needs it: at most about `points` of its corners."""
        positive = self.far[self.far > 0]
        grid = np.geomspace(positive[0], 1.0, points)
        at = np.searchsorted(self.far, grid, "right") - 1
        # What is accepted without any false accept belongs to the curve, though a logarithm has no place for it.
        before = int(np.count_nonzero(self.far == 0)) - 1
        keep = np.unique(np.concatenate(([0, before], at, [len(self.far) - 1])))
        return Roc(self.far[keep], self.tar[keep])

    @property
    def frr(self) -> Floats:
        """1 - TAR, [K]: over FAR, with both axes logarithmic, the DET curve."""
        return 1 - self.tar

    def to_json(self) -> dict[str, Any]:
        """The coordinates of ROC and DET curve as lists."""
        return {"far": self.far.tolist(), "tar": self.tar.tolist(), "frr": self.frr.tolist()}


@dataclass(frozen=True, eq=False)
class RocCounts:
    """How the two kinds of score interleave, in whole numbers.

    Attributes:
        genuine: [V], genuine scores at each of the V distinct genuine values, ascending.
        above, at_least: [V], impostor scores above each value, and those not below it.
        impostors: the number of impostor scores.
    """

    genuine: Ints
    above: Ints
    at_least: Ints
    impostors: int

    def auc(self) -> float:
        """Probability that a genuine score exceeds an impostor one, a tie counting half (Mann-Whitney)."""
        # Python's integers don't overflow, whatever the number of pairs.
        below_twice = 2 * self.impostors - self.at_least - self.above
        wins_twice = sum(int(a) * int(b) for a, b in zip(self.genuine, below_twice, strict=True))
        return wins_twice / (2 * int(self.genuine.sum()) * self.impostors)

    def corners(self) -> tuple[Ints, Ints]:
        """Impostor and genuine pairs accepted at every corner of the curve, from none to all."""
        accepted = np.cumsum(self.genuine[::-1])
        before = accepted - self.genuine[::-1]
        false = np.stack((self.above[::-1], self.at_least[::-1]), axis=1).ravel()
        true = np.stack((before, accepted), axis=1).ravel()
        false = np.concatenate(([0], false, [self.impostors]))
        true = np.concatenate(([0], true, [accepted[-1]]))
        fresh = np.concatenate(([True], (np.diff(false) > 0) | (np.diff(true) > 0)))
        return false[fresh], true[fresh]

    def eer(self) -> float:
        """The rate at which FAR equals FRR.

        Both are read off the ROC curve with its corners joined by straight lines: where the crossing lies on
        an upright or level piece, an observed rate is the answer; on a slanting one (a genuine score tied
        with an impostor one) it is interpolated.
        """
        false, true = self.corners()
        far, frr = false / self.impostors, 1 - true / int(self.genuine.sum())
        after = int(np.argmax(far >= frr))
        gap = frr - far
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        if far[after] == far[after - 1]:
            return float(far[after])
        if frr[after] == frr[after - 1]:
            return float(frr[after])
        return float(far[after - 1] + share * (far[after] - far[after - 1]))

    def roc(self) -> Roc:
        """The curve as rates."""
        false, true = self.corners()
        return Roc(false / self.impostors, true / int(self.genuine.sum()))


def roc_counts(genuine: Floats, impostors: ImpostorScores) -> RocCounts:
    """Counts the impostor scores at the distinct genuine ones."""
    values, repeated = np.unique(genuine, return_counts=True)
    above, at_least = impostors.counts(values)
    return RocCounts(repeated, above, at_least, impostors.count)


def _of_arrays(genuine: ArrayLike, impostor: ArrayLike) -> RocCounts:
    return roc_counts(score_array(genuine, "genuine"), ImpostorArray(impostor))


def roc(genuine: ArrayLike, impostor: ArrayLike) -> Roc:
    """The ROC curve of genuine [G] and impostor [I] scores. Raises BitfaceError where one kind is missing."""
    return _of_arrays(genuine, impostor).roc()


def auc(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """The area under the ROC curve, exact, ties counting half. Raises BitfaceError as `roc`."""
    return _of_arrays(genuine, impostor).auc()


def eer(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """The equal error rate; see `RocCounts.eer` for the rule. Raises BitfaceError as `roc`."""
    return _of_arrays(genuine, impostor).eer()
