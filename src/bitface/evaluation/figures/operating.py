"""Operating points: the true accept rate at a given false accept rate, and both rates at a given threshold.

A pair is accepted when its score is at least the threshold. Of all observed scores, the threshold for a FAR
is the smallest at which no more than FAR of the impostor pairs are accepted, so that ties are never split.
(Where even the highest score accepts too many, it is the next number above it, and nothing is accepted.) A
FAR that fewer than ten impostor pairs would decide isn't reported: the point says how many are needed.

What counts there, and in every interval, are distinct comparisons. Where two models stand on the two sides, (a, b) and
(b, a) are two scores, but nothing new is learned of the people by the second; nor by a pair that a list repeats.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import UsageError
from bitface.evaluation.arrays import Bools, Floats, score_array
from bitface.evaluation.figures.intervals import Interval, wilson
from bitface.evaluation.scores.impostors import ImpostorArray, ImpostorScores

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
SUPPORT = 10
"""The least number of false accepts that a FAR must stand for."""


@dataclass(frozen=True)
class Distinct:
    """Pairs of each kind without those that repeat another one, in the same order or in the other."""

    genuine: int
    impostor: int

    @staticmethod
    def of(same: Bools, first: Bools) -> "Distinct":
        """Of a list: [P] genuine or impostor, and [P] whether a pair stands for the first time."""
        return Distinct(int(np.count_nonzero(same & first)), int(np.count_nonzero(~same & first)))


@dataclass(frozen=True)
class OperatingPoint:
    """TAR at one FAR.

    Attributes:
        far: the target.
        supported: whether there are distinct impostor pairs enough; if not, `reason` says so and the rest is None.
        threshold: accept a pair whose score is at least this.
        tar, interval: share of genuine pairs accepted, and its 95 % interval; None where there are none.
        reached: the share of impostor pairs that the threshold accepts; at most `far`.
        accepted, false_accepts: the genuine and the impostor pairs accepted.
        genuine, impostor: the pairs scored.
        distinct: those of them that count as evidence.
    """

    far: float
    supported: bool
    threshold: float | None
    tar: float | None
    interval: Interval | None
    reached: float | None
    accepted: int | None
    false_accepts: int | None
    genuine: int
    impostor: int
    distinct: Distinct
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ErrorRates:
    """What a fixed threshold does: both rates with their Wilson intervals."""

    threshold: float
    tar: float
    tar_interval: Interval
    far: float
    far_interval: Interval
    genuine: int
    impostor: int

    @staticmethod
    def of(threshold: float, hits: int, genuine: int, false: int, impostor: int, distinct: Distinct) -> "ErrorRates":
        """From the pairs accepted and those scored, of each kind."""
        return ErrorRates(
            threshold,
            hits / genuine,
            wilson(hits, genuine, distinct.genuine),
            false / impostor,
            wilson(false, impostor, distinct.impostor),
            genuine,
            impostor,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ImpostorRates:
    """What a fixed threshold does where there are no genuine pairs: the fields of `ErrorRates`, no TAR."""

    threshold: float
    far: float
    far_interval: Interval
    impostor: int
    genuine: int = 0
    tar: None = None
    tar_interval: None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def tar_at_far(genuine: ArrayLike, impostor: ArrayLike, fars: Sequence[float] = FARS) -> tuple[OperatingPoint, ...]:
    """TAR at each FAR with Wilson intervals, from genuine [G] and impostor [I] scores.

    Raises:
        BitfaceError: one kind of score is missing, or some are NaN or infinite.
        UsageError: a FAR isn't between 0 and 1.
    """
    return operating_points(score_array(genuine, "genuine"), ImpostorArray(impostor), fars)


def rates_at(genuine: ArrayLike, impostor: ArrayLike, threshold: float) -> ErrorRates:
    """TAR and FAR at a threshold that was chosen elsewhere, for instance on the floating-point model.

    Raises:
        BitfaceError: one kind of score is missing, or some are NaN or infinite.
    """
    accepted, rejected = score_array(genuine, "genuine"), score_array(impostor, "impostor")
    hits = int(np.count_nonzero(accepted >= threshold))
    false = int(np.count_nonzero(rejected >= threshold))
    distinct = Distinct(len(accepted), len(rejected))
    return ErrorRates.of(float(threshold), hits, len(accepted), false, len(rejected), distinct)


def far_name(far: float) -> str:
    """A rate as people type it: 1e-4."""
    mantissa, exponent = f"{far:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def check_fars(fars: Sequence[float]) -> tuple[float, ...]:
    """The FARs as floats. Raises UsageError where there are none, or one isn't between 0 and 1."""
    checked = tuple(float(far) for far in fars)
    if not checked:
        raise UsageError("no FAR is given; name at least one, for instance 1e-3")
    for far in checked:
        if not 0 < far < 1:
            raise UsageError(f"a FAR of {far:g} makes no sense; it must lie between 0 and 1")
    return checked


def allowed(far: float, impostors: int) -> int:
    """The most impostor pairs that may be accepted.

    The FAR counts as the decimal number it is written as: 1e-3 of 3,000 is 3, whatever binary rounding says.
    """
    return math.floor(Fraction(repr(far)) * impostors)


def needed(far: float) -> int:
    """The least number of distinct impostor pairs that supports a FAR."""
    return math.ceil(SUPPORT / Fraction(repr(far)))


def operating_points(
    genuine: Floats, impostors: ImpostorScores, fars: Sequence[float], distinct: Distinct | None = None
) -> tuple[OperatingPoint, ...]:
    """TAR at each FAR, in the order given. As `tar_at_far`, for impostor scores in either form.

    Args:
        genuine: [G]; where it is empty, thresholds come without TAR.
        distinct: how many of the pairs are distinct comparisons; None: all.
    """
    checked = check_fars(fars)
    distinct = distinct or Distinct(len(genuine), impostors.count)
    supported = [far for far in checked if distinct.impostor >= needed(far)]
    limits = np.array([allowed(far, impostors.count) for far in supported], dtype=np.int64)
    points = dict(zip(supported, _points(np.sort(genuine), impostors, supported, limits, distinct), strict=True))
    return tuple(
        points.get(far) or refused(far, len(genuine), impostors.count, distinct, _lacking(far, distinct))
        for far in checked
    )


def refused(far: float, genuine: int, impostor: int, distinct: Distinct, reason: str) -> OperatingPoint:
    """The point at a FAR of which nothing can be said."""
    return OperatingPoint(far, False, None, None, None, None, None, None, genuine, impostor, distinct, reason)


def _lacking(far: float, distinct: Distinct) -> str:
    return f"needs at least {needed(far)} impostor pairs, has {distinct.impostor}"


def _points(
    ascending: Floats, impostors: ImpostorScores, fars: list[float], limits: np.ndarray, distinct: Distinct
) -> list[OperatingPoint]:
    if not fars:
        return []
    # The score one rank below the limit is the highest that must be rejected. Where it isn't tied, the score
    # at the limit is the lowest that may be accepted; asking for both ranks at once saves a pass.
    values, above = impostors.at_rank(np.concatenate((limits + 1, limits)))
    rejected, false_accepts, lowest = values[: len(fars)], above[: len(fars)], values[len(fars) :].copy()
    tied = (false_accepts != limits) & (false_accepts > 0)
    if tied.any():
        lowest[tied] = impostors.at_rank(false_accepts[tied])[0]
    lowest[false_accepts == 0] = np.inf
    first = np.searchsorted(ascending, rejected, "right")
    points = []
    for index, far in enumerate(fars):
        accepted = len(ascending) - int(first[index])
        threshold = min(float(lowest[index]), float(ascending[first[index]]) if accepted else math.inf)
        if math.isinf(threshold):
            threshold = math.nextafter(float(rejected[index]), math.inf)
        points.append(
            OperatingPoint(
                far=far,
                supported=True,
                threshold=threshold,
                tar=accepted / len(ascending) if len(ascending) else None,
                interval=wilson(accepted, len(ascending), distinct.genuine) if len(ascending) else None,
                reached=int(false_accepts[index]) / impostors.count,
                accepted=accepted,
                false_accepts=int(false_accepts[index]),
                genuine=len(ascending),
                impostor=impostors.count,
                distinct=distinct,
            )
        )
    return points
