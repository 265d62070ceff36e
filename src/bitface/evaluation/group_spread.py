"""How far groups of people lie apart at one fixed threshold: the worst of them beside their mean, and beside the best.

The measures of NISTIR 8280 and 8429 and of ISO/IEC 19795-10: of each error rate the largest among the groups over their
geometric mean, and over the smallest. 1 means that all are alike. Both rates are those at everybody's threshold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.evaluation.figures.intervals import LEVEL, Interval
from bitface.evaluation.groups import GroupRow

_DRAWS = 4000


@dataclass(frozen=True)
class GroupSpread:
    """One rate over the groups of an attribute.

    Attributes:
        rate: `FAR` or `FRR`, at the threshold for the FAR `target`.
        worst, best: the groups of the largest and the smallest rate.
        worst_to_mean: the largest over the geometric mean, with its interval: of draws from what is known of each
            group's rate (Jeffreys' beta distributions), comparisons taken to be independent.
        worst_to_best: the largest over the smallest, likewise.
        reason: why there is no ratio.
    """

    attribute: str
    target: float
    rate: str
    worst: str
    best: str
    worst_to_mean: float | None
    worst_to_mean_interval: Interval | None
    worst_to_best: float | None
    worst_to_best_interval: Interval | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def group_spreads(rows: Sequence[GroupRow], seed: int = 0) -> list[GroupSpread]:
    """Of each attribute, FAR and kind of error; nothing where fewer than two groups have rates."""
    spreads = []
    for attribute in dict.fromkeys(row.attribute for row in rows):
        own = [row for row in rows if row.attribute == attribute]
        for target in dict.fromkeys(rates["target"] for row in own for rates in row.rates):
            there = [(row, rates) for row in own for rates in row.rates if rates["target"] == target]
            if len(there) < 2:
                continue
            for name in ("FAR", "FRR"):
                shares = {row.group: _share(row, rates, name) for row, rates in there}
                spreads.append(_spread(attribute, target, name, shares, seed))
    return spreads


def _share(row: GroupRow, rates: dict[str, Any], name: str) -> tuple[float, int]:
    """The rate, and the distinct comparisons behind it."""
    assert row.distinct is not None
    return (rates["far"], row.distinct.impostor) if name == "FAR" else (1 - rates["tar"], row.distinct.genuine)


def _spread(attribute: str, target: float, name: str, shares: dict[str, tuple[float, int]], seed: int) -> GroupSpread:
    """Of the rate and the distinct trials of each group."""
    groups = list(shares)
    rates, trials = np.array(list(shares.values())).T
    errors = rates * trials
    worst, best = groups[int(rates.argmax())], groups[int(rates.argmin())]
    if not rates.all():
        reason = f"no error in {best}"
        return GroupSpread(attribute, target, name, worst, best, None, None, None, None, reason)
    drawn = np.random.default_rng(seed).beta(errors + 0.5, trials - errors + 0.5, (_DRAWS, len(groups)))
    intervals = []
    for values in (_to_mean(drawn), drawn.max(-1) / drawn.min(-1)):
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        intervals.append(Interval(float(low), float(high), "beta, comparisons independent"))
    return GroupSpread(
        attribute, target, name, worst, best, float(_to_mean(rates)), intervals[0],
        float(rates.max() / rates.min()), intervals[1],
    )  # fmt: skip


def _to_mean(rates: np.ndarray) -> np.ndarray:
    """The largest over the geometric mean, along the last axis."""
    return np.asarray(rates.max(-1) / np.exp(np.log(rates).mean(-1)))
