"""How far groups lie apart at one threshold."""

import math

import numpy as np
import pytest

from bitface.evaluation.figures.operating import Distinct
from bitface.evaluation.group_spread import group_spreads
from bitface.evaluation.groups import GroupRow


def row(group: str, false: int, missed: int, attribute: str = "age", times: int = 1) -> GroupRow:
    """Of 10,000 impostor and 500 genuine pairs, each listed so many times."""
    rates = {"target": 1e-3, "far": false / 10_000, "tar": 1 - missed / 500}
    rates |= {"impostor": times * 10_000, "genuine": times * 500}
    return GroupRow(attribute, group, 100, [], [rates], distinct=Distinct(500, 10_000))


def test_ratios_by_hand() -> None:
    far, frr = group_spreads([row("old", 80, 5), row("young", 10, 50), row("middle", 20, 10)])
    assert (far.rate, far.worst, far.best) == ("FAR", "old", "young")
    assert far.worst_to_mean == pytest.approx(80 / (80 * 10 * 20) ** (1 / 3))
    assert far.worst_to_best == pytest.approx(8)
    assert (frr.rate, frr.worst, frr.best) == ("FRR", "young", "old")
    assert frr.worst_to_mean == pytest.approx(50 / (5 * 50 * 10) ** (1 / 3))
    for one in (far, frr):
        for value, bounds in (
            (one.worst_to_mean, one.worst_to_mean_interval), (one.worst_to_best, one.worst_to_best_interval)
        ):  # fmt: skip
            assert bounds is not None
            assert value is not None
            assert 1 <= bounds.low < value < bounds.high


def test_the_interval_is_that_of_two_rates() -> None:
    """The logarithm of a ratio of two counts has a standard error of sqrt(1/a + 1/b)."""
    (far, _) = group_spreads([row("a", 400, 9), row("b", 100, 9)])
    assert far.worst_to_best_interval is not None
    half = 1.96 * math.sqrt(1 / 400 + 1 / 100)
    assert far.worst_to_best_interval.low == pytest.approx(4 * math.exp(-half), rel=0.05)
    assert far.worst_to_best_interval.high == pytest.approx(4 * math.exp(half), rel=0.05)


def test_no_ratio_without_an_error_and_none_of_one_group() -> None:
    far, frr = group_spreads([row("a", 0, 5), row("b", 10, 5)])
    assert (far.worst_to_mean, far.worst_to_best, far.reason) == (None, None, "no error in a")
    assert frr.worst_to_best == 1
    assert group_spreads([row("a", 3, 5), GroupRow("age", "b", 0, [], [], "no genuine pairs")]) == []
    assert len(group_spreads([row("a", 3, 5), row("b", 3, 5), row("c", 1, 1, "hair"), row("d", 2, 1, "hair")])) == 4


def test_it_is_deterministic() -> None:
    rows = [row("a", 3, 5), row("b", 30, 9)]
    assert group_spreads(rows) == group_spreads(rows)
    assert np.isfinite([one.worst_to_mean or 0 for one in group_spreads(rows)]).all()


def test_pairs_that_are_listed_again_are_no_further_evidence() -> None:
    once = group_spreads([row("a", 40, 9), row("b", 10, 12)])
    assert group_spreads([row("a", 40, 9, times=10), row("b", 10, 12, times=10)]) == once
