import json
import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import (
    VerificationResult,
    all_pairs,
    auc,
    eer,
    fold_accuracy,
    identity_of,
    unit_rows,
    verify,
    wilson,
)
from bitface.evaluation.figures.operating import Distinct, OperatingPoint, operating_points
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.tiles import TiledImpostors
from support import evaluation_oracles as oracles

Case = tuple[PairList, np.ndarray, np.ndarray]
# Of one model: unit vectors and which of them are usable.
Side = tuple[np.ndarray, np.ndarray]

FARS = (0.1, 0.01, 1e-5)


def listed(people: int = 30, images: int = 4, seed: int = 0) -> PairList:
    """All genuine and 250 impostor pairs of people with so many images each, in random folds and orders."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), images)
    paths = tuple(f"{p:02}/{i}.jpg" for p in range(people) for i in range(images))
    pairs = np.array([pair for pair in permutations(range(len(person)), 2) if rng.random() < 0.5 or pair[0] < pair[1]])
    pairs = pairs[np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)[1]]
    same = person[pairs[:, 0]] == person[pairs[:, 1]]
    keep = np.sort(np.concatenate((np.flatnonzero(same), rng.choice(np.flatnonzero(~same), 250, replace=False))))
    left, right = pairs[keep].T.astype(np.int32)
    return PairList(paths, left, right, same[keep], rng.permutation(len(keep)) % 10)


def embedded(pairs: PairList, seed: int = 1, noise: float = 0.9, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the images by one model, and by another that moves each a little."""
    rng = np.random.default_rng(seed)
    names, person = np.unique([identity_of(path) for path in pairs.paths], return_inverse=True)
    first = rng.normal(size=(len(names), size))[person] + noise * rng.normal(size=(len(person), size))
    return first.astype(np.float32), (first + 0.4 * rng.normal(size=first.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def case() -> Case:
    pairs = listed()
    return pairs, *embedded(pairs)


def pair_score(gallery: Side, probe: Side, i: int, j: int) -> float:
    """The score of two rows of `unit_rows`, of two sides."""
    (unit, usable), (other, answered) = gallery, probe
    return max(-1.0, min(1.0, float(unit[i] @ other[j]))) if usable[i] and answered[j] else -1.0


def ordered_scores(
    gallery: Side, probe: Side, identities: Sequence[object] | np.ndarray
) -> tuple[list[float], list[float]]:
    """Genuine and impostor scores of all ordered pairs of different images, one by one."""
    genuine: list[float] = []
    impostor: list[float] = []
    for i, j in permutations(range(len(identities)), 2):
        (genuine if identities[i] == identities[j] else impostor).append(pair_score(gallery, probe, i, j))
    return genuine, impostor


def assert_points(
    points: Sequence[OperatingPoint], genuine: list[float], impostor: list[float], orders: int = 1
) -> None:
    distinct = Distinct(len(genuine) // orders, len(impostor) // orders)
    theirs_of_all = operating_points(np.array(genuine), ImpostorArray(impostor), FARS, distinct)
    for ours, theirs in zip(points, theirs_of_all, strict=True):
        for field in ("supported", "threshold", "tar", "reached", "accepted", "false_accepts", "reason"):
            assert getattr(ours, field) == getattr(theirs, field)
        if ours.supported:
            expected = oracles.tar_at_far(genuine, impostor, ours.far)
            assert (ours.threshold, ours.accepted, ours.false_accepts) == expected


@pytest.mark.parametrize("mode", [False, True])
def test_one_side_is_what_verify_says(case: Case, mode: bool) -> None:
    pairs, rows, _ = case
    valid = np.arange(len(rows)) % 17 != 3
    result = PairProtocol("small", pairs, mode).score(Embeddings(rows, valid), fars=FARS, seed=5)
    expected = verify(Embeddings(rows, valid), pairs, FARS, mode, seed=5)
    assert result.to_json(curve=True) == expected.to_json(curve=True)
    assert result.warnings == expected.warnings
    assert (result.accuracy.correct == expected.accuracy.correct).all()


def test_it_is_a_protocol(case: Case) -> None:
    pairs, rows, _ = case
    protocol: FaceProtocol = PairProtocol("small", pairs)
    assert (protocol.name, protocol.paths) == ("small", pairs.paths)
    assert isinstance(protocol.score(Embeddings(rows), fars=FARS), VerificationResult)


def test_figures(case: Case) -> None:
    pairs, rows, _ = case
    result = PairProtocol("small", pairs).score(Embeddings(rows), fars=(0.1, 2.5e-2, 1e-5))
    accuracy, *tars, area, equal = result.figures()
    assert (accuracy.name, accuracy.value, accuracy.spread) == ("accuracy", result.accuracy.mean, result.accuracy.std)
    assert accuracy.interval == result.accuracy.interval
    assert [figure.name for figure in tars] == ["TAR@FAR 1e-1", "TAR@FAR 2.5e-2", "TAR@FAR 1e-5"]
    assert (tars[0].value, tars[0].interval) == (result.tar[0].tar, result.tar[0].interval)
    assert tars[0].interval == wilson(result.tar[0].accepted, result.tar[0].genuine)
    assert (tars[2].value, tars[2].interval) == (None, None)
    assert tars[2].reason == "needs at least 1000000 impostor pairs, has 250"
    assert (area.name, area.value, equal.name, equal.value) == ("AUC", result.auc, "EER", result.eer)
    json.dumps([figure.to_json() for figure in result.figures()], allow_nan=False)


def test_two_sides_of_a_list_take_the_left_image_from_the_gallery(case: Case) -> None:
    pairs, rows, others = case
    result = PairProtocol("small", pairs).score(Embeddings(rows), Embeddings(others), fars=FARS)
    sides = unit_rows(rows), unit_rows(others)
    scores = np.array([pair_score(*sides, i, j) for i, j in zip(pairs.left, pairs.right, strict=True)])
    genuine, impostor = scores[pairs.same].tolist(), scores[~pairs.same].tolist()
    assert result.accuracy.to_json() == fold_accuracy(scores, pairs.same, pairs.fold).to_json()
    assert result.auc == oracles.auc(genuine, impostor)
    assert result.eer == pytest.approx(oracles.eer(genuine, impostor), abs=1e-12)
    assert_points(result.tar, genuine, impostor)
    assert (result.counts.genuine, result.counts.impostor) == (len(genuine), 250)
    swapped = PairProtocol("small", pairs).score(Embeddings(others), Embeddings(rows), fars=FARS)
    assert swapped.auc != result.auc


def test_two_sides_over_all_ordered_pairs() -> None:
    pairs = listed(people=12)
    rows, others = embedded(pairs)
    result = PairProtocol("small", pairs, all_pairs=True).score(Embeddings(rows), Embeddings(others), fars=FARS)
    identities = [identity_of(path) for path in pairs.paths]
    genuine, impostor = ordered_scores(unit_rows(rows), unit_rows(others), identities)
    assert (result.counts.genuine, result.counts.impostor) == (len(genuine), len(impostor)) == (144, 48 * 47 - 144)
    assert result.auc == pytest.approx(oracles.auc(genuine, impostor), abs=1e-15)
    assert result.eer == pytest.approx(eer(genuine, impostor), abs=1e-15)
    assert_points(result.tar, genuine, impostor, orders=2)
    assert [point.interval.method for point in result.tar[:2]] == ["subject bootstrap"] * 2
    listed_only = PairProtocol("small", pairs).score(Embeddings(rows), Embeddings(others), fars=FARS)
    assert result.accuracy.to_json() == listed_only.accuracy.to_json()
    assert result.summary.subjects is None


@pytest.mark.parametrize("block", [1, 7, 64, 1024])
@pytest.mark.parametrize("kind", ["spread", "rounded", "constant", "failed"])
def test_every_block_size_equals_plain_loops(kind: str, block: int) -> None:
    rng = np.random.default_rng(3)
    identities = rng.integers(0, 9, 40)
    rows, others = rng.normal(size=(2, 40, 6))
    valid = None
    if kind == "rounded":
        rows, others = np.sign(rows[:, :3]), np.sign(others[:, :3])
    elif kind == "constant":
        rows, others = np.ones_like(rows), np.ones_like(others)
    elif kind == "failed":
        rows[3], others[7, 2], others[8], valid = 0, np.nan, 0, np.arange(40) % 11 != 4
    summary = all_pairs(Embeddings(rows, valid), identities, FARS, block=block, resamples=5, probe=Embeddings(others))
    sides = unit_rows(rows, valid), unit_rows(others)
    genuine, impostor = ordered_scores(*sides, identities)
    assert (summary.counts.genuine, summary.counts.impostor) == (len(genuine), len(impostor))
    assert summary.auc == pytest.approx(auc(genuine, impostor), abs=1e-15)
    assert summary.eer == pytest.approx(eer(genuine, impostor), abs=1e-15)
    assert_points(summary.tar, genuine, impostor, orders=2)
    failed = [(i, j) for i, j in permutations(range(40), 2) if not (sides[0][1][i] and sides[1][1][j])]
    assert summary.counts.failed_pairs == len(failed)
    assert summary.counts.failed_images == sum(not (a and b) for a, b in zip(sides[0][1], sides[1][1], strict=True))


@pytest.mark.parametrize(("block", "held"), [(1, 1 << 20), (7, 1 << 20), (64, 1), (16, 5)])
@pytest.mark.parametrize("failed", [0, 30])
def test_tiles_of_two_sides_answer_as_scores_in_memory(block: int, held: int, failed: int) -> None:
    rng = np.random.default_rng(4)
    (unit, usable), (other, answered) = unit_rows(rng.normal(size=(30, 5))), unit_rows(rng.normal(size=(41, 5)))
    subject, other_subject = rng.integers(0, 6, 30), rng.integers(0, 8, 41)
    pairs = [(i, j) for i in range(30) for j in range(41) if subject[i] != other_subject[j]]
    scores = {(i, j): pair_score((unit, usable), (other, answered), i, j) for i, j in pairs}
    tiles = TiledImpostors(unit, subject, failed, block, held, probe=(other, other_subject))
    array = ImpostorArray([*scores.values(), *[-1.0] * failed])
    assert tiles.count == array.count
    values = np.unique([*list(scores.values())[::13], -1.0, 0.0, 1.0])
    for ours, theirs in zip(tiles.counts(values), array.counts(values), strict=True):
        assert ours.tolist() == theirs.tolist()
    ranks = np.unique(np.r_[1, 2, np.linspace(1, array.count, 25).astype(int)])[::-1]
    for one, other_one in zip(tiles.at_rank(ranks), array.at_rank(ranks), strict=True):
        assert one.tolist() == other_one.tolist()
    highest, left, right = tiles.highest(20)
    if held > 5:
        assert len(highest) >= 20
    assert highest.tolist() == sorted(scores.values(), reverse=True)[: len(highest)]
    assert [scores[int(i), int(j)] for i, j in zip(left, right, strict=True)] == highest.tolist()


def test_a_model_with_itself_has_every_pair_twice(case: Case) -> None:
    pairs, rows, _ = case
    once = PairProtocol("small", pairs, True).score(Embeddings(rows), fars=(0.1, 0.01))
    twice = PairProtocol("small", pairs, True).score(Embeddings(rows), Embeddings(rows), fars=(0.1, 0.01))
    assert (twice.auc, twice.counts.genuine) == (once.auc, 2 * once.counts.genuine)
    assert twice.eer == pytest.approx(once.eer, abs=1e-12)
    for one, two in zip(once.tar, twice.tar, strict=True):
        assert (two.threshold, two.tar) == (one.threshold, one.tar)
        # The same people are drawn, and find the same thresholds; and the pairs are no more evidence than before.
        assert two.interval.low == pytest.approx(one.interval.low, abs=1e-12)
        assert two.interval.high == pytest.approx(one.interval.high, abs=1e-12)


def naive_interval(
    rows: np.ndarray, others: np.ndarray, identities: np.ndarray, far: float, resamples: int, seed: int
) -> np.ndarray:
    """Resamples people by copying their images, and scores every ordered pair of different people's images anew."""
    people = np.unique(identities)
    generator = np.random.default_rng(seed)
    first, second = unit_rows(rows)[0], unit_rows(others)[0]
    scores = np.clip(first @ second.T, -1, 1)
    tars = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(people), size=len(people))
        images = np.concatenate([np.flatnonzero(identities == people[p]) for p in drawn])
        copies = np.concatenate([np.full(np.count_nonzero(identities == people[p]), c) for c, p in enumerate(drawn)])
        block, person = scores[np.ix_(images, images)], identities[images]
        genuine = block[(copies[:, None] == copies) & ~np.eye(len(images), dtype=bool)]
        impostor = np.sort(block[person[:, None] != person])[::-1]
        tars.append(np.mean(genuine > impostor[math.floor(far * len(impostor) + 1e-9)]))
    return np.quantile(tars, [0.025, 0.975])


@pytest.mark.parametrize("far", [0.1, 0.03])
def test_intervals_over_ordered_pairs_are_those_of_the_naive_bootstrap(far: float) -> None:
    pairs = listed(people=25, images=5, seed=2)
    rows, others = embedded(pairs, seed=3)
    protocol = PairProtocol("small", pairs, all_pairs=True)
    point = protocol.score(Embeddings(rows), Embeddings(others), fars=[far], seed=4).tar[0]
    identities = np.array([identity_of(path) for path in pairs.paths])
    low, high = naive_interval(rows, others, identities, far, 1000, 4)
    independent = wilson(point.accepted, point.genuine, point.genuine // 2)
    assert point.interval.low == pytest.approx(min(low, independent.low), abs=2e-3)
    assert point.interval.high == pytest.approx(max(high, independent.high), abs=2e-3)
    assert point.interval.low < independent.low


def test_results_repeat_byte_for_byte(case: Case) -> None:
    pairs, rows, others = case
    protocol = PairProtocol("small", pairs, all_pairs=True)
    results = [protocol.score(Embeddings(rows), Embeddings(others), fars=FARS, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (json.dumps(result.to_json(True), allow_nan=False) for result in results)
    assert first == again != other


@pytest.mark.parametrize("mode", [False, True])
def test_failures_and_warnings_name_their_side(case: Case, mode: bool) -> None:
    pairs, rows, others = case
    others = others.copy()
    others[5] = np.nan
    valid = np.arange(len(rows)) != 2
    protocol = PairProtocol("small", pairs, mode)
    result = protocol.score(Embeddings(rows, valid), Embeddings(others), fars=FARS)
    assert result.counts.failed_images == 2
    failed = np.count_nonzero((pairs.left == 2) | (pairs.right == 5))
    assert result.counts.failed_pairs == (2 * 119 - 1 if mode else failed)
    assert result.warnings[0] == (
        f"2 of 120 images have no usable embedding by both models; their {result.counts.failed_pairs} pairs score -1"
    )
    assert result.warnings[1].startswith("probes: 1 of 120 embeddings hold NaN")
    dead = protocol.score(Embeddings(np.ones_like(rows)), Embeddings(others), fars=FARS)
    assert dead.warnings[1].startswith("gallery: embeddings hardly vary")
    valid = np.arange(len(rows)) != 5
    excused = protocol.score(Embeddings(rows), Embeddings(others, valid), fars=FARS)
    assert len(excused.warnings) == 1


def test_people_of_a_list_that_names_them_need_no_folders() -> None:
    pairs = PairList(
        ("a_1.jpg", "a_2.jpg", "b_1.jpg", "b_2.jpg"), np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]),
        np.array([True, True, False, False]), np.array([0, 1, 0, 1]), people=("a", "a", "b", "b"),
    )  # fmt: skip
    rows = Embeddings(np.eye(4) + 0.1)
    result = PairProtocol("flat", pairs, all_pairs=True).score(rows, fars=[0.1])
    assert (result.counts.identities, result.counts.genuine, result.counts.impostor) == (2, 2, 4)
    wrong = PairList(pairs.paths, pairs.left, pairs.right, ~pairs.same, pairs.fold, people=pairs.people)
    with pytest.raises(BitfaceError, match=r"4 pairs contradict their names, first the impostor pair a_1.jpg, a_2.jpg"):
        PairProtocol("flat", wrong, all_pairs=True).score(rows, fars=[0.1])
    nameless = PairList(pairs.paths, pairs.left, pairs.right, pairs.same, pairs.fold)
    with pytest.raises(BitfaceError, match=r"contradict their folders.*needs one folder per person"):
        PairProtocol("flat", nameless, all_pairs=True).score(rows, fars=[0.1])


def test_bad_requests(case: Case) -> None:
    pairs, rows, others = case
    protocol = PairProtocol("small", pairs)
    with pytest.raises(BitfaceError, match="119 embeddings for 120 images"):
        protocol.score(Embeddings(rows[1:]))
    with pytest.raises(BitfaceError, match="119 embeddings for 120 images"):
        protocol.score(Embeddings(rows), Embeddings(others[1:]))
    with pytest.raises(BitfaceError, match="models of different sizes can't be compared"):
        protocol.score(Embeddings(rows), Embeddings(others[:, :8]))
    with pytest.raises(UsageError, match="FAR"):
        protocol.score(Embeddings(rows), fars=[1.5])
    functions: tuple[Any, ...] = (verify, all_pairs)
    for function in functions:
        second = pairs if function is verify else [identity_of(path) for path in pairs.paths]
        with pytest.raises(BitfaceError, match=r"gallery's embeddings are \(120, 16\), the probes' \(120, 8\)"):
            function(rows, second, FARS, probe=Embeddings(others[:, :8]))
