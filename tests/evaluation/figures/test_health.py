import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import diagnose
from bitface.evaluation.figures.health import degenerate

RNG = np.random.default_rng(0)
GOOD = RNG.normal(size=(300, 64)).astype(np.float32)


def test_a_good_model_raises_no_alarm() -> None:
    assert diagnose(GOOD) == []
    assert diagnose(GOOD / np.linalg.norm(GOOD, axis=1, keepdims=True)) == []
    assert diagnose(GOOD, teacher=GOOD + 0.1 * RNG.normal(size=GOOD.shape)) == []


def with_row(value: float) -> np.ndarray:
    rows = GOOD.copy()
    rows[7] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (with_row(np.nan), "1 of 300 embeddings hold NaN"),
        (with_row(np.inf), "1 of 300 embeddings hold NaN or infinite"),
        (with_row(0), "1 of 300 embeddings are zero"),
        (1 + 0.1 * GOOD, "mean cosine of 0.99"),
        (1e-5 * GOOD, "hardly vary"),
        (GOOD[np.arange(300) % 3], "scores are unique"),
    ],
)
def test_each_illness_has_its_own_words(rows: np.ndarray, words: str) -> None:
    found = diagnose(rows)
    assert len(found) == 1
    assert words in found[0]


def test_a_constant_network_raises_every_alarm() -> None:
    text = " ".join(diagnose(np.ones((50, 8))))
    for words in ("hardly vary", "mean cosine of 1.000", "scores are unique"):
        assert words in text


def test_mean_cosine_is_that_of_all_pairs() -> None:
    rows = GOOD[:40, :4] + 3.0
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = (unit @ unit.T)[np.triu_indices(40, 1)].mean()
    assert (mean > 0.9) == any("mean cosine" in words for words in diagnose(rows))
    assert f"{mean:.3f}" in " ".join(diagnose(rows))


def test_a_student_that_left_its_teacher() -> None:
    assert "no longer follows" in diagnose(GOOD, teacher=GOOD[::-1])[0]
    with pytest.raises(BitfaceError, match="teacher"):
        diagnose(GOOD, teacher=GOOD[:, :5])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_images(count: int) -> None:
    assert diagnose(GOOD[:count]) == []


def test_not_a_matrix() -> None:
    with pytest.raises(BitfaceError, match="matrix"):
        diagnose(GOOD[0])


def test_degenerate_embeddings_and_a_few_broken_ones() -> None:
    random = np.random.default_rng(0)
    good = random.standard_normal((300, 16))
    assert degenerate(good) == []
    few = good.copy()
    few[:3] = np.nan
    assert degenerate(few) == []
    assert diagnose(few)
    few[3] = 0
    assert "NaN" in degenerate(few)[0]
    assert degenerate(few, np.arange(300) > 3) == []
    assert degenerate(np.ones((300, 16)) + 0.01 * good)
    assert degenerate(np.zeros((5, 4)))
