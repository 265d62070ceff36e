import math

import pytest

from bitface.evaluation import Interval, wilson


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (1, 1), (0, 10), (3, 10), (2985, 3000), (8101, 8101)])
def test_wilson_bounds_are_where_the_score_test_just_rejects(successes: int, total: int) -> None:
    interval = wilson(successes, total)
    share = successes / total
    z = 1.959963984540054
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / total), rel=1e-9)
    assert 0 <= interval.low <= share <= interval.high <= 1


def test_ends_are_exact() -> None:
    assert wilson(0, 50).low == 0.0
    assert wilson(50, 50).high == 1.0
    assert wilson(0, 50).high == pytest.approx(1 - wilson(50, 50).low)


def test_known_value() -> None:
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == (
        pytest.approx(0.4901625, abs=1e-6),
        pytest.approx(0.9433178, abs=1e-6),
    )


def test_no_trials_say_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes"):
        wilson(3, 2)


def test_hull() -> None:
    assert Interval(0.2, 0.5, "a").hull(Interval(0.3, 0.9, "b"), "c") == Interval(0.2, 0.9, "c")
