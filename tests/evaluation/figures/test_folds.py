import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitface.errors import BitfaceError
from bitface.evaluation import fold_accuracy
from support import evaluation_oracles as oracles

rows = st.tuples(st.integers(-6, 6).map(lambda k: k / 6), st.booleans(), st.integers(0, 3))


@settings(max_examples=200)
@given(st.lists(rows, min_size=2, max_size=50).filter(lambda pairs: len({fold for _, _, fold in pairs}) > 1))
def test_tied_scores_match_the_loop(pairs: list[tuple[float, bool, int]]) -> None:
    scores, same, fold = (list(column) for column in zip(*pairs, strict=True))
    result = fold_accuracy(scores, same, fold)
    expected = oracles.fold_accuracies(scores, same, fold)
    assert list(zip(result.accuracies, result.thresholds, strict=True)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_ten_folds_of_continuous_scores_match_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.random(300) < 0.5
    scores = rng.normal(same * 1.5, 1.0)
    fold = rng.permutation(np.arange(300) % 10)
    result = fold_accuracy(scores, same, fold)
    expected = oracles.fold_accuracies(scores.tolist(), same.tolist(), fold.tolist())
    accuracies = [accuracy for accuracy, _ in expected]
    assert list(result.accuracies) == accuracies
    assert list(result.thresholds) == [threshold for _, threshold in expected]
    assert result.mean == pytest.approx(sum(accuracies) / 10)
    deviation = math.sqrt(sum((a - result.mean) ** 2 for a in accuracies) / 9)
    assert result.std == pytest.approx(deviation)
    assert result.standard_error == pytest.approx(deviation / math.sqrt(10))
    assert result.interval.low < result.mean < result.interval.high
    assert result.correct.mean() == pytest.approx(result.mean)


def test_the_order_of_pairs_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    same, fold = rng.random(200) < 0.5, np.arange(200) % 5
    scores = rng.normal(same, 1.0).round(1)
    shuffle = rng.permutation(200)
    first = fold_accuracy(scores, same, fold)
    second = fold_accuracy(scores[shuffle], same[shuffle], fold[shuffle])
    assert first.to_json() == second.to_json()
    assert (first.correct[shuffle] == second.correct).all()


def test_the_widest_of_equal_gaps_wins_and_the_lowest_of_equally_wide_ones() -> None:
    scores = [0.0, 0.25, 0.5, 1.0, 0.0]
    same = [False, True, False, True, False]
    assert fold_accuracy(scores, same, [0, 0, 0, 0, 1]).thresholds[1] == 0.75
    assert fold_accuracy([0.0, 0.5, 0.25, 0.75], [0, 0, 1, 1], [1, 1, 1, 0]).thresholds[0] == 0.125


def test_neighbouring_floats_are_still_told_apart() -> None:
    low = 0.5
    high = math.nextafter(low, 1)
    result = fold_accuracy([low, high, low, high], [False, True, False, True], [0, 0, 1, 1])
    assert result.mean == 1.0


def test_perfect_folds_keep_an_interval() -> None:
    result = fold_accuracy([0.1, 0.9] * 10, [False, True] * 10, np.repeat(np.arange(10), 2))
    assert (result.mean, result.std) == (1.0, 0.0)
    assert result.interval.low < 0.9


def test_json_is_plain() -> None:
    result = fold_accuracy([0.1, 0.9, 0.2, 0.8], [False, True, False, True], ["x", "x", "y", "y"])
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (values["pairs"], values["errors"]) == (4, 0)


def test_bad_requests() -> None:
    with pytest.raises(BitfaceError, match="one fold"):
        fold_accuracy([0.1, 0.2], [True, False], [0, 0])
    with pytest.raises(BitfaceError, match="fold has the shape"):
        fold_accuracy([0.1, 0.2], [True, False], [0])
    with pytest.raises(BitfaceError, match="same has the shape"):
        fold_accuracy([0.1, 0.2], [True], [0, 1])
    with pytest.raises(BitfaceError, match="NaN"):
        fold_accuracy([0.1, np.nan], [True, False], [0, 1])
