"""Norms, cosines and dimensions, beside sums by hand."""

import math

import numpy as np
import pytest

from bitface.analysis.variety import variety_of


def test_figures_are_those_of_loops() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 6)) * np.linspace(1, 4, 30)[:, None] + 0.3
    found = variety_of(rows.astype(np.float32))
    norms = [math.sqrt(sum(value * value for value in row)) for row in rows.tolist()]
    cosines = sorted(float(rows[i] @ rows[j]) / norms[i] / norms[j] for i in range(30) for j in range(i))
    assert found.faces == 30
    assert found.norm == pytest.approx((sorted(norms)[14] + sorted(norms)[15]) / 2, rel=1e-5)
    place = 0.95 * (len(cosines) - 1)
    low, high = cosines[math.floor(place)], cosines[math.ceil(place)]
    assert found.alike == pytest.approx(low + (place - math.floor(place)) * (high - low), rel=1e-5)
    squares = sorted(c * c for c in cosines)
    assert found.dimensions == pytest.approx(0.4549 / squares[len(squares) // 2], rel=1e-5)


@pytest.mark.parametrize("count", [200, 1000])
@pytest.mark.parametrize("dimensions", [20, 100])
def test_dimensions_are_those_in_which_embeddings_point_everywhere(dimensions: int, count: int) -> None:
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(128, 128)))[0][:dimensions]
    assert variety_of(random.normal(size=(count, dimensions)) @ turn).dimensions == pytest.approx(dimensions, rel=0.07)


def test_several_images_of_one_person_change_little() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(300, 64))
    rows[:30] = rows[0] + 0.3 * random.normal(size=(30, 64))
    assert variety_of(rows).dimensions == pytest.approx(64, rel=0.1)


def test_one_face_again_and_again() -> None:
    found = variety_of(np.ones((10, 4), np.float32))
    assert (found.dimensions, found.alike) == (pytest.approx(1), pytest.approx(1))
