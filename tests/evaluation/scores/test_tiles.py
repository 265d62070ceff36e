import numpy as np
import pytest

from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.similarity import unit_rows
from bitface.evaluation.scores.tiles import TiledImpostors
from support import evaluation_oracles as oracles

# Unit vectors, whose they are, and the genuine and impostor scores of their pairs.
Case = tuple[np.ndarray, np.ndarray, list[float], list[float]]

KINDS = ("spread", "coarse", "crowded", "equal", "opposite")


def embeddings(kind: str) -> np.ndarray:
    rng = np.random.default_rng(KINDS.index(kind))
    rows = rng.normal(size=(45, 8))
    if kind == "coarse":
        return rng.integers(-1, 2, size=(45, 2)) + np.array([0.0, 1e-3])
    if kind == "crowded":
        return 1 + 1e-6 * rows
    if kind == "equal":
        return np.ones((45, 8))
    if kind == "opposite":
        return np.sign(rows[:, :1]) * np.ones((1, 8))
    return rows


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    unit, usable = unit_rows(embeddings(request.param))
    subject = np.random.default_rng(9).integers(0, 12, 45)
    return unit, subject, *oracles.all_pair_scores(unit, subject, usable)


@pytest.mark.parametrize(("block", "held"), [(1, 1 << 20), (7, 1 << 20), (45, 1), (64, 1), (16, 5)])
@pytest.mark.parametrize("failed", [0, 30])
def test_questions_are_answered_as_by_all_scores_in_memory(case: Case, block: int, held: int, failed: int) -> None:
    unit, subject, genuine, impostor = case
    tiles = TiledImpostors(unit, subject, failed, block, held)
    array = ImpostorArray([*impostor, *[-1.0] * failed])
    assert tiles.count == array.count
    drawn = np.histogram([*impostor, *[-1.0] * failed], 256, (-1, 1))[0].tolist()
    assert tiles.histogram().tolist() == array.histogram().tolist() == drawn
    values = np.unique([*genuine, *impostor[::17], -1.0, 0.0, 1.0])
    for ours, theirs in zip(tiles.counts(values), array.counts(values), strict=True):
        assert ours.tolist() == theirs.tolist()
    ranks = np.unique(np.r_[1, 2, 3, np.linspace(1, array.count, 25).astype(int), array.count])[::-1]
    for one, other_one in zip(tiles.at_rank(ranks), array.at_rank(ranks), strict=True):
        assert one.tolist() == other_one.tolist()


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_highest_scores_come_with_their_pairs(case: Case, block: int) -> None:
    unit, subject, _, impostor = case
    tiles = TiledImpostors(unit, subject, 0, block)
    values, left, right = tiles.highest(50)
    assert len(values) >= 50
    assert values.tolist() == sorted(impostor, reverse=True)[: len(values)]
    assert (left < right).all()
    assert (subject[left] != subject[right]).all()
    assert len({*zip(left, right, strict=True)}) == len(left)
    assert values == pytest.approx(np.clip((unit[left] * unit[right]).sum(axis=1), -1, 1), abs=0)
    assert len(tiles.highest(10**9)[0]) == len(impostor)


def test_an_overfull_bin_is_left_out_of_the_highest_scores() -> None:
    unit, _ = unit_rows(np.ones((20, 4)))
    assert len(TiledImpostors(unit, np.arange(20), capacity=5).highest(3)[0]) == 0


def test_no_rows_at_all() -> None:
    tiles = TiledImpostors(np.empty((0, 4)), np.empty(0, dtype=np.int64), failed=6)
    assert tiles.count == 6
    assert tiles.at_rank(np.array([1, 6]))[0].tolist() == [-1, -1]
    assert tiles.counts(np.array([-1.0, 0.0]))[1].tolist() == [6, 0]
    assert len(tiles.highest(3)[0]) == 0
