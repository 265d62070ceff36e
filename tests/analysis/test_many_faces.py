"""Ten thousand faces: what grows with the square of their number is done in parts, or for some of them."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from bitface.analysis import classes, flips, maps
from bitface.analysis.classes import inter_class_angles, nearest, pseudo_classes
from bitface.analysis.maps import chosen_rows, neighbourhoods

FACES = 10_000
# A matrix of all similarities in single precision takes 400 MB.
MOST = 150_000_000


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit rows of a teacher and a student, and labels of 3,000 people."""
    rng = np.random.default_rng(0)
    labels = np.sort(np.r_[np.arange(3000), rng.integers(0, 3000, FACES - 3000)])
    first = rng.normal(size=(3000, 32))[labels] + 0.4 * rng.normal(size=(FACES, 32))
    second = first + 0.3 * rng.normal(size=first.shape)
    teacher, student = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (first, second))
    return teacher.astype(np.float32), student.astype(np.float32), labels


def peak(call: Callable[[], object]) -> int:
    """The bytes that arrays take at most while a function runs."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_memory_is_not_quadratic(sides: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    teacher, student, labels = sides
    pairs = flips.Pairs(labels=labels)
    assert peak(lambda: pseudo_classes(teacher)) < MOST
    assert peak(lambda: neighbourhoods(teacher, student, chosen_rows(FACES, labels))) < MOST
    assert peak(lambda: flips.thresholds(teacher, pairs, [1e-3])) < MOST
    assert peak(lambda: flips.flips(teacher, student, pairs, 1e-3, (0.5, 0.4))) < MOST


def test_what_is_drawn_is_bounded(sides: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    teacher, student, labels = sides
    several = np.bincount(labels)[labels] > 1
    who = np.unique(labels[several], return_inverse=True)[1]
    assert who.max() >= classes.MOST_CLASSES
    assert len(inter_class_angles(teacher[several], who)) == classes.MOST_CLASSES * (classes.MOST_CLASSES - 1) // 2
    assert len(chosen_rows(FACES, labels)) == maps.MOST_MAPPED
    found = flips.flips(teacher, student, flips.Pairs(labels=labels), 1e-3, (0.5, 0.4))
    assert found.rejected + found.accepted + found.gained > len(found.worst) == flips.MOST_KEPT


def test_neighbours_of_drawn_faces(
    sides: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student, _ = (side[:600] for side in sides)
    whole = neighbourhoods(teacher, student, np.arange(50))
    monkeypatch.setattr(maps, "MOST_ASKED", 300)
    drawn = neighbourhoods(teacher, student, np.arange(50), seed=1)
    assert whole is not None
    assert drawn is not None
    assert (whole.faces, drawn.faces) == (600, 300)
    assert drawn.kept == pytest.approx(whole.kept, abs=0.05)
    assert drawn.kept != whole.kept
    assert drawn == neighbourhoods(teacher, student, np.arange(50), seed=1)


def test_neighbours_do_not_depend_on_the_parts(
    sides: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sides[0][:200].astype(np.float64)
    asked = np.array([7, 3, 150])
    cosines, found = nearest(rows, 4, asked)
    for place, row in enumerate(asked):
        others = np.delete(np.arange(200), row)
        best = others[np.argsort(-(rows[others] @ rows[row]), kind="stable")[:4]]
        assert found[place].tolist() == best.tolist()
        np.testing.assert_allclose(cosines[place], rows[best] @ rows[row])
    whole = nearest(rows, 4)
    monkeypatch.setattr(classes, "_BLOCK", 7 * 200)
    np.testing.assert_array_equal(nearest(rows, 4)[1], whole[1])
    monkeypatch.setattr(classes, "_BLOCK", 1)
    np.testing.assert_array_equal(nearest(rows, 4)[1], whole[1])
