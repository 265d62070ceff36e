import numpy as np
import pytest

from bitface.analysis import maps as module
from bitface.analysis.maps import chosen_rows, maps, neighbourhoods


def units(people: int, each: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    rows = rng.normal(size=(people, 16))[labels] + spread * rng.normal(size=(people * each, 16))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def test_the_students_map_has_the_teachers_layout() -> None:
    teacher, labels = units(6, 8, 0.3)
    student = teacher + 0.02 * np.random.default_rng(1).normal(size=teacher.shape)
    drawn = maps(teacher, student, labels)
    assert drawn.rows.tolist() == list(range(48))
    for axis in range(2):
        assert np.corrcoef(drawn.teacher[:, axis], drawn.student[:, axis])[0, 1] > 0.9
    again = maps(teacher, student, labels)
    np.testing.assert_array_equal(drawn.student, again.student)


def test_too_few_faces_for_a_map() -> None:
    teacher, labels = units(2, 2, 0.1)
    drawn = maps(teacher, teacher, labels)
    assert len(drawn.rows) == len(drawn.teacher) == 0
    assert neighbourhoods(teacher, teacher, drawn.rows) is None


def test_many_faces_are_drawn_from_whole_classes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MAPPED", 20)
    labels = np.repeat(np.arange(10), 5)
    rows = chosen_rows(50, labels, seed=1)
    assert len(rows) == len(set(rows)) == 20
    assert np.bincount(labels[rows], minlength=10).tolist().count(5) == 4
    assert len(set(chosen_rows(50, None, seed=1))) == 20
    assert chosen_rows(20, labels).tolist() == list(range(20))


def test_neighbours_kept_match_a_loop() -> None:
    teacher, _ = units(5, 6, 0.5)
    student, _ = units(5, 6, 0.5, seed=4)
    student = 0.6 * teacher + 0.4 * student
    student /= np.linalg.norm(student, axis=1, keepdims=True)
    found = neighbourhoods(teacher, student, np.arange(30))
    assert found is not None
    shares = []
    for row in range(30):
        before, after = (np.argsort(-(side @ side[row])).tolist() for side in (teacher, student))
        # The nearest of all is the face itself.
        shares.append(len(set(before[1:11]) & set(after[1:11])) / 10)
    assert (found.k, found.faces) == (10, 30)
    assert found.kept == pytest.approx(np.mean(shares))
    assert found.lowest == pytest.approx(np.quantile(shares, 0.1))
    assert 0.5 < found.trustworthiness < 1


def test_a_student_that_is_its_teacher_keeps_all_of_them() -> None:
    teacher, _ = units(5, 6, 0.5)
    found = neighbourhoods(teacher, teacher, np.arange(30))
    assert found is not None
    assert (found.kept, found.lowest) == (1, 1)
    assert found.trustworthiness == pytest.approx(1)
