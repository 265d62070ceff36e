"""Thresholds with what is known of how they do on other people."""

from dataclasses import replace

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import all_pairs, rates_at, verify
from bitface.evaluation.arrays import Ints
from bitface.evaluation.figures.bootstrap import paired_differences, resampled_thresholds
from bitface.evaluation.figures.thresholds import nearest_threshold, thresholds, unsupported_fars
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.all_pairs import strangers


def people(seed: int, count: int = 150, images: int = 3, spread: float = 0.8) -> tuple[np.ndarray, Ints]:
    """Embeddings of people around centres, and whose they are."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count, 16))
    labels = np.repeat(np.arange(count), images)
    return centres[labels] + spread * random.standard_normal((len(labels), 16)), labels


def test_a_threshold_is_the_operating_point_with_intervals_around_it() -> None:
    rows, labels = people(0)
    summary = all_pairs(rows, labels, (1e-2, 1e-3))
    found = thresholds(summary, resamples=300)
    assert [one.threshold for one in found] == [point.threshold for point in summary.tar]
    for one in found:
        assert one.interval is not None
        assert one.interval.low < one.threshold < one.interval.high
        assert one.expected.low < one.far < one.expected.high
        assert one.reached <= one.far
    assert found == thresholds(summary, resamples=300)  # by seed
    assert found != thresholds(summary, resamples=300, seed=1)


def test_resampling_agrees_with_forming_the_pairs_again() -> None:
    """One resample by hand: subjects drawn with repetition, every pair of two different subjects listed."""
    rows, labels = people(1, 12, 2)
    summary = all_pairs(rows, labels, (0.1,))
    assert summary.subjects is not None
    drawn, rates = resampled_thresholds(summary.tar, summary.subjects, 1, seed=5)
    generator = np.random.default_rng(5)
    first, second = (generator.integers(0, 12, 12) for _ in range(2))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def impostors(subjects: np.ndarray) -> list[float]:
        return [
            float(unit[i] @ unit[j])
            for a, one in enumerate(subjects)
            for other in subjects[a + 1 :]
            if one != other
            for i in np.flatnonzero(labels == one)
            for j in np.flatnonzero(labels == other)
        ]

    ranked = sorted(impostors(first), reverse=True)
    rejected = ranked[int(0.1 * len(ranked))]
    assert drawn[0, 0] == pytest.approx(rejected, abs=1e-6)
    others = impostors(second)
    assert rates[0, 0] == pytest.approx(sum(score > rejected + 1e-7 for score in others) / len(others))


def test_thresholds_hold_on_other_people() -> None:
    """The FAR on people that the threshold has never seen lies in the interval that it came with."""
    held = 0
    for seed in range(60):
        rows, labels = people(seed, 240, 2)
        half = labels % 2 == 0
        (found,) = thresholds(all_pairs(rows[half], labels[half], (1e-2,), resamples=1), resamples=200, seed=seed)
        other = all_pairs(rows[~half], labels[~half], (1e-2,), resamples=0, at=(found.threshold,))
        held += found.expected.low <= other.fixed[0].far <= found.expected.high
    assert held >= 55  # 57 are expected


def test_independent_pairs_have_no_interval_of_the_threshold() -> None:
    random = np.random.default_rng(3)
    count = 4000
    left, right = np.arange(count), np.arange(count) + count
    same = np.arange(count) % 2 == 0
    rows = random.standard_normal((2 * count, 8))
    rows[right[same]] = rows[left[same]] + 0.5 * random.standard_normal((count // 2, 8))
    listed = PairList(
        tuple(f"p{i}/{i}.jpg" for i in range(2 * count)), left.astype(np.int32), right.astype(np.int32), same,
        np.arange(count) % 10,
    )  # fmt: skip
    result = verify(rows, listed, (1e-2,))
    (one,) = thresholds(result.summary)
    assert one.interval is None
    assert "independent" in one.expected.method
    # 20 of 2,000: a new draw of as many has a standard deviation of sqrt(2 * 20).
    assert one.expected.low == pytest.approx((20 - 1.96 * 40**0.5) / 2000, abs=2e-3)
    assert one.expected.high == pytest.approx((20 + 1.96 * 40**0.5) / 2000, abs=3e-3)
    with pytest.raises(BitfaceError, match=r"threshold for FAR 1e-05 needs at least 1000000 .*all_pairs=True"):
        thresholds(verify(rows, listed, (1e-5,)).summary)


def test_what_is_not_supported_says_how_many_images_it_needs() -> None:
    rows, labels = people(0, 20)
    summary = all_pairs(rows, labels, (1e-1, 1e-2, 1e-3))
    assert [one.far for one in thresholds(summary, resamples=50)] == [1e-1, 1e-2]
    (lacking,) = unsupported_fars(summary)
    assert (lacking.far, lacking.pairs, lacking.impostor) == (1e-3, 10_000, summary.counts.impostor)
    assert lacking.images is not None
    # With as many images of each person: so many form enough, and few fewer don't.
    people_needed = -(-lacking.images // 3)
    for count, supported in ((people_needed + 1, True), (people_needed - 2, False)):
        assert all_pairs(*people(0, count), (1e-3,), resamples=0).tar[0].supported is supported
    with pytest.raises(BitfaceError, match=rf"FAR 0.001 needs .* \(about {lacking.images} images"):
        thresholds(all_pairs(rows, labels, (1e-3, 1e-4)))


def test_fixed_thresholds_give_both_error_rates() -> None:
    rows, labels = people(2, 40)
    summary = all_pairs(rows, labels, (1e-2,), at=(0.2, 0.5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = unit @ unit.T
    upper = np.triu(np.ones_like(scores, bool), 1)
    same = labels[:, None] == labels
    for rates in summary.fixed:
        slow = rates_at(scores[upper & same], scores[upper & ~same], rates.threshold)
        assert rates.far == pytest.approx(slow.far)
        assert rates.tar == pytest.approx(slow.tar)
        assert (rates.genuine, rates.impostor) == (slow.genuine, slow.impostor)


def test_paired_differences_are_of_the_same_people() -> None:
    rows, labels = people(4, 80)
    first = all_pairs(rows, labels, (1e-2,))
    assert first.subjects is not None
    same = paired_differences((first.tar, first.subjects), (first.tar, first.subjects), 50)
    assert same.shape == (50, 1)
    assert not same.any()
    worse = all_pairs(rows + 1.5 * np.random.default_rng(0).standard_normal(rows.shape), labels, (1e-2,))
    assert worse.subjects is not None
    drop = paired_differences((first.tar, first.subjects), (worse.tar, worse.subjects), 50)
    assert drop.mean() == pytest.approx((worse.tar[0].tar or 0) - (first.tar[0].tar or 0), abs=0.1)
    assert (drop < 0).all()
    other = replace(first.subjects, images=first.subjects.images + 1)
    with pytest.raises(BitfaceError, match="different images"):
        paired_differences((first.tar, first.subjects), (first.tar, other))


def test_a_stored_threshold_is_found_by_its_far() -> None:
    stored = [{"far": 1e-3, "threshold": 0.3}, {"far": 1e-4, "threshold": 0.4}]
    assert nearest_threshold(stored, 1e-4)["threshold"] == 0.4
    with pytest.raises(BitfaceError, match=r"no threshold for FAR 1e-05 is stored \(there are 0.001, 0.0001\)"):
        nearest_threshold(stored, 1e-5)
    with pytest.raises(BitfaceError, match="none is"):
        nearest_threshold([], 1e-5)


def test_strangers_alone_give_thresholds_without_tar() -> None:
    """One image of each person: those of impostors are found as ever, and nothing is said of genuine pairs."""
    rows = np.random.default_rng(6).standard_normal((80, 16))
    rows[5] = 0  # has no direction: its pairs score -1
    summary = strangers(rows, (1e-1, 1e-2, 1e-4), at=(0.3,), block=32)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    scores = sorted(
        (-1.0 if 5 in (one, other) else float(unit[one] @ unit[other]) for one in range(80) for other in range(one)),
        reverse=True,
    )
    found = thresholds(summary, resamples=300)
    assert [one.far for one in found] == [1e-1, 1e-2]
    for one in found:
        count = int(one.far * len(scores))
        assert one.threshold == pytest.approx(scores[count - 1], abs=1e-6)
        assert (one.reached, one.impostor, one.genuine) == (count / len(scores), len(scores), 0)
        assert (one.tar, one.tar_interval) == (None, None)
        assert one.interval is not None
        assert one.interval.low < one.threshold < one.interval.high
        assert one.expected.low < one.far < one.expected.high
    (rates,) = summary.fixed
    assert (rates.tar, rates.far) == (None, sum(score >= 0.3 for score in scores) / len(scores))
    assert [(one.far, one.images) for one in unsupported_fars(summary)] == [(1e-4, 451)]
    (beyond,) = [one for one in thresholds(summary, resamples=10, extrapolate=True) if one.extrapolated]
    assert (beyond.far, beyond.tar, beyond.tar_interval) == (1e-4, None, None)
    assert beyond.threshold > found[1].threshold
    # The same as with a second image of somebody: one pair more.
    both = all_pairs(np.concatenate((rows, rows[:1])), np.array([*range(80), 0]), (1e-1,), resamples=0)
    assert both.tar[0].threshold == pytest.approx(found[0].threshold, abs=0.02)
    with pytest.raises(BitfaceError, match="two"):
        strangers(rows[:1])
