"""Errors in the terms of ISO/IEC 19795-1, each with how many of them it stands on.

FAR and TAR count every pair, and one of an image that gave no embedding as rejected: that is what a user meets who has
a single attempt. FMR and FNMR (false match and false non-match rate) are of the comparisons that took place; what
didn't is the failure to acquire (FTA), counted in images. FAR = FMR · share of the impostor pairs that were compared.

A rate that few errors stand behind says little. By Doddington's rule of 30 (Speech Communication 31, 2000) a rate lies
within 30 % of the true one, at 90 % confidence, from 30 errors on; by the rule of 3, where none was seen among N, it is
below 3/N at 95 %. Both take comparisons to be independent.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bitface.evaluation.figures.intervals import Interval, wilson
from bitface.evaluation.figures.operating import OperatingPoint

ENOUGH = 30
"""The errors from which on the rule of 30 holds."""


@dataclass(frozen=True)
class ErrorRate:
    """Errors among trials.

    Attributes:
        rate, interval: the share, and its Wilson interval over distinct trials.
        errors, trials: what it was counted from.
        remark: which rule the count breaks, in words; None: there were 30 errors or more.
    """

    rate: float
    interval: Interval
    errors: int
    trials: int
    remark: str | None

    @staticmethod
    def of(errors: int, trials: int, distinct: int | None = None) -> "ErrorRate | None":
        """None where there is no trial. `distinct`: the trials that don't repeat another one; None: all."""
        if trials == 0:
            return None
        evidence = trials if distinct is None else distinct
        return ErrorRate(
            errors / trials,
            wilson(errors, trials, evidence),
            errors,
            trials,
            _remark(errors * evidence / trials, evidence),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class MatchErrors:
    """FMR and FNMR at the threshold of a FAR; one is None where no pair of its kind could be compared."""

    far: float
    threshold: float
    fmr: ErrorRate | None
    fnmr: ErrorRate | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def match_errors(
    points: Sequence[OperatingPoint], failed_genuine: int, failed_impostor: int
) -> tuple[MatchErrors, ...]:
    """Of each operating point that the data supports.

    Args:
        failed_genuine, failed_impostor: pairs of an image without an embedding; every threshold rejects them.
    """
    return tuple(_at(point, failed_genuine, failed_impostor) for point in points if point.threshold is not None)


def _at(point: OperatingPoint, failed_genuine: int, failed_impostor: int) -> MatchErrors:
    genuine, impostor = point.genuine - failed_genuine, point.impostor - failed_impostor
    misses = genuine - (point.accepted or 0)
    return MatchErrors(
        point.far,
        float(point.threshold or 0),
        ErrorRate.of(point.false_accepts or 0, impostor, _share(point.distinct.impostor, impostor, point.impostor)),
        ErrorRate.of(misses, genuine, _share(point.distinct.genuine, genuine, point.genuine)),
    )


def _share(distinct: int, compared: int, pairs: int) -> int:
    """The distinct comparisons among those that took place: as many of them repeat another one as of all."""
    return max(1, round(distinct * compared / pairs))


def _remark(errors: float, trials: int) -> str | None:
    if errors >= ENOUGH:
        return None
    if errors == 0:
        return f"no error seen: below {3 / trials:.2g} at 95 % (rule of 3)"
    return f"{errors:.0f} error{'s' * (round(errors) != 1)}, fewer than {ENOUGH} (rule of {ENOUGH})"
