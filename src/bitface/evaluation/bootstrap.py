"""Confidence intervals of TAR when all pairs are formed: people, not pairs, are what was sampled.

Pairs that share a person aren't independent, so subjects are resampled with replacement (Efron's bootstrap,
percentile interval). A subject drawn w times counts its genuine pairs w times, and an impostor pair of two
subjects counts as often as the product of both. The threshold of each FAR is found anew in every resample,
from the highest impostor scores; where these are too many to be kept, it is held fixed, which matters little
there, because a FAR that so many pairs decide has a steady threshold. Weighting pairs by products is known to
err on the wide side.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bitface.evaluation.arrays import Floats, Ints
from bitface.evaluation.intervals import LEVEL, Interval
from bitface.evaluation.operating import OperatingPoint, allowed


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
    tars = np.array(list(_resampled(supported, scores, resamples, seed)))
    if not supported or not len(tars):
        return points
    lows, highs = np.quantile(tars, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    updated = {}
    for point, low, high in zip(supported, lows, highs, strict=True):
        method = "subject bootstrap" if _follows(point, scores) else "subject bootstrap, threshold fixed"
        assert point.interval is not None
        updated[point.far] = replace(point, interval=point.interval.hull(Interval(low, high, method), method))
    return tuple(updated.get(point.far, point) for point in points)


def _follows(point: OperatingPoint, scores: SubjectScores) -> bool:
    """Whether the kept impostor scores suffice to find this point's threshold in every resample."""
    kept = len(scores.tail)
    return kept == point.impostor or kept >= tail_needed(point.false_accepts or 0)


def _resampled(points: list[OperatingPoint], scores: SubjectScores, resamples: int, seed: int) -> Iterator[list[float]]:
    """Yields TAR at each point, resample by resample, without those that hold no genuine pair."""
    generator = np.random.default_rng(seed)
    subjects = len(scores.images)
    order = np.argsort(-scores.genuine, kind="stable")
    negated, owner = -scores.genuine[order], scores.genuine_subject[order]
    followed = [_follows(point, scores) for point in points]
    for _ in range(resamples):
        weight = np.bincount(generator.integers(0, subjects, size=subjects), minlength=subjects)
        genuine = np.cumsum(weight[owner])
        if genuine[-1] == 0:
            continue
        tail = np.cumsum(weight[scores.tail_left] * weight[scores.tail_right])
        images = weight * scores.images
        impostors = (int(images.sum()) ** 2 - int((images**2).sum())) // 2
        tars = []
        for point, follows in zip(points, followed, strict=True):
            accepted = point.accepted or 0
            if follows:
                # The first pair that is one too many, or, should the tail end before, its last.
                rejected = int(np.searchsorted(tail, allowed(point.far, impostors), "right"))
                lowest = scores.tail[min(rejected, len(tail) - 1)]
                accepted = int(np.searchsorted(negated, -lowest, "left"))
            tars.append(float(genuine[accepted - 1] / genuine[-1]) if accepted else 0.0)
        yield tars
