import cv2
import numpy as np
import pytest
from scipy.stats import rankdata

from bitface.analysis.conditions import NAMES, conditions, shared


def face() -> np.ndarray:
    """A smooth picture that is its own mirror image, uint8 RGB."""
    half = np.random.default_rng(0).integers(40, 200, (28, 14), dtype=np.uint8)
    grey = cv2.resize(np.hstack([half, half[:, ::-1]]), (112, 112), interpolation=cv2.INTER_CUBIC)
    return np.repeat(grey[:, :, None], 3, 2)


def of(image: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, conditions(image[None])[0], strict=True))


def test_each_condition_answers_to_its_cause_alone() -> None:
    plain = of(face())
    blurred = of(cv2.GaussianBlur(face(), (0, 0), 2))
    assert blurred["sharpness"] < plain["sharpness"] / 5
    brighter = of(face() + 30)
    assert brighter["brightness"] == pytest.approx(plain["brightness"] + 30, abs=1e-6)
    assert brighter["contrast"] == pytest.approx(plain["contrast"])
    assert of(face() // 2)["contrast"] == pytest.approx(plain["contrast"] / 2, rel=0.02)
    lit = np.clip(face() * np.linspace(0.3, 1.2, 112)[None, :, None], 0, 255).astype(np.uint8)
    assert plain["asymmetry"] < 0.05 < 0.3 < of(lit)["asymmetry"]
    assert of(lit[:, ::-1])["asymmetry"] == pytest.approx(of(lit)["asymmetry"], rel=0.01)


def test_black_images_have_finite_conditions() -> None:
    assert np.isfinite(conditions(np.zeros((2, 112, 112, 3), np.uint8))).all()


def test_the_rank_test_matches_its_normal_form() -> None:
    rng = np.random.default_rng(1)
    flipped = np.arange(200) < 60
    values = {"a": rng.normal(size=200) + flipped, "b": rng.normal(size=200), "constant": np.ones(200)}
    first, second = shared(values, flipped)
    assert (first.name, second.name) == ("a", "b")
    assert first.flipped == pytest.approx(values["a"][:60].mean())
    assert first.all == pytest.approx(values["a"].mean())
    ranks = rankdata(values["a"])[:60].sum() - 60 * 61 / 2
    z = (ranks - 60 * 140 / 2) / np.sqrt(60 * 140 * 201 / 12)
    assert first.p is not None
    assert first.p == pytest.approx(2 * normal_tail(abs(z)), rel=0.05)
    assert first.p < 1e-6 < 0.01 < (second.p or 0)


def normal_tail(z: float) -> float:
    from math import erfc, sqrt

    return erfc(z / sqrt(2)) / 2


def test_few_flipped_faces_have_means_and_no_test() -> None:
    values = {"a": np.arange(10.0)}
    (found,) = shared(values, np.arange(10) < 2)
    assert (found.flipped, found.all, found.p, found.faces) == (0.5, 4.5, None, 2)
    assert shared(values, np.zeros(10, bool)) == []
