"""Alignment against slow, obvious solutions of the same problem."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bitface.data.align import CROP, TEMPLATE, FaceAligner, crop_face, similarity, template
from bitface.data.assets import fetch
from bitface.data.synthetic import make_faces
from bitface.errors import BitfaceError


def random_similarity(random: np.random.Generator) -> np.ndarray:
    angle, scale = random.uniform(-np.pi, np.pi), np.exp(random.uniform(-2, 2))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    x, y = random.uniform(-300, 300, 2)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The published solution by singular value decomposition, for any dimension."""
    a, b = source - source.mean(0), target - target.mean(0)
    left, singular, right = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / (a**2).sum(1).mean()
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.hstack([scale * rotation, shift[:, None]])


@pytest.mark.parametrize("seed", range(50))
def test_similarities_are_recovered(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = random_similarity(random)
    source = TEMPLATE + random.normal(0, 3, TEMPLATE.shape)
    np.testing.assert_allclose(similarity(source, apply(matrix, source)), matrix, atol=1e-4)


@pytest.mark.parametrize("seed", range(50))
def test_noisy_points_give_what_umeyama_and_least_squares_give(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 9))
    source = random.normal(0, 30, (count, 2))
    target = apply(random_similarity(random), source) + random.normal(0, 5, (count, 2))
    found = similarity(source, target)
    rows = [row for x, y in source for row in ((x, -y, 1, 0), (y, x, 0, 1))]
    (a, b, x, y), *_ = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)
    np.testing.assert_allclose(found, [[a, -b, x], [b, a, y]], atol=1e-8)
    np.testing.assert_allclose(found, umeyama(source, target), atol=1e-8)


def test_points_that_fit_nothing() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)), TEMPLATE)
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.full((5, 2), np.nan), TEMPLATE)
    with pytest.raises(ValueError, match=r"\[K, 2\]"):
        similarity(np.ones((4, 2)), TEMPLATE)


def spotted(points: np.ndarray, shape: tuple[int, int], width: float) -> np.ndarray:
    down, right = np.mgrid[: shape[0], : shape[1]]
    image = sum(np.exp(-((right - x) ** 2 + (down - y) ** 2) / (2 * width**2)) for x, y in points)
    return np.repeat(np.round(255 * np.clip(image, 0, 1))[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize(("scale", "angle"), [(0.6, 0.3), (1.0, 0.0), (1.7, -0.4), (3.3, 0.2), (7.5, -0.1)])
def test_landmarks_fall_on_the_template(scale: float, angle: float) -> None:
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle), 30], [np.sin(angle), np.cos(angle), 40]])
    landmarks = apply(matrix, TEMPLATE)
    crop = crop_face(spotted(landmarks, (1250, 1250), 2 * scale), landmarks)
    assert crop.shape == (CROP, CROP, 3)
    assert crop.dtype == np.uint8
    for x, y in TEMPLATE:
        window = crop[int(y) - 7 : int(y) + 8, int(x) - 7 : int(x) + 8, 0].astype(float)
        down, right = np.mgrid[int(y) - 7 : int(y) + 8, int(x) - 7 : int(x) + 8]
        centre = (window * right).sum() / window.sum(), (window * down).sum() / window.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.1)


@pytest.mark.parametrize("size", [(112, 96), (128, 128), (224, 224), (64, 48)])
def test_crops_of_other_sizes(size: tuple[int, int]) -> None:
    """What is drawn at 112x112 and scaled, or cut off at both sides, lies where the template of the size has it."""
    points = template(size)
    image = spotted(TEMPLATE * 4 + 100, (600, 700), 8)
    crop = crop_face(image, TEMPLATE * 4 + 100, size)
    assert crop.shape == (*size, 3)
    down, right = np.mgrid[: size[0], : size[1]]
    for x, y in points:
        near = np.hypot(right - x, down - y) < size[0] / 14
        window = crop[..., 0].astype(float) * near
        centre = (window * right).sum() / window.sum(), (window * down).sum() / window.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.25)


def test_sizes_that_others_cut() -> None:
    np.testing.assert_array_equal(template((CROP, CROP)), TEMPLATE)
    sphereface = [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
    np.testing.assert_allclose(template((112, 96)), sphereface)
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_face(image, TEMPLATE, (112, 96)), image[:, 8:-8])


def test_large_faces_are_averaged_not_sampled() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (1120, 1120, 1), dtype=np.uint8).repeat(3, 2) * 255
    assert crop_face(noise, TEMPLATE * 10)[:100, :100].std() < 30


def test_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match="no such file"):
        FaceAligner(tmp_path / "missing.onnx")
    (tmp_path / "wrong.onnx").write_bytes(b"no network")
    with pytest.raises(BitfaceError, match="not a YuNet"):
        FaceAligner(tmp_path / "wrong.onnx")


@pytest.mark.assets
def test_faces_are_found_at_any_scale(capfd: pytest.CaptureFixture[str]) -> None:
    aligner = FaceAligner(fetch("yunet"))
    assert capfd.readouterr().err == ""
    small, large = make_faces(2, seed=3).images
    photo: np.ndarray = np.full((600, 500, 3), 128, np.uint8)
    photo[20:132, 30:142] = small
    photo[250:474, 200:424] = cv2.resize(large, (224, 224))
    photo = cv2.copyMakeBorder(photo, 0, 0, 0, 300, cv2.BORDER_REPLICATE)
    reference = aligner.align(photo)
    assert reference is not None
    assert reference.landmarks.min() > 200  # the larger one
    assert reference.faces == 2
    x, y, width, height = reference.box
    assert ((reference.landmarks > (x, y)) & (reference.landmarks < (x + width, y + height))).all()
    for scale in (0.7, 2.5, 5):
        resized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        face = aligner.align(resized)
        assert face is not None
        assert 0.6 <= face.score <= 1
        np.testing.assert_allclose(np.array(face.box) / scale, reference.box, atol=12)
        np.testing.assert_allclose(face.landmarks / scale, reference.landmarks, atol=12)
        assert np.abs(face.crop.astype(int) - reference.crop).mean() < 20


@pytest.mark.assets
@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (33, 17), (300, 300)])
def test_no_face_is_none(shape: tuple[int, int]) -> None:
    assert FaceAligner(fetch("yunet")).align(np.full((*shape, 3), 90, np.uint8)) is None
