import json
from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import rates_at, tar_at_far
from support import evaluation_oracles as oracles

FARS = (0.5, 0.3, 0.1, 0.05)


def tied_scores(least: int, most: int) -> st.SearchStrategy[list[float]]:
    """Scores on a coarse grid, so that ties within and between the kinds are the rule."""
    return st.lists(st.integers(-8, 8).map(lambda k: k / 8), min_size=least, max_size=most)


def check(genuine: list[float], impostor: list[float], fars: Sequence[float]) -> None:
    for point in tar_at_far(genuine, impostor, fars):
        if len(impostor) * point.far < 10 - 1e-9:
            assert not point.supported
            continue
        threshold, accepted, false = oracles.tar_at_far(list(genuine), list(impostor), point.far)
        assert (point.threshold, point.accepted, point.false_accepts) == (threshold, accepted, false)
        assert point.tar == accepted / len(genuine)
        assert point.reached == false / len(impostor) <= point.far
        assert point.interval.low <= point.tar <= point.interval.high


@settings(max_examples=200)
@given(tied_scores(1, 40), tied_scores(1, 120))
def test_tied_scores_match_the_loop(genuine: list[float], impostor: list[float]) -> None:
    check(genuine, impostor, FARS)


def test_a_thousand_random_score_sets_match_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    for trial in range(1000):
        genuine = rng.normal(0.5, 0.3, rng.integers(5, 60))
        impostor = rng.normal(0.0, 0.3, rng.integers(100, 300))
        if trial % 2:
            genuine, impostor = genuine.round(1), impostor.round(1)
        labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostor))]
        far, tar, thresholds = roc_curve(labels, np.r_[genuine, impostor], drop_intermediate=False)
        for point in tar_at_far(genuine, impostor, (0.5, 0.2, 0.1)):
            last = np.flatnonzero(far <= point.far)[-1]
            assert point.tar == tar[last]
            assert point.reached == far[last]
            if last:
                assert point.threshold == thresholds[last]


def test_far_is_refused_below_ten_false_accepts() -> None:
    impostor = np.linspace(-1, 1, 3000)
    points = tar_at_far(np.linspace(0, 1, 50), impostor, (1e-2, 1e-3, 1e-4))
    assert [point.supported for point in points] == [True, False, False]
    assert points[0].false_accepts == 30
    for point in points[1:]:
        assert point.tar is None
        assert point.threshold is None
        assert point.interval is None
    assert points[1].reason == "needs at least 10000 impostor pairs, has 3000"
    assert points[2].reason == "needs at least 100000 impostor pairs, has 3000"


@pytest.mark.parametrize("far", [1e-1, 1e-2, 1e-3, 1e-4, 0.3, 0.07])
def test_support_begins_at_exactly_ten(far: float) -> None:
    count = int(np.ceil(10 / far - 1e-9))
    scores = np.arange(count) / count
    assert tar_at_far([0.5], scores, [far])[0].supported
    assert not tar_at_far([0.5], scores[1:], [far])[0].supported


def test_decimal_fars_lose_nothing_to_binary_rounding() -> None:
    for count in range(100, 3000, 100):
        for percent in range(10, 100):
            point = tar_at_far([2.0], np.arange(count) / count, [percent / 100])[0]
            assert point.false_accepts == percent * count // 100


def test_ties_at_the_top_accept_nothing() -> None:
    point = tar_at_far([0.5, 0.5], [0.5] * 200, [0.1])[0]
    assert (point.tar, point.false_accepts) == (0.0, 0)
    assert point.threshold > 0.5


def test_genuine_scores_above_tied_impostors_are_accepted() -> None:
    point = tar_at_far([0.5, 0.7, 0.9], [0.5] * 200, [0.1])[0]
    assert (point.accepted, point.threshold, point.false_accepts) == (2, 0.7, 0)


def test_points_keep_the_order_and_repetition_of_the_request() -> None:
    fars = (0.1, 0.5, 1e-5, 0.1)
    assert [point.far for point in tar_at_far([0.5], np.arange(200) / 200, fars)] == list(fars)


@pytest.mark.parametrize("fars", [(), (0.0,), (1.0,), (-0.1,), (float("nan"),), (2,)])
def test_impossible_fars(fars: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="FAR"):
        tar_at_far([0.5], [0.1], fars)


@pytest.mark.parametrize(
    ("genuine", "impostor", "match"),
    [
        ([], [0.1], "no genuine pairs"),
        ([0.1], [], "no impostor pairs"),
        ([np.nan], [0.1], "NaN"),
        ([0.1], [np.inf, 0.2], "1 of 2 impostor scores"),
        ([[0.1]], [0.1], "dimensions"),
    ],
)
def test_bad_scores(genuine: list[Any], impostor: list[float], match: str) -> None:
    with pytest.raises(BitfaceError, match=match):
        tar_at_far(genuine, impostor)


def test_json_holds_null_and_a_reason_where_refused() -> None:
    text = json.dumps([point.to_json() for point in tar_at_far([0.5], [0.1] * 20, (0.5, 1e-3))], allow_nan=False)
    supported, refused = json.loads(text)
    assert supported["tar"] == 1.0
    assert refused["tar"] is None
    assert "20" in refused["reason"]


def test_rates_at_a_threshold_chosen_elsewhere() -> None:
    rates = rates_at([0.2, 0.5, 0.8], [0.1, 0.5, 0.1, 0.1], 0.5)
    assert (rates.tar, rates.far) == (2 / 3, 1 / 4)
    assert rates.tar_interval.low < rates.tar < rates.tar_interval.high
    json.dumps(rates.to_json(), allow_nan=False)


def test_a_calibrated_threshold_holds_on_held_out_scores() -> None:
    # The held-out FAR must lie in a 95 % band around the target in at least 94 of 100 trials. The calibration
    # set is far larger than the held-out one, so that the band is the held-out one's binomial band.
    rng = np.random.default_rng(11)
    far, held_out = 0.01, 2000
    probabilities = [comb(held_out, k) * far**k * (1 - far) ** (held_out - k) for k in range(60)]
    below = np.cumsum(probabilities)
    low, high = int(np.searchsorted(below, 0.025)), int(np.searchsorted(below, 0.975))
    hits = 0
    for _ in range(100):
        point = tar_at_far([0.5], rng.normal(size=200_000), [far])[0]
        hits += bool(low <= np.count_nonzero(rng.normal(size=held_out) >= point.threshold) <= high)
    assert hits >= 94
