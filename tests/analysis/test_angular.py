"""The angular errors against angles written out by hand, in the plane."""

import math

import numpy as np
import pytest

from bitface.analysis.angular import angular_errors


def at(*degrees: float) -> np.ndarray:
    """Points of the unit circle."""
    return np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees], np.float32)


def test_a_class_that_turns_as_a_whole_has_no_individual_error() -> None:
    errors = angular_errors(at(0, 10, 90, 120), 3 * at(25, 35, 75, 105), np.array([0, 0, 1, 1]))
    assert errors == pytest.approx({"face": 20, "class": 20, "individual": 0, "individual vector": 0}, abs=1e-3)


def test_faces_that_leave_their_class_do() -> None:
    # The centre stays at 0; both faces turn by 10 degrees, in opposite directions.
    errors = angular_errors(at(-5, 5), at(-15, 15), np.array([0, 0]))
    assert errors == pytest.approx({"face": 10, "class": 0, "individual": 10, "individual vector": 10}, abs=1e-3)


def test_means_go_over_faces_of_all_classes() -> None:
    # Class and faces all turn by 20 degrees, the second class's face against its own class.
    teacher, student = at(0, 40, 100, 140), at(20, 60, 120, 160)
    swapped = student.copy()
    swapped[[0, 1]] = at(-20, 60)
    scalar = angular_errors(teacher, swapped, np.array([0, 0, 1, 1]))
    # Class 0: faces turn by 20 each, its centre (at 20) stays: 20 individual; class 1: none.
    assert scalar == pytest.approx({"face": 20, "class": 10, "individual": 10, "individual vector": 10}, abs=1e-3)
