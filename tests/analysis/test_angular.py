"""The angular errors against angles written out by hand, in the plane."""

import math

import numpy as np
import pytest

from bitface.analysis.angular import dissect, rotation_is_meant, without_rotation


def at(*degrees: float) -> np.ndarray:
    """Points of the unit circle."""
    return np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees], np.float32)


def test_a_class_that_turns_as_a_whole_has_no_individual_error() -> None:
    errors = dissect(at(0, 10, 90, 120), 3 * at(25, 35, 75, 105), np.array([0, 0, 1, 1])).means()
    assert errors == pytest.approx({"face": 20, "class": 20, "individual": 0, "individual vector": 0}, abs=1e-3)


def test_faces_that_leave_their_class_do() -> None:
    # The centre stays at 0; both faces turn by 10 degrees, in opposite directions.
    errors = dissect(at(-5, 5), at(-15, 15), np.array([0, 0])).means()
    assert errors == pytest.approx({"face": 10, "class": 0, "individual": 10, "individual vector": 10}, abs=1e-3)


def test_means_go_over_faces_of_all_classes() -> None:
    # Class and faces all turn by 20 degrees, the second class's face against its own class.
    teacher, student = at(0, 40, 100, 140), at(20, 60, 120, 160)
    swapped = student.copy()
    swapped[[0, 1]] = at(-20, 60)
    scalar = dissect(teacher, swapped, np.array([0, 0, 1, 1])).means()
    # Class 0: faces turn by 20 each, its centre (at 20) stays: 20 individual; class 1: none.
    assert scalar == pytest.approx({"face": 20, "class": 10, "individual": 10, "individual vector": 10}, abs=1e-3)


def random_faces(classes: int, each: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return rng.normal(size=(classes, size))[labels] + 0.4 * rng.normal(size=(classes * each, size)), labels


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_a_student_that_is_its_teacher_has_no_error() -> None:
    teacher, labels = random_faces(6, 5, 8)
    errors = dissect(teacher, teacher, labels)
    for angles in (errors.face, errors.per_class, errors.scalar, errors.vector):
        assert angles.max() == pytest.approx(0, abs=1e-9)


def test_lengths_dont_count() -> None:
    teacher, labels = random_faces(6, 5, 8)
    lengths = np.random.default_rng(1).uniform(0.1, 9, (30, 1))
    assert dissect(teacher, lengths * teacher, labels).means()["face"] == pytest.approx(0, abs=1e-6)


def test_a_rotation_of_everything_is_class_error_alone_and_procrustes_takes_it_out() -> None:
    # A turn by the same angle in every pair of axes: each vector turns by 20 degrees.
    teacher, labels = random_faces(6, 5, 8)
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    turned = teacher @ np.kron(np.eye(4), np.array([[c, s], [-s, c]]))
    means = dissect(teacher, turned, labels).means()
    assert means["face"] == pytest.approx(20)
    assert means["class"] == pytest.approx(20)
    assert means["individual"] == pytest.approx(0, abs=1e-9)
    after = dissect(teacher, without_rotation(teacher, turned), labels).means()
    assert after == pytest.approx(dict.fromkeys(after, 0), abs=1e-6)


def test_any_rotation_is_taken_out_and_no_similarity_changes() -> None:
    teacher, labels = random_faces(6, 5, 8)
    student = teacher @ rotation(8) + 0.1 * np.random.default_rng(2).normal(size=teacher.shape)
    assert dissect(teacher, student, labels).means()["face"] > 40
    aligned = without_rotation(teacher, student)
    assert dissect(teacher, aligned, labels).means()["face"] < 10
    units = student / np.linalg.norm(student, axis=1, keepdims=True)
    np.testing.assert_allclose(aligned @ aligned.T, units @ units.T, atol=1e-9)
    # What is left can't be turned nearer still.
    np.testing.assert_allclose(without_rotation(teacher, aligned), aligned, atol=1e-9)


def test_noise_that_leaves_the_centres_is_individual_alone_in_the_vector_form() -> None:
    # Around each of four axes two faces lie opposite each other, and move about the axis: the centres stay.
    axes, across = np.eye(8)[:4], np.eye(8)[4:]
    teacher = np.concatenate([axes + 0.3 * across, axes - 0.3 * across])
    moved = np.roll(across, 1, 0)
    student = np.concatenate([axes + 0.3 * moved, axes - 0.3 * moved])
    errors = dissect(teacher, student, np.tile(np.arange(4), 2))
    assert errors.per_class == pytest.approx(np.zeros(4), abs=1e-9)
    assert errors.vector == pytest.approx(errors.face)
    assert errors.vector.min() > 10


def test_the_papers_form_cancels_where_a_face_turns_as_much_as_its_class_but_elsewhere() -> None:
    # The class turns by 10 degrees in the plane; its middle face stays in the middle, yet leaves the plane's turn:
    # it turns by 10 degrees out of it.
    def point(longitude: float, latitude: float) -> list[float]:
        a, b = math.radians(longitude), math.radians(latitude)
        return [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)]

    teacher = np.array([point(0, 0), point(0, 20), point(0, -20)])
    student = np.array([point(0, 10), point(10, 20), point(20, -30)])
    errors = dissect(teacher, student, np.zeros(3, np.int64))
    centre = errors.per_class[0]
    assert errors.face[0] == pytest.approx(10)
    assert errors.scalar[0] == pytest.approx(abs(10 - centre), abs=1e-6)
    assert errors.scalar[0] < 2 < 10 < errors.vector[0]


def test_lonely_faces_count_in_a_qe_only() -> None:
    teacher, student = at(0, 10, 90), at(25, 35, 130)
    errors = dissect(teacher, student, np.array([0, 0, 1]))
    assert errors.alone.tolist() == [False, False, True]
    assert errors.means() == pytest.approx({"face": 30, "class": 25, "individual": 0, "individual vector": 0}, abs=1e-3)
    assert set(dissect(teacher, student, np.arange(3)).means()) == {"face"}


def test_too_few_faces_fix_no_rotation() -> None:
    teacher, _ = random_faces(2, 4, 8)
    assert not rotation_is_meant(teacher)
    with pytest.raises(ValueError, match="8 faces"):
        without_rotation(teacher, teacher)
