"""95 % confidence intervals of proportions."""

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

LEVEL = 0.95
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval of a proportion, and how it was found."""

    low: float
    high: float
    method: str

    def hull(self, other: "Interval", method: str) -> "Interval":
        """The smallest interval that holds both."""
        return Interval(float(min(self.low, other.low)), float(max(self.high, other.high)), method)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def wilson(successes: int, total: int, distinct: int | None = None) -> Interval:
    """The score interval of a proportion (Wilson, 1927), which stays honest near 0 and 1.

    The trials are taken to be independent. Without any trial nothing is known: the interval is [0, 1].

    Args:
        distinct: the trials without those that repeat another one, as a pair in its other order does; None: all. What
            is asked twice isn't known twice as well.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes in {total} trials")
    if total == 0:
        return Interval(0.0, 1.0, "Wilson")
    share = successes / total
    evidence = total if distinct is None else distinct
    shrink = 1 + _Z**2 / evidence
    centre = (share + _Z**2 / (2 * evidence)) / shrink
    half = _Z / shrink * math.sqrt(share * (1 - share) / evidence + _Z**2 / (4 * evidence**2))
    # At the ends the formula gives exactly 0 and 1; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(low, high, "Wilson")
