import json
from collections.abc import Sequence

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import all_pairs, auc, eer, evaluate_all_pairs, tar_at_far, unit_rows
from bitface.evaluation.figures.results import ScoreSummary
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings
from support import evaluation_oracles as oracles

FARS = (0.5, 0.1, 0.03, 0.01, 1e-3, 1e-6)


def faces(
    seed: int = 0, count: int = 90, people: int = 25, size: int = 16, noise: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, people, count)
    rows = rng.normal(size=(people, size))[identities] + noise * rng.normal(size=(count, size))
    return rows.astype(np.float32), np.array([f"person {identity}" for identity in identities])


def assert_brute_force(
    rows: np.ndarray, identities: np.ndarray, summary: ScoreSummary, valid: np.ndarray | None = None
) -> None:
    unit, usable = unit_rows(rows, valid)
    genuine, impostor = oracles.all_pair_scores(unit, identities, usable)
    assert (summary.counts.genuine, summary.counts.impostor) == (len(genuine), len(impostor))
    assert summary.auc == pytest.approx(auc(genuine, impostor), abs=1e-15)
    assert summary.eer == pytest.approx(eer(genuine, impostor), abs=1e-15)
    expected = tar_at_far(genuine, impostor, [point.far for point in summary.tar])
    for ours, theirs in zip(summary.tar, expected, strict=True):
        for field in (
            "far",
            "supported",
            "threshold",
            "tar",
            "reached",
            "accepted",
            "false_accepts",
            "reason",
        ):
            assert getattr(ours, field) == getattr(theirs, field)


def test_operating_points_equal_plain_loops() -> None:
    rows, identities = faces(10, count=45, people=8)
    summary = all_pairs(rows, identities, FARS, block=10)
    scores = oracles.all_pair_scores(unit_rows(rows)[0], identities, [True] * 45)
    for point in summary.tar[:3]:
        found = (point.threshold, point.accepted, point.false_accepts)
        assert found == oracles.tar_at_far(*scores, point.far)


@pytest.mark.parametrize("block", [1, 7, 32, 90, 1024])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_block_size_equals_brute_force(seed: int, block: int) -> None:
    rows, identities = faces(seed)
    summary = all_pairs(rows, identities, FARS, block=block, resamples=20)
    assert_brute_force(rows, identities, summary)
    assert summary.to_json(curve=True) == all_pairs(rows, identities, FARS, resamples=20).to_json(curve=True)


@pytest.mark.parametrize("kind", ["rounded", "repeated", "constant"])
def test_ties_and_collapsed_embeddings(kind: str) -> None:
    rows, identities = faces(2)
    if kind == "rounded":
        rows = np.sign(rows[:, :3])
    elif kind == "repeated":
        rows = rows[np.arange(90) % 4]
    else:
        rows = np.ones_like(rows)
    assert_brute_force(rows, identities, all_pairs(rows, identities, FARS, block=13, resamples=5))


def test_failed_images_score_the_worst_and_are_counted() -> None:
    rows, identities = faces(3)
    rows[5], rows[17, 2], valid = 0, np.nan, np.arange(90) % 11 != 4
    summary = all_pairs(Embeddings(rows, valid), identities, FARS, block=13)
    assert_brute_force(rows, identities, summary, valid)
    usable = valid.copy()
    usable[[5, 17]] = False
    assert summary.counts.failed_images == np.count_nonzero(~usable)
    good = int(np.count_nonzero(usable))
    assert summary.counts.failed_pairs == 90 * 89 // 2 - good * (good - 1) // 2


@pytest.mark.parametrize("left", [0, 1, 2, 20])
def test_almost_everything_failed(left: int) -> None:
    rows, identities = faces(4)
    valid = np.arange(90) < left
    assert_brute_force(rows, identities, all_pairs(Embeddings(rows, valid), identities, FARS, resamples=5), valid)


def test_order_of_images_changes_nothing_but_the_interval() -> None:
    rows, identities = faces(5)
    shuffle = np.random.default_rng(0).permutation(90)
    first = all_pairs(rows, identities, FARS)
    second = all_pairs(rows[shuffle], identities[shuffle], FARS)
    # People are drawn in the order of their names, so that even the intervals agree.
    assert first.to_json(curve=True) == second.to_json(curve=True)


def test_identities_may_be_numbers_and_far_apart() -> None:
    rows, identities = faces(6)
    numbers = np.unique(identities, return_inverse=True)[1] * 10**12
    assert all_pairs(rows, numbers, FARS).to_json() == all_pairs(rows, identities, FARS).to_json()


def test_json_is_plain() -> None:
    rows, identities = faces(7)
    values = json.loads(json.dumps(all_pairs(rows, identities, FARS).to_json(curve=True), allow_nan=False))
    assert values["protocol"] == "all pairs"
    assert values["counts"]["identities"] == len(set(identities.tolist()))
    assert values["tar"][-1]["tar"] is None


def test_bad_requests() -> None:
    rows, identities = faces(8)
    with pytest.raises(BitfaceError, match="89 identities for 90 embeddings"):
        all_pairs(rows, identities[1:])
    with pytest.raises(BitfaceError, match="one identity"):
        all_pairs(rows, ["same"] * 90)
    with pytest.raises(BitfaceError, match="no genuine pairs"):
        all_pairs(rows, np.arange(90))
    with pytest.raises(BitfaceError, match="shape"):
        all_pairs(rows[0], identities)
    with pytest.raises(UsageError, match="block"):
        all_pairs(rows, identities, block=0)
    with pytest.raises(UsageError, match="FAR"):
        all_pairs(rows, identities, [2.0])


def listed(paths: Sequence[str], pairs: Sequence[tuple[int, int, int]]) -> PairList:
    left, right, same = (np.array(column) for column in zip(*pairs, strict=True))
    return PairList(tuple(paths), left, right, same.astype(bool), np.arange(len(pairs)) % 2)


def test_identities_come_from_the_folders_of_a_list() -> None:
    rows, identities = faces(9)
    paths = [f"{identity}/{index}.jpg" for index, identity in enumerate(identities)]
    genuine = [(i, j, 1) for i in range(90) for j in range(i) if identities[i] == identities[j]]
    pairs = listed(paths, [*genuine, (0, int(np.flatnonzero(identities != identities[0])[0]), 0)])
    assert evaluate_all_pairs(pairs, rows, FARS).to_json() == all_pairs(rows, identities, FARS).to_json()


def test_folders_that_contradict_the_list_are_refused() -> None:
    pairs = listed(["a/1", "a/2", "b/1"], [(0, 1, 1), (1, 2, 1), (0, 2, 0)])
    with pytest.raises(BitfaceError, match="1 pairs contradict their folders, first the genuine pair a/2, b/1"):
        evaluate_all_pairs(pairs, np.eye(3))
