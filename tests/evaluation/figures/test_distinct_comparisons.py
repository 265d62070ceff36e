"""What is scored twice isn't known twice as well: every protocol counts distinct comparisons as its evidence."""

import numpy as np
import pytest

from bitface.evaluation import all_pairs, identity_of, verify, wilson
from bitface.evaluation.arrays import first_times
from bitface.evaluation.figures.compare import compare
from bitface.evaluation.figures.thresholds import thresholds
from bitface.evaluation.group_spread import group_spreads
from bitface.evaluation.groups import Groups, by_group
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.lists.templates import TemplateList, TemplatePairs
from bitface.evaluation.lists.videos import VideoPairs
from bitface.evaluation.mixed import matrix
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.distractors import ListSizes, Photographs, among_distractors
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.protocols.templates import TemplateProtocol
from bitface.evaluation.protocols.videos import YtfProtocol

PEOPLE, IMAGES = 20, 4


def faces(seed: int = 0, noise: float = 0.9) -> np.ndarray:
    """[80, 8], four images of each of twenty people."""
    rng = np.random.default_rng(seed)
    people = np.random.default_rng(99).normal(size=(PEOPLE, 8))
    return np.repeat(people, IMAGES, 0) + noise * rng.normal(size=(PEOPLE * IMAGES, 8))


def listed() -> PairList:
    """All 120 genuine and 400 impostor pairs, in five folds."""
    paths = tuple(f"{person:02}/{image}.jpg" for person in range(PEOPLE) for image in range(IMAGES))
    left, right = np.triu_indices(len(paths), 1)
    same = left // IMAGES == right // IMAGES
    rng = np.random.default_rng(1)
    keep = np.concatenate((np.flatnonzero(same), rng.choice(np.flatnonzero(~same), 400, replace=False)))
    left, right = left[keep].astype(np.int32), right[keep].astype(np.int32)
    return PairList(paths, left, right, same[keep], rng.permutation(len(keep)) % 5)


def again(pairs: PairList) -> PairList:
    """The same list with every pair once more, in its other order and the same fold."""
    left, right = np.concatenate((pairs.left, pairs.right)), np.concatenate((pairs.right, pairs.left))
    return PairList(pairs.paths, left, right, np.tile(pairs.same, 2), np.tile(pairs.fold, 2))


def test_first_times_against_a_set() -> None:
    rng = np.random.default_rng(4)
    left, right = rng.integers(0, 12, (2, 300))
    seen: set[frozenset[int]] = set()
    expected = []
    for pair in map(frozenset, zip(left.tolist(), right.tolist(), strict=True)):
        expected.append(pair not in seen)
        seen.add(pair)
    assert first_times(left.astype(np.int32), right.astype(np.int32)).tolist() == expected
    assert not len(first_times(left[:0], right[:0]))


def test_wilson_of_trials_that_are_repeated() -> None:
    once, twice = wilson(37, 50), wilson(74, 100, 50)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-15)
    assert wilson(100, 100, 50).high == 1.0
    assert wilson(0, 100, 50).low == 0.0


def test_mixed_cells_support_the_fars_that_the_others_support() -> None:
    # 3,040 distinct impostor pairs: ten of them are a share of 0.0033.
    fars = (0.01, 0.0025)
    cells = matrix(PairProtocol("toy", listed(), all_pairs=True), Embeddings(faces()), Embeddings(faces(1)), fars)
    assert [(cell.gallery, cell.probe) for cell in cells if cell.gallery != cell.probe]
    for cell in cells:
        found = {figure.name: figure for figure in cell.figures}
        assert found["TAR@FAR 1e-2"].value is not None
        assert found["TAR@FAR 2.5e-3"].value is None
        assert found["TAR@FAR 2.5e-3"].reason == "needs at least 4000 impostor pairs, has 3040"


def test_ordered_pairs_are_worth_the_distinct_ones() -> None:
    rows, others = faces(), faces(1)
    people = np.repeat(np.arange(PEOPLE), IMAGES)
    valid = np.arange(len(rows)) != 7
    found = all_pairs(Embeddings(rows, valid), people, (0.1,), resamples=0, at=(0.5,), probe=Embeddings(others))
    point, fixed = found.tar[0], found.fixed[0]
    distinct = np.triu_indices(len(rows), 1)
    genuine = int(np.count_nonzero(people[distinct[0]] == people[distinct[1]]))
    impostor = len(distinct[0]) - genuine
    assert (found.counts.genuine, found.counts.impostor) == (2 * genuine, 2 * impostor)
    assert (found.counts.distinct.genuine, found.counts.distinct.impostor) == (genuine, impostor)
    for interval, share, count in (
        (point.interval, point.tar, genuine),
        (fixed.tar_interval, fixed.tar, genuine),
        (fixed.far_interval, fixed.far, impostor),
    ):
        accepted = round(2 * count * share)
        expected, taken_twice = wilson(accepted, 2 * count, count), wilson(accepted, 2 * count)
        assert (interval.low, interval.high) == (expected.low, expected.high)
        assert interval.high - interval.low > 1.2 * (taken_twice.high - taken_twice.low)


def test_a_list_that_repeats_its_pairs_knows_no_more() -> None:
    once, twice = listed(), again(listed())
    one, two = (verify(faces(), pairs, (0.1, 0.02), at=(0.4,)) for pairs in (once, twice))
    assert two.counts.impostor == 2 * one.counts.impostor
    assert [point.supported for point in two.tar] == [True, False]
    assert two.tar[1].reason == one.tar[1].reason == "needs at least 500 impostor pairs, has 400"
    pairs_of_intervals = [
        (one.tar[0].interval, two.tar[0].interval),
        (one.accuracy.interval, two.accuracy.interval),
        (one.summary.fixed[0].tar_interval, two.summary.fixed[0].tar_interval),
        (one.summary.fixed[0].far_interval, two.summary.fixed[0].far_interval),
    ]
    for ours, theirs in pairs_of_intervals:
        assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=1e-12)


def test_tests_of_two_models_count_repeated_pairs_once() -> None:
    found = []
    for pairs in (listed(), again(listed())):
        base, worse = verify(faces(), pairs, (0.1,)), verify(faces(1, 1.5), pairs, (0.1,))
        found.append(compare(base, worse, resamples=200).to_json())
    assert found[0]["mcnemar"] == found[1]["mcnemar"]
    assert found[0]["mcnemar"]["flipped"] > 10
    assert found[0]["differences"] == found[1]["differences"]


def test_thresholds_of_a_list_that_repeats_its_pairs_expect_the_same() -> None:
    expected = []
    for pairs in (listed(), again(listed())):
        (one,) = thresholds(verify(faces(), pairs, (0.1,)).summary)
        expected.append((one.threshold, one.expected.low, one.expected.high))
    assert expected[0] == pytest.approx(expected[1], abs=1e-12)


def test_groups_count_repeated_pairs_once() -> None:
    rows = []
    for pairs in (listed(), again(listed())):
        protocol = PairProtocol("toy", pairs)
        older = np.array([int(identity_of(path)) < 10 for path in pairs.paths])
        overall = protocol.score(Embeddings(faces()), fars=(0.2,))
        rows += by_group(protocol, Embeddings(faces()), Groups({"age": {"old": older}}, 0), overall)
    for kind in (0, 1):
        one, two = (row.figures[kind]["interval"] for row in rows)
        assert (two["low"], two["high"]) == pytest.approx((one["low"], one["high"]), abs=1e-12)
    one, two = (row.rates[0]["far_interval"] for row in rows)
    assert (two["low"], two["high"]) == pytest.approx((one["low"], one["high"]), abs=1e-12)


def test_videos_count_repeated_pairs_once() -> None:
    found = []
    for pairs in (listed(), again(listed())):
        names = tuple(f"{identity_of(path)}/{path[3]}" for path in pairs.paths)
        videos = VideoPairs(
            pairs.paths, np.arange(len(names), dtype=np.int32), names, pairs.left, pairs.right, pairs.same, pairs.fold
        )
        found.append(YtfProtocol("toy", videos).score(Embeddings(faces()), fars=(0.1, 0.02)).mean)
    one, two = found
    assert [point.supported for point in two.tar] == [True, False]
    for ours, theirs in ((one.tar[0].interval, two.tar[0].interval), (one.accuracy.interval, two.accuracy.interval)):
        assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=1e-12)


def test_templates_count_repeated_pairs_once() -> None:
    pairs = listed()
    each = np.arange(len(pairs.paths), dtype=np.int32)
    templates = TemplateList(pairs.paths, each.astype(np.int64), each, each, each)
    repeated = again(pairs)
    lists = (
        TemplatePairs(pairs.left, pairs.right, pairs.same),
        TemplatePairs(repeated.left, repeated.right, repeated.same, pairs.genuine, pairs.impostor),
    )
    one, two = (
        TemplateProtocol("toy", templates, pairs).score(Embeddings(faces()), fars=(0.1, 0.02)).summary
        for pairs in lists
    )
    assert [point.supported for point in two.tar] == [True, False]
    assert two.counts.distinct == one.counts.distinct
    ours, theirs = one.tar[0].interval, two.tar[0].interval
    assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=1e-12)


def test_mates_in_either_order_are_one_comparison() -> None:
    photos, people = faces(), np.repeat(np.arange(PEOPLE), IMAGES).astype(str)
    others = np.random.default_rng(5).normal(size=(60, 8))
    one, two = (
        among_distractors(Photographs(people, photos, probes), others, ListSizes((60,)), fars=(0.1,), resamples=0)
        for probes in (None, photos.copy())
    )
    assert two.points == one.points
    point = one.points[0]
    assert point.interval == wilson(point.found, point.trials, point.trials // 2)
    ours, theirs = one.tar[0].interval, two.tar[0].interval
    assert one.tar[0].tar == two.tar[0].tar
    assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=1e-12)


def templates(times: int) -> TemplateProtocol:
    """Each image a template, all genuine and some impostor pairs, every other time in their other order."""
    pairs, count = listed(), PEOPLE * IMAGES
    every = np.arange(count, dtype=np.int32)
    names = tuple(map(str, range(PEOPLE)))
    list_of = TemplateList(pairs.paths, every.astype(np.int64), every, every, every, every // IMAGES, subjects=names)
    sides = [(pairs.left, pairs.right) if turn % 2 == 0 else (pairs.right, pairs.left) for turn in range(times)]
    left, right = (np.concatenate(side) for side in zip(*sides, strict=True))
    everything = np.ones(len(left), bool)
    return TemplateProtocol("toy", list_of, TemplatePairs(left, right, np.tile(pairs.same, times)).chosen(everything))


def test_two_models_differ_as_surely_on_templates_that_are_compared_again() -> None:
    once, often = (
        templates(times).score(Embeddings(faces()), fars=(0.1,)).decisions()[0] for times in (1, 4)
    )  # fmt: skip
    assert len(once.right) == 120
    np.testing.assert_array_equal(once.right, often.right)
    np.testing.assert_array_equal(once.person, often.person)


def test_groups_differ_as_surely_where_pairs_are_listed_again() -> None:
    group = np.arange(PEOPLE * IMAGES) // IMAGES % 2 == 0
    spreads = []
    for pairs in (listed(), again(listed())):
        protocol = PairProtocol("toy", pairs)
        groups = Groups({"kind": {"a": group, "b": ~group}}, 0)
        overall = protocol.score(Embeddings(faces()), fars=(0.1,))
        spreads.append(group_spreads(by_group(protocol, Embeddings(faces()), groups, overall)))
    assert spreads[0] == spreads[1]
    assert spreads[0][0].worst_to_best_interval is not None
