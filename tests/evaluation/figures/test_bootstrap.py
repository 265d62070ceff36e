import numpy as np
import pytest

from bitface.evaluation import all_pairs, wilson

FARS = (0.1, 0.01)


def faces(
    seed: int, people: int = 60, images: int = 6, noise: float = 0.9, size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), images)
    # Some people are harder than others, so that their pairs fail together.
    hardness = noise * rng.uniform(0.3, 1.7, people)[identities][:, None]
    return rng.normal(size=(people, size))[identities] + hardness * rng.normal(size=(len(identities), size)), identities


def naive(rows: np.ndarray, identities: np.ndarray, far: float, resamples: int, seed: int) -> np.ndarray:
    """Resamples people by copying their images, and scores every pair of every resample."""
    people = np.unique(identities)
    generator = np.random.default_rng(seed)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    tars = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(people), size=len(people))
        images = np.concatenate([np.flatnonzero(identities == people[p]) for p in drawn])
        copies = np.concatenate([np.full(np.count_nonzero(identities == people[p]), c) for c, p in enumerate(drawn)])
        scores = unit[images] @ unit[images].T
        upper = np.triu(np.ones_like(scores, dtype=bool), 1)
        person = identities[images]
        genuine = scores[upper & (copies[:, None] == copies)]
        impostor = np.sort(scores[upper & (person[:, None] != person)])[::-1]
        tars.append(np.mean(genuine > impostor[int(far * len(impostor))] + 1e-9))
    return np.quantile(tars, [0.025, 0.975])


@pytest.mark.parametrize("far", FARS)
def test_interval_is_that_of_the_naive_bootstrap(far: float) -> None:
    rows, identities = faces(0)
    point = all_pairs(rows, identities, [far], resamples=200, seed=4).tar[0]
    low, high = naive(rows, identities, far, 200, 4)
    independent = wilson(point.accepted, point.genuine)
    assert point.interval.low == pytest.approx(min(low, independent.low), abs=2e-3)
    assert point.interval.high == pytest.approx(max(high, independent.high), abs=2e-3)
    assert point.interval.method == "subject bootstrap"


def test_pairs_of_a_person_fail_together_and_widen_the_interval() -> None:
    rows, identities = faces(1)
    for point in all_pairs(rows, identities, FARS).tar:
        independent = wilson(point.accepted, point.genuine)
        assert point.interval.high - point.interval.low > 1.5 * (independent.high - independent.low)
        assert point.interval.low < point.tar < point.interval.high


def test_interval_is_deterministic_by_seed() -> None:
    rows, identities = faces(2)
    first, again, other = (all_pairs(rows, identities, FARS, resamples=100, seed=seed).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_long_tail_leaves_the_threshold_fixed() -> None:
    # 360,000 impostor pairs at a FAR of 0.5 are more than are kept.
    rows, identities = faces(3, people=150, size=8)
    fixed, followed = all_pairs(rows, identities, (0.5, 1e-3), resamples=50).tar
    assert fixed.interval.method == "subject bootstrap, threshold fixed"
    assert followed.interval.method == "subject bootstrap"
    assert fixed.interval.low < fixed.tar < fixed.interval.high


def test_perfect_separation_and_few_people_keep_an_interval() -> None:
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(3), 8)
    rows = np.eye(8)[identities] + 0.01 * rng.normal(size=(24, 8))
    point = all_pairs(rows, identities, [0.1]).tar[0]
    assert point.tar == 1.0
    assert point.interval.low <= wilson(point.genuine, point.genuine).low < 1


def test_without_resamples_intervals_are_wilson() -> None:
    rows, identities = faces(4)
    assert {point.interval.method for point in all_pairs(rows, identities, FARS, resamples=0).tar} == {"Wilson"}


@pytest.mark.slow
def test_interval_covers_the_truth() -> None:
    # The truth at a FAR is the TAR over a population far larger than the samples.
    rows, identities = faces(100, people=1500)
    truth = all_pairs(rows, identities, [0.01], resamples=0).tar[0].tar
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        people = generator.choice(1500, 60, replace=False)
        sample = np.isin(identities, people)
        interval = all_pairs(rows[sample], identities[sample], [0.01], resamples=200, seed=trial).tar[0].interval
        covered += interval.low <= truth <= interval.high
    assert covered >= 53
