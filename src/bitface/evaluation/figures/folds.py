"""Verification accuracy by cross-validation, the protocol of Labeled Faces in the Wild (View 2)."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, flags, score_array
from bitface.evaluation.figures.intervals import Interval, wilson


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy over K folds, each judged with the threshold that the other folds chose.

    Attributes:
        mean: the mean of the folds' accuracies, each fold counting alike.
        std: their sample standard deviation (K - 1 in the denominator, as the LFW report defines it).
        standard_error: std / sqrt(K).
        interval: Wilson's, of the held-out decisions taken together, those of repeated pairs not counted again.
        accuracies, thresholds: one per fold, in the order of the folds.
        correct: [P] bool, whether each pair was judged rightly when it was held out; for McNemar's test.
    """

    mean: float
    std: float
    standard_error: float
    interval: Interval
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    correct: Bools = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values, without the single decisions."""
        return {
            "mean": self.mean,
            "std": self.std,
            "standard_error": self.standard_error,
            "interval": self.interval.to_json(),
            "accuracies": list(self.accuracies),
            "thresholds": list(self.thresholds),
            "pairs": len(self.correct),
            "errors": int(np.count_nonzero(~self.correct)),
        }


def best_threshold(scores: Floats, same: Bools) -> float:
    """The threshold t of highest accuracy, where a pair is accepted if its score is at least t.

    Accuracy only changes at observed scores, so that the gaps between neighbouring distinct scores are all
    the candidates there are. Among equally good gaps the widest wins, the lowest of equally wide ones, and t
    is its middle. The two ends, accepting everything and rejecting everything, count as gaps of no width.

    Args:
        scores: [P] float64. Must be sorted in ascending order, with `same` in the same order.
        same: [P] bool.
    """
    count = len(scores)
    # Cutting at c rejects the first c pairs and accepts the rest.
    rejected_impostors = np.concatenate(([0], np.cumsum(~same)))
    rejected_genuine = np.arange(count + 1) - rejected_impostors
    right = rejected_impostors + (rejected_genuine[-1] - rejected_genuine)
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(scores) > 0) + 1, [count]))
    best = cuts[right[cuts] == right[cuts].max()]
    below = scores[np.maximum(best - 1, 0)]
    above = scores[np.minimum(best, count - 1)]
    at = int(np.argmax(above - below))
    cut, low, high = int(best[at]), float(below[at]), float(above[at])
    if cut == count:
        return math.nextafter(high, math.inf)
    middle = low + (high - low) / 2
    # Between neighbouring floats there is no middle: rounding must not land on the rejected score.
    return middle if middle > low else high


def fold_accuracy(scores: ArrayLike, same: ArrayLike, fold: ArrayLike, distinct: int | None = None) -> FoldAccuracy:
    """K-fold verification accuracy, exact over all thresholds, in O(P log P + K P).

    Args:
        scores: [P] similarities, higher for the same person.
        same: [P] bool, genuine or impostor.
        fold: [P] integers, any labels.
        distinct: how many of the pairs repeat no other; None: all.

    Raises:
        BitfaceError: fewer than two folds, arrays of different lengths, NaN or infinite scores.
    """
    values = score_array(scores, "verification")
    truth = flags(same, len(values), "same")
    labels = np.asarray(fold)
    if labels.shape != values.shape:
        raise BitfaceError(f"fold has the shape {labels.shape}; expected one entry per pair ({len(values)})")
    names = np.unique(labels)
    if len(names) < 2:
        raise BitfaceError("all pairs are in one fold; the threshold must come from others: use at least two")
    order = np.argsort(values, kind="stable")
    ordered_scores, ordered_same, ordered_fold = values[order], truth[order], labels[order]
    correct = np.zeros(len(values), dtype=bool)
    accuracies, thresholds = [], []
    for name in names:
        others = ordered_fold != name
        threshold = best_threshold(ordered_scores[others], ordered_same[others])
        held_out = labels == name
        decisions = (values[held_out] >= threshold) == truth[held_out]
        correct[held_out] = decisions
        accuracies.append(float(np.count_nonzero(decisions) / len(decisions)))
        thresholds.append(threshold)
    std = float(np.std(accuracies, ddof=1))
    return FoldAccuracy(
        mean=float(np.mean(accuracies)),
        std=std,
        standard_error=std / math.sqrt(len(names)),
        interval=wilson(int(np.count_nonzero(correct)), len(correct), distinct),
        accuracies=tuple(accuracies),
        thresholds=tuple(thresholds),
        correct=correct,
    )
