import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import agreement, mcnemar


@pytest.mark.parametrize(("b", "c"), [(b, c) for b in range(0, 13, 2) for c in range(13)] + [(40, 75), (500, 430)])
def test_p_value_is_exact(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True, False])
    second = np.array([False] * b + [True] * c + [True, False])
    result = mcnemar(first, second)
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1))
    assert (result.b, result.c, result.flipped) == (b, c, b + c)
    assert result.p == pytest.approx(float(min(Fraction(1), Fraction(2 * tail, 2 ** (b + c)))), rel=1e-10)


def test_p_value_of_a_million_flips() -> None:
    count = 1_000_000
    first = np.arange(count) < count // 2 + 1000
    assert mcnemar(first, ~first).p == pytest.approx(0.0456, abs=1e-4)
    assert mcnemar(np.arange(count) % 2 == 0, np.arange(count) % 2 == 1).p == 1.0
    assert mcnemar(np.ones(10_000), np.zeros(10_000)).p == 0.0


def test_mcnemar_json_and_lengths() -> None:
    assert json.loads(json.dumps(mcnemar([1, 0], [0, 0]).to_json())) == {
        "b": 1,
        "c": 0,
        "flipped": 1,
        "p": 1.0,
    }
    with pytest.raises(BitfaceError, match="correct_b"):
        mcnemar([True], [True, False])


def test_agreement_of_known_angles() -> None:
    degrees = np.array([0.0, 10.0, 90.0, 180.0])
    student = np.stack((np.cos(np.radians(degrees)), np.sin(np.radians(degrees))), axis=1) * 7
    result = agreement(np.tile([2.0, 0.0], (4, 1)), student)
    assert result.mean_angle == pytest.approx(70, abs=1e-4)
    assert result.maximum_angle == pytest.approx(180, abs=1e-4)
    assert result.mean == pytest.approx(np.cos(np.radians(degrees)).mean(), abs=1e-7)
    assert result.minimum == -1.0
    assert result.p01 == pytest.approx(np.quantile(np.cos(np.radians(degrees)), 0.01), abs=1e-7)
    assert (result.count, result.failed) == (4, 0)


def test_agreement_with_itself_is_complete() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
    result = agreement(rows, 3 * rows)
    assert result.minimum == pytest.approx(1.0, abs=1e-12)
    assert result.maximum_angle < 1e-4


def test_failed_rows_are_left_out_and_counted() -> None:
    rows = np.eye(4)
    broken = rows.copy()
    broken[1], broken[2] = np.nan, 0
    result = agreement(rows, broken)
    assert (result.count, result.failed, result.minimum) == (2, 2, 1)
    json.dumps(result.to_json(), allow_nan=False)
    with pytest.raises(BitfaceError, match="no image"):
        agreement(rows, np.zeros((4, 4)))
    with pytest.raises(BitfaceError, match=r"\(4, 4\), student embeddings \(3, 4\)"):
        agreement(rows, rows[1:])
