import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import row_scores, unit_rows


def test_scores_are_cosines() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 512)).astype(np.float32)
    unit, usable = unit_rows(rows)
    left, right = rng.integers(0, 50, 200), rng.integers(0, 50, 200)
    exact = rows.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    difference = np.abs(row_scores(unit, usable, left, right) - (exact[left] * exact[right]).sum(axis=1))
    assert difference.max() < np.sqrt(512) * 2**-26
    assert difference.mean() < 2e-8


@pytest.mark.parametrize("size", [1, 3, 128, 1000])
def test_summation_order_changes_no_bit(size: int) -> None:
    rng = np.random.default_rng(size)
    unit, usable = unit_rows(rng.normal(size=(64, size)))
    left, right = np.triu_indices(64, 1)
    scores = row_scores(unit, usable, left, right)
    shuffle = rng.permutation(size)
    assert (scores == np.clip((unit @ unit.T)[left, right], -1, 1)).all()
    assert (scores == row_scores(unit[:, shuffle], usable, left, right)).all()
    one_by_one = np.array(
        [
            sum(float(a) * float(b) for a, b in zip(unit[i], unit[j], strict=True))
            for i, j in zip(left[:20], right[:20], strict=True)
        ]
    )
    assert (scores[:20] == np.clip(one_by_one, -1, 1)).all()


def test_scores_stay_within_bounds() -> None:
    unit, usable = unit_rows(np.repeat(np.random.default_rng(1).normal(size=(20, 77)), 2, axis=0))
    scores = row_scores(unit, usable, np.arange(0, 40, 2), np.arange(1, 40, 2))
    assert scores.max() <= 1
    assert scores.min() > 1 - 1e-7


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_length_does_not_matter(scale: float) -> None:
    rows = np.array([[3.0, 4.0], [4.0, 3.0]])
    unit, usable = unit_rows(rows * scale)
    assert usable.all()
    assert row_scores(unit, usable, [0], [1])[0] == pytest.approx(0.96, abs=1e-7)


def test_unusable_rows_score_the_worst() -> None:
    rows = np.array([[1.0, 0.0], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    unit, usable = unit_rows(rows, valid=[1, 1, 1, 1, 0, 1])
    assert usable.tolist() == [True, False, False, False, False, True]
    assert row_scores(unit, usable, [0, 0, 0, 0, 0, 1], [1, 2, 3, 4, 5, 1]).tolist() == [
        -1,
        -1,
        -1,
        -1,
        1,
        -1,
    ]
    assert np.isfinite(unit).all()


def test_the_caller_keeps_its_embeddings() -> None:
    rows = np.array([[3.0, 4.0], [np.nan, 1.0]])
    before = rows.copy()
    unit_rows(rows)
    assert np.array_equal(rows, before, equal_nan=True)


def test_bad_shapes() -> None:
    for wrong in (np.zeros(5), np.zeros((2, 3, 4)), np.zeros((4, 0)), [["a", "b"]]):
        with pytest.raises(BitfaceError, match="embeddings"):
            unit_rows(wrong)
    with pytest.raises(BitfaceError, match="valid has the shape"):
        unit_rows(np.ones((3, 2)), valid=[True])
