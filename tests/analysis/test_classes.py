import math

import numpy as np
import pytest

from bitface.analysis import classes
from bitface.analysis.classes import inter_class_angles, nearest, pseudo_classes, within_class_angles


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return math.degrees(math.acos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def clusters(people: int, each: int, spread: float, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    return rng.normal(size=(people, size))[labels] + spread * rng.normal(size=(people * each, size)), labels


def test_angles_match_loops() -> None:
    rows, labels = clusters(5, 3, 0.5)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    centers = [(rows / lengths)[labels == one].mean(0) for one in range(5)]
    expected = [angle(centers[a], centers[b]) for a in range(5) for b in range(a + 1, 5)]
    np.testing.assert_allclose(inter_class_angles(rows, labels), expected)
    within = [angle(row, centers[one]) for row, one in zip(rows, labels, strict=True)]
    np.testing.assert_allclose(within_class_angles(rows, labels), within)


def test_a_face_that_is_alone_has_no_angle_to_itself() -> None:
    rows, _ = clusters(3, 1, 0)
    found = within_class_angles(np.concatenate([rows, rows[:1] + 0.1]), np.array([0, 1, 2, 0]))
    assert np.isnan(found).tolist() == [False, True, True, False]


def test_many_classes_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "MOST_CLASSES", 4)
    rows, labels = clusters(9, 2, 0.3)
    every = angles_of_all(rows, labels)
    drawn = inter_class_angles(rows, labels, seed=3)
    assert len(drawn) == 6
    assert all(np.abs(every - one).min() < 1e-9 for one in drawn)
    np.testing.assert_array_equal(drawn, inter_class_angles(rows, labels, seed=3))


def angles_of_all(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centers = np.stack([units[labels == one].mean(0) for one in np.unique(labels)])
    return np.array([angle(a, b) for row, a in enumerate(centers) for b in centers[row + 1 :]])


def test_pseudo_classes_are_the_clusters_and_strangers_stay_alone() -> None:
    rows, labels = clusters(40, 5, 0.3, size=64)
    strangers = np.random.default_rng(9).normal(size=(10, 64))
    found = pseudo_classes(np.concatenate([rows, strangers]))
    assert len(set(found)) == 50
    pairs = found[:200, None] == found[None, :200]
    np.testing.assert_array_equal(pairs, labels[:, None] == labels[None])


def test_pseudo_classes_of_almost_nothing() -> None:
    assert pseudo_classes(np.ones((1, 4))).tolist() == [0]
    assert len(pseudo_classes(np.eye(4)[:2])) == 2


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_nearest_matches_a_sort(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(classes, "_BLOCK", block)
    rows, _ = clusters(6, 4, 0.6)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines, found = nearest(units, 3)
    for row, (values, places) in enumerate(zip(cosines, found, strict=True)):
        scores = units @ units[row]
        expected = [one for one in np.argsort(-scores, kind="stable") if one != row][:3]
        assert places.tolist() == expected
        np.testing.assert_allclose(values, scores[expected])
