"""Confidence intervals of TAR when all pairs are formed: people, not pairs, are what was sampled.

Pairs that share a person aren't independent, so subjects are resampled with replacement (Efron's bootstrap,
percentile interval). A subject drawn w times counts its genuine pairs w times, and an impostor pair of two
subjects counts as often as the product of both. The threshold of each FAR is found again in every resample,
from the highest impostor scores; where these are too many to be kept, it is held fixed, which matters little
there, because a FAR that so many pairs decide has a steady threshold. Weighting pairs by products is known to
err on the wide side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.figures.intervals import LEVEL, Interval
from bitface.evaluation.figures.operating import OperatingPoint, allowed


@dataclass(frozen=True, eq=False)
class SubjectScores:
    """What the bootstrap needs to know of S subjects.

    Attributes:
        images: [S], images of each.
        genuine, genuine_subject: [G], genuine scores and whose they are.
        tail: [T], the highest impostor scores, descending.
        tail_left, tail_right: [T], the two subjects of each.
    """

    images: Ints
    genuine: Floats
    genuine_subject: Ints
    tail: Floats
    tail_left: Ints
    tail_right: Ints


def tail_needed(false_accepts: int) -> int:
    """Highest impostor scores to keep, so that resamples find their threshold among them."""
    return 2 * false_accepts + 256


def with_subject_intervals(
    points: tuple[OperatingPoint, ...], scores: SubjectScores, resamples: int = 1000, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """The operating points with intervals by subject, deterministic for a seed.

    Near 0 and 1, or with few subjects, resampling sees too little of what might have been. An interval is
    therefore never narrower than Wilson's for independent pairs.
    """
    supported = [point for point in points if point.supported and point.interval is not None]
    tars = np.array(list(_resampled(supported, scores, resamples, seed))) if supported else ()
    if not len(tars):
        return points
    lows, highs = np.quantile(tars, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    updated = {}
    for point, low, high in zip(supported, lows, highs, strict=True):
        method = "subject bootstrap" if follows(point, scores) else "subject bootstrap, threshold fixed"
        assert point.interval is not None
        updated[point.far] = replace(point, interval=point.interval.hull(Interval(low, high, method), method))
    return tuple(updated.get(point.far, point) for point in points)


def follows(point: OperatingPoint, scores: SubjectScores) -> bool:
    """Whether the kept impostor scores suffice to find this point's threshold in every resample."""
    if point.false_accepts is None:  # extrapolated: no resample could find it
        return False
    tail = len(scores.tail)
    return tail == point.impostor or tail >= tail_needed(point.false_accepts)


def _resampled(points: list[OperatingPoint], scores: SubjectScores, resamples: int, seed: int) -> Iterator[list[float]]:
    """Yields TAR at each point, resample by resample, without those that hold no genuine pair."""
    generator = np.random.default_rng(seed)
    order = np.argsort(-scores.genuine, kind="stable")
    negated, owner = -scores.genuine[order], scores.genuine_subject[order]
    followed = [follows(point, scores) for point in points]
    for _ in range(resamples):
        resample = _Resample.draw(scores, generator)
        genuine = np.cumsum(resample.weight[owner])
        if genuine[-1] == 0:
            continue
        tars = []
        for point, moves in zip(points, followed, strict=True):
            accepted = point.accepted or 0
            if moves:
                accepted = int(np.searchsorted(negated, -resample.rejected(point.far), "left"))
            tars.append(float(genuine[accepted - 1] / genuine[-1]) if accepted else 0.0)
        yield tars


@dataclass(frozen=True, eq=False)
class _Resample:
    """How often each subject was drawn, and what follows for the impostor pairs."""

    scores: SubjectScores
    weight: Ints
    tail: Ints
    impostors: int

    @staticmethod
    def draw(scores: SubjectScores, generator: np.random.Generator) -> "_Resample":
        subjects = len(scores.images)
        weight = np.bincount(generator.integers(0, subjects, size=subjects), minlength=subjects)
        tail = np.cumsum(weight[scores.tail_left] * weight[scores.tail_right])
        images = weight * scores.images
        return _Resample(scores, weight, tail, (int(images.sum()) ** 2 - int((images**2).sum())) // 2)

    def rejected(self, far: float) -> float:
        """The highest score that must be rejected: of the first pair that is one too many, or of the tail's last."""
        at = int(np.searchsorted(self.tail, allowed(far, self.impostors), "right"))
        return float(self.scores.tail[min(at, len(self.tail) - 1)])

    def far_above(self, score: float) -> float:
        """The share of impostor pairs above a score of the tail."""
        above = int(np.searchsorted(-self.scores.tail, -score, "left"))
        return float(self.tail[above - 1] / self.impostors) if above and self.impostors else 0.0


def resampled_thresholds(
    points: Sequence[OperatingPoint], scores: SubjectScores, resamples: int = 1000, seed: int = 0
) -> tuple[Floats, Floats]:
    """What finding the thresholds again on other people would give: `(thresholds, rates)`, `[resamples, points]` each.

    A resample of subjects finds the threshold; the rate is the share of impostor pairs that it accepts in another
    resample, as happens to whoever finds a threshold on some people and uses it on others.

    Args:
        points: those that `follows` is true of.
    """
    generator = np.random.default_rng(seed)
    thresholds, rates = np.empty((resamples, len(points))), np.empty((resamples, len(points)))
    for row in range(resamples):
        first, others = (_Resample.draw(scores, generator) for _ in range(2))
        thresholds[row] = [first.rejected(point.far) for point in points]
        rates[row] = [others.far_above(threshold) for threshold in thresholds[row]]
    return thresholds, rates


def resampled_pairs(scores: SubjectScores, count: int, resamples: int, seed: int = 0) -> tuple[Floats, Floats]:
    """How often each of the `count` highest impostor pairs stands in resamples of people, `[resamples, count]`, and how
    many impostor pairs each resample has, `[resamples]`; without those that have none.
    """
    generator = np.random.default_rng(seed)
    draws = [_Resample.draw(scores, generator) for _ in range(resamples)]
    draws = [one for one in draws if one.impostors]
    left, right = scores.tail_left[:count], scores.tail_right[:count]
    weights = np.array([one.weight[left] * one.weight[right] for one in draws], dtype=np.float64)
    return weights, np.array([one.impostors for one in draws], dtype=np.float64)


def paired_differences(
    first: tuple[Sequence[OperatingPoint], SubjectScores],
    second: tuple[Sequence[OperatingPoint], SubjectScores],
    resamples: int = 1000,
    seed: int = 0,
) -> Floats:
    """TAR of the second model less that of the first, `[resamples, points]`, each pair of models on the same people.

    Args:
        first, second: the supported points at the same FARs, and the scores of the same images.

    Raises:
        BitfaceError: the two are of different images.
    """
    (points, scores), (others, other_scores) = first, second
    if not np.array_equal(scores.images, other_scores.images):
        raise BitfaceError("the two models were scored on different images; compare them on the same ones")
    # One seed draws the same people for both.
    rows = [list(_resampled(list(p), s, resamples, seed)) for p, s in ((points, scores), (others, other_scores))]
    return np.array(rows[1], dtype=np.float64) - np.array(rows[0], dtype=np.float64)


def paired_list_differences(
    same: Bools, first: Floats, second: Floats, fars: Sequence[float], resamples: int = 1000, seed: int = 0
) -> Floats:
    """As `paired_differences` for a list of pairs, which are taken to be independent: `[resamples, fars]`.

    Args:
        same: `[P]`, genuine or impostor.
        first, second: `[P]`, both models' scores of the same pairs.
    """
    generator = np.random.default_rng(seed)
    ranked = []
    for scores in (first, second):
        kinds = [np.flatnonzero(mask)[np.argsort(-scores[mask], kind="stable")] for mask in (same, ~same)]
        ranked.append([(rows, -scores[rows]) for rows in kinds])
    differences = np.empty((resamples, len(fars)))
    for row in range(resamples):
        weight = np.bincount(generator.integers(0, len(same), len(same)), minlength=len(same))
        tars = []
        for (genuine, genuine_negated), (impostor, impostor_negated) in ranked:
            false, true = np.cumsum(weight[impostor]), np.cumsum(weight[genuine])
            at = [
                min(int(np.searchsorted(false, allowed(far, int(false[-1])), "right")), len(false) - 1) for far in fars
            ]
            accepted = [int(np.searchsorted(genuine_negated, impostor_negated[one], "left")) for one in at]
            tars.append([true[count - 1] / true[-1] if count else 0.0 for count in accepted])
        differences[row] = np.subtract(tars[1], tars[0])
    return differences
