"""Errors in the terms of ISO/IEC 19795-1."""

import numpy as np
import pytest

from bitface.evaluation import all_pairs
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.figures.match_errors import ErrorRate
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.verification import verify


@pytest.mark.parametrize(
    ("errors", "trials", "remark"),
    [
        (30, 1000, None),
        (29, 1000, "29 errors, fewer than 30 (rule of 30)"),
        (1, 10, "1 error, fewer than 30 (rule of 30)"),
        (0, 3000, "no error seen: below 0.001 at 95 % (rule of 3)"),
    ],
)
def test_what_few_errors_say(errors: int, trials: int, remark: str | None) -> None:
    rate = ErrorRate.of(errors, trials)
    assert rate is not None
    assert (rate.rate, rate.remark, rate.interval) == (errors / trials, remark, wilson(errors, trials))


def test_the_rule_of_3_is_the_bound_of_a_binomial() -> None:
    """0.95 of binomials whose rate is 3/N have an error."""
    for trials in (100, 10_000):
        assert 1 - (1 - 3 / trials) ** trials == pytest.approx(0.95, abs=0.003)


def test_no_trial_is_no_rate_and_repeated_ones_are_no_evidence() -> None:
    assert ErrorRate.of(0, 0) is None
    rate = ErrorRate.of(40, 400, distinct=200)
    assert rate is not None
    assert (rate.errors, rate.remark) == (40, "20 errors, fewer than 30 (rule of 30)")


def test_failed_images_are_counted_apart() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 3)
    values = (rng.normal(size=(20, 16))[people] + 0.8 * rng.normal(size=(60, 16))).astype(np.float32)
    valid = np.ones(60, bool)
    valid[[0, 7]] = False
    summary = all_pairs(Embeddings(values, valid), people, (0.05,), resamples=10)
    (errors,), (point,) = summary.match_errors(), summary.tar
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    left, right = np.triu_indices(60, 1)
    compared = valid[left] & valid[right]
    accepted = ((unit[left] * unit[right]).sum(1) >= point.threshold - 1e-9) & compared
    same = people[left] == people[right]
    assert errors.fmr is not None
    assert errors.fnmr is not None
    assert (errors.fmr.errors, errors.fmr.trials) == ((accepted & ~same).sum(), (~same & compared).sum())
    assert (errors.fnmr.errors, errors.fnmr.trials) == ((~accepted & same & compared).sum(), (same & compared).sum())
    # FAR = FMR times the share that was compared, and misses of failed images are none of the matcher's.
    assert point.reached == pytest.approx(errors.fmr.rate * (~same & compared).sum() / (~same).sum())
    assert 1 - point.tar > errors.fnmr.rate
    acquired = summary.failure_to_acquire()
    assert acquired is not None
    assert (acquired.errors, acquired.trials) == (2, 60)


def test_a_list_counts_its_failures_by_kind() -> None:
    left, right = np.array([0, 2, 0, 1, 1], np.int32), np.array([1, 3, 2, 2, 3], np.int32)
    same = np.array([True, True, False, False, False])
    pairs = PairList(("a/1", "a/2", "b/1", "b/2"), left, right, same, np.array([0, 1, 0, 1, 0]))
    result = verify(Embeddings(np.eye(4) + 0.1, np.array([True, True, True, False])), pairs, (0.1,))
    assert (result.counts.failed_pairs, result.summary.failed_genuine) == (2, 1)
