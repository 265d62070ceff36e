import json
from pathlib import Path

import numpy as np
import pytest

import bitface.evaluation as evaluation
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import (
    all_pairs,
    fold_accuracy,
    identity_of,
    read_pairs,
    row_scores,
    unit_rows,
    verify,
)
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings
from support import evaluation_oracles as oracles

Case = tuple[PairList, np.ndarray]

FARS = (0.1, 0.01, 1e-4)


@pytest.fixture(scope="module")
def case() -> Case:
    """2,000 pairs of 400 images of 80 people, and embeddings that confuse some of them."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(80), 5)
    paths = tuple(f"{p:02}/{i}.jpg" for p in range(80) for i in range(5))
    left, right = np.triu_indices(400, 1)
    same = person[left] == person[right]
    keep = np.concatenate((np.flatnonzero(same), rng.choice(np.flatnonzero(~same), 1200, replace=False)))
    fold = rng.permutation(len(keep)) % 10
    pairs = PairList(paths, left[keep].astype(np.int32), right[keep].astype(np.int32), same[keep], fold)
    rows = rng.normal(size=(80, 32))[person] + rng.normal(size=(400, 32)) * 0.9
    return pairs, rows.astype(np.float32)


def test_a_list(case: Case) -> None:
    pairs, rows = case
    result = verify(rows, pairs, FARS)
    scores = row_scores(*unit_rows(rows), pairs.left, pairs.right)
    genuine, impostor = scores[pairs.same].tolist(), scores[~pairs.same].tolist()
    assert result.accuracy.to_json() == fold_accuracy(scores, pairs.same, pairs.fold).to_json()
    assert result.auc == oracles.auc(genuine, impostor)
    assert result.eer == pytest.approx(oracles.eer(genuine, impostor), abs=1e-12)
    for point in result.tar[:2]:
        assert (point.threshold, point.accepted, point.false_accepts) == oracles.tar_at_far(
            genuine, impostor, point.far
        )
        assert point.interval.method == "Wilson"
    assert not result.tar[2].supported
    assert (result.counts.images, result.counts.genuine, result.counts.impostor) == (400, 800, 1200)
    assert result.warnings == ()


def test_all_pairs_of_a_list(case: Case) -> None:
    pairs, rows = case
    result = verify(rows, pairs, FARS, all_pairs=True)
    assert result.accuracy.to_json() == verify(rows, pairs, FARS).accuracy.to_json()
    identities = [identity_of(path) for path in pairs.paths]
    assert result.summary.to_json() == all_pairs(rows, identities, FARS).to_json()
    assert result.counts.impostor == 400 * 399 // 2 - 800
    assert [point.supported for point in result.tar] == [True, True, False]


def test_a_pair_has_the_same_score_in_the_list_and_among_all_pairs(case: Case) -> None:
    pairs, rows = case
    left, right = (side.astype(np.int32) for side in np.triu_indices(400, 1))
    whole = PairList(pairs.paths, left, right, left // 5 == right // 5, np.arange(79800) % 10)
    listed, formed = verify(rows, whole, FARS), verify(rows, whole, FARS, all_pairs=True)
    assert (listed.auc, listed.eer) == (formed.auc, formed.eer)
    for ours, theirs in zip(listed.tar, formed.tar, strict=True):
        assert (ours.tar, ours.threshold, ours.reached) == (theirs.tar, theirs.threshold, theirs.reached)


def test_json_is_plain_and_repeats_byte_for_byte(case: Case) -> None:
    pairs, rows = case
    texts = {json.dumps(verify(rows, pairs, FARS, mode).to_json(True), allow_nan=False) for mode in (True, True)}
    assert len(texts) == 1
    values = json.loads(texts.pop())
    assert set(values) == {
        "accuracy", "protocol", "auc", "eer", "tar", "fixed", "counts", "match_errors", "failure_to_acquire",
        "warnings", "roc", "bins",
    }  # fmt: skip
    for kind in ("genuine", "impostor"):
        assert sum(values["bins"][kind]) == values["counts"][kind]
    assert values["tar"][2]["tar"] is None
    assert not {"roc", "bins"} & set(verify(rows, pairs, FARS).to_json())


@pytest.mark.parametrize("mode", [False, True])
def test_failed_images_are_scored_counted_and_reported(case: Case, mode: bool) -> None:
    pairs, rows = case
    rows, valid = rows.copy(), np.ones(400, dtype=bool)
    valid[3], rows[10] = False, np.nan
    result = verify(Embeddings(rows, valid), pairs, FARS, mode)
    assert result.counts.failed_images == 2
    touched = np.isin(pairs.left, [3, 10]) | np.isin(pairs.right, [3, 10])
    if not mode:
        assert result.counts.failed_pairs == np.count_nonzero(touched)
        assert (result.counts.genuine, result.counts.impostor) == (800, 1200)
    assert "2 of 400 images have no usable embedding" in result.warnings[0]
    assert "1 of 399 embeddings hold NaN" in result.warnings[1]
    # A genuine pair without a score is an error, an impostor pair without one is not.
    assert (result.accuracy.correct[touched] == ~pairs.same[touched]).all()
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("rows", [np.full((400, 4), np.nan), np.zeros((400, 4)), np.ones((400, 4))])
def test_a_dead_network_is_diagnosed_and_doesnt_crash(case: Case, rows: np.ndarray, mode: bool) -> None:
    pairs, _ = case
    result = verify(rows, pairs, FARS, mode)
    assert result.warnings
    assert result.auc == 0.5
    assert result.tar[0].tar == 0.0
    json.dumps(result.to_json(curve=True), allow_nan=False)


def test_bad_requests(case: Case) -> None:
    pairs, rows = case
    with pytest.raises(BitfaceError, match="399 embeddings for 400 images"):
        verify(rows[1:], pairs)
    with pytest.raises(UsageError, match="FAR"):
        verify(rows, pairs, [0.0])
    with pytest.raises(BitfaceError, match="valid"):
        verify(Embeddings(rows, np.array([True])), pairs)


def test_everything_public_is_there_and_documented() -> None:
    for name in evaluation.__all__:
        if name != "FARS":
            assert getattr(evaluation, name).__doc__


@pytest.mark.data
def test_labeled_faces_in_the_wild(data_dir: Path) -> None:
    pairs = read_pairs(data_dir / "lfw" / "pairs.csv", data_dir / "lfw" / "images")
    assert (len(pairs.paths), pairs.genuine, pairs.impostor) == (7701, 3000, 3000)
    assert np.bincount(pairs.fold).tolist() == [600] * 10
    rows = np.random.default_rng(0).normal(size=(7701, 8))
    summary = all_pairs(rows, [identity_of(path) for path in pairs.paths], resamples=0)
    assert summary.counts.genuine == 8101
    assert summary.counts.impostor == 7701 * 7700 // 2 - 8101
    assert all(point.supported for point in summary.tar)
