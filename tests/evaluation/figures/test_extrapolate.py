"""Thresholds beyond the data, from the tail of the impostor scores."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize
from scipy.stats import genpareto, norm

from bitface.errors import BitfaceError
from bitface.evaluation import all_pairs
from bitface.evaluation.figures import extrapolate as module
from bitface.evaluation.figures.bootstrap import SubjectScores
from bitface.evaluation.figures.extrapolate import Tail, TailError, extrapolated_threshold
from bitface.evaluation.figures.operating import Distinct
from bitface.evaluation.figures.results import LIST, Counts, ListedScores, summarise
from bitface.evaluation.figures.thresholds import Threshold, thresholds
from bitface.evaluation.scores.impostors import ImpostorArray


def scores(count: int, seed: int = 0) -> np.ndarray:
    """Scores like cosines of strangers, descending."""
    return np.sort(np.clip(np.random.default_rng(seed).normal(0, 0.12, count), -1, 1))[::-1]


def test_densities_and_survival_are_scipys() -> None:
    excess = np.random.default_rng(0).exponential(0.02, 60)
    model = module._Pareto.of(excess)
    for at in range(0, len(model.shape), 97):
        expected = genpareto.logpdf(excess, model.shape[at], 0, model.scale[at])
        expected[np.isneginf(expected)] = module._IMPOSSIBLE
        assert model.density[:, at] == pytest.approx(expected, rel=1e-9)
        for score in (0.0, 0.01, 0.2):
            survival = genpareto.sf(score, model.shape[at], 0, model.scale[at])
            assert model.survival(score)[at] == pytest.approx(survival, rel=1e-9, abs=1e-300)
    assert 0.0 in np.round(model.shape, 12)  # the exponential among them


def test_the_posterior_by_hand() -> None:
    """Of weighted excesses, in plain loops; with many of them its peak is scipy's maximum of likelihood."""
    excess = genpareto.rvs(-0.15, scale=0.03, size=4000, random_state=1)
    model = module._Pareto.of(excess)
    weights = np.ones((2, len(excess)))
    weights[1, ::2] = 3
    posterior = model.posterior(weights)
    assert posterior.sum(1) == pytest.approx([1, 1])
    likelihood = [
        sum(3 * genpareto.logpdf(excess[::2], a, 0, b)) + sum(genpareto.logpdf(excess[1::2], a, 0, b))
        - 0.5 * ((a + 0.1) / 0.15) ** 2
        for a, b in zip(model.shape[::40], model.scale[::40], strict=True)
    ]  # fmt: skip
    probability = np.exp(np.array(likelihood) - max(likelihood))
    assert posterior[1, ::40] / posterior[1, ::40].sum() == pytest.approx(probability / probability.sum(), abs=1e-9)
    shape, _, scale = genpareto.fit(excess, floc=0)
    assert posterior[0] @ model.shape == pytest.approx(shape, abs=0.02)
    assert posterior[0] @ model.scale == pytest.approx(scale, rel=0.02)


def test_the_threshold_is_where_the_modelled_rate_is_the_target() -> None:
    highest = scores(20_000)
    one = extrapolated_threshold(highest[:1001], 20_000, 1e-5)
    above = highest[1000]
    model = module._Pareto.of(highest[:1000] - above)
    posterior = model.posterior(np.ones((1, 1000)))[0]

    def excess_rate(score: float) -> float:
        survival = genpareto.sf(score - above, model.shape, 0, model.scale)
        return float(1000.5 / 20_001 * (posterior @ survival)) - 1e-5

    assert one.threshold == pytest.approx(optimize.brentq(excess_rate, above, 1), abs=1e-9)
    assert one.tail.above == above
    assert one.tail.scores == 1000
    assert one.interval.low < 1e-5 < one.interval.high


def test_the_true_rate_lies_in_the_interval() -> None:
    """Of a distribution that is known: every interval but a few, and thresholds about the true one."""
    held, found = 0, []
    for seed in range(40):
        one = extrapolated_threshold(scores(3000, seed)[:151], 3000, 1e-4, seed=seed)
        held += one.interval.low <= norm.sf(one.threshold / 0.12) <= one.interval.high
        found.append(one.threshold)
    assert held >= 38
    assert np.median(found) == pytest.approx(norm.isf(1e-4) * 0.12, rel=0.06)


def test_people_widen_the_interval() -> None:
    """Two people, whose pairs are the highest scores: who draws them twice sees four times as many."""
    highest = scores(4000)
    generator = np.random.default_rng(1)
    left, right = generator.integers(0, 45, 4000), generator.integers(45, 90, 4000)
    left[:60], right[:60] = 0, 45
    subjects = SubjectScores(np.ones(90, int), np.ones(1), np.zeros(1, int), highest, left, right)
    alone = extrapolated_threshold(highest, 4000, 2e-3)
    people = extrapolated_threshold(highest, 4000, 2e-3, subjects)
    assert people.threshold == alone.threshold
    assert people.interval.low < alone.interval.low
    assert people.interval.high > 1.5 * alone.interval.high
    assert people == extrapolated_threshold(highest, 4000, 2e-3, subjects)


@pytest.mark.parametrize(
    ("highest", "count", "far", "message"),
    [
        (scores(999), 999, 1e-3, r"can be extrapolated from 1,000 impostor pairs on, there are 999"),
        (scores(2000), 2000, 1e-5, r"from 10,000 impostor pairs on, there are 2,000"),
        (np.full(2000, 0.5), 2000, 1e-3, "the 100 highest impostor scores are all 0.5"),
        (np.linspace(1, 0.9, 2000), 2000, 1e-4, "exceeds 1"),
    ],
)
def test_what_cannot_be_extrapolated(highest: np.ndarray, count: int, far: float, message: str) -> None:
    with pytest.raises(BitfaceError, match=message):
        extrapolated_threshold(highest, count, far)


def faces() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(60), 2)
    return rng.normal(size=(60, 32))[people] + 0.7 * rng.normal(size=(120, 32)), people


def test_thresholds_of_all_pairs_are_extrapolated_where_they_are_asked_for() -> None:
    rows, people = faces()
    summary = all_pairs(rows, people, (1e-2, 1e-4), resamples=50)
    assert [one.far for one in thresholds(summary, resamples=50)] == [1e-2]
    alone = all_pairs(rows, people, (1e-4,), resamples=50)
    with pytest.raises(
        BitfaceError, match=r"needs at least 100000 impostor pairs, has 7080 .*; extrapolate=True models"
    ):
        thresholds(alone, resamples=50)
    too_far = all_pairs(rows, people, (1e-2, 1e-6), resamples=50)
    assert [one.far for one in thresholds(too_far, resamples=50, extrapolate=True)] == [1e-2]
    first, beyond = thresholds(summary, resamples=50, extrapolate=True)
    assert first == thresholds(all_pairs(rows, people, (1e-2,), resamples=50), resamples=50)[0]
    assert "extrapolated" not in first.to_json()
    assert isinstance(beyond, Threshold)
    assert isinstance(beyond.extrapolated, Tail)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    genuine = (unit[::2] * unit[1::2]).sum(1)
    assert beyond.tar == (genuine >= beyond.threshold).mean()
    assert beyond.tar_interval.low <= beyond.tar <= beyond.tar_interval.high
    assert beyond.threshold > first.threshold
    assert beyond.expected.low < 1e-4 < beyond.expected.high
    impostor = (unit @ unit.T)[people[:, None] < people]
    assert beyond.reached == (impostor >= beyond.threshold).mean()


def of_list(impostor: np.ndarray, *fars: float) -> tuple[Threshold, ...]:
    genuine = np.full(50, 0.9)
    counts = Counts(10, 0, None, 50, len(impostor), 0, Distinct(50, len(impostor)))
    summary = summarise(genuine, ImpostorArray(impostor), fars, LIST, counts)
    return thresholds(replace(summary, listed=ListedScores(genuine, np.sort(impostor)[::-1])), extrapolate=True)


def with_others(count: int) -> np.ndarray:
    """A thousand scores of strangers, some of which are really of one person under two names."""
    rng = np.random.default_rng(0)
    usual = np.clip(rng.normal(0.05, 0.1, 1000 - count), -1, 0.45)
    return np.concatenate((usual, rng.normal(0.8, 0.01, count)))


def test_a_stricter_far_has_no_lower_threshold() -> None:
    measured, beyond = of_list(with_others(13), 1e-2, 5e-3)
    assert measured.extrapolated is None
    assert beyond.extrapolated is not None
    assert beyond.threshold >= measured.threshold


def test_an_interval_never_excludes_what_was_seen() -> None:
    for count in range(3, 14):
        for far in (5e-3, 2e-3, 1e-3):
            try:
                *_, beyond = of_list(with_others(count), 1e-2, far)
            except BitfaceError:
                continue
            assert beyond.reached <= beyond.expected.high, (count, far)


def test_scores_that_contradict_their_tail_are_refused() -> None:
    with pytest.raises(TailError, match=r"10 of 1,000 impostor pairs pass .* under two names"):
        of_list(with_others(11), 1e-2, 2e-3)
