from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bitface.analysis.occlusion import FEWEST, occlusion, regions

Cover = Callable[[np.ndarray, np.random.Generator], None]


def face(rng: np.random.Generator) -> np.ndarray:
    """A drawing of a face where alignment puts it, uint8 RGB: skin, hair, brows, eyes, nose, mouth, light, noise."""
    image = np.full((112, 112, 3), rng.uniform(90, 200), np.float32)
    dark = float(image[0, 0, 0]) * rng.uniform(0.2, 0.6)

    def grey(value: float) -> list[float]:
        return [float(value)] * 3

    def place(x: float, y: float) -> tuple[int, int]:
        return round(x + rng.normal(0, 1)), round(y + rng.normal(0, 1))

    cv2.ellipse(image, place(56, -2), (50, round(rng.uniform(20, 34))), 0, 0, 360, grey(dark * 0.8), -1)
    for x in (38, 73):
        cv2.ellipse(image, place(x, 43), (11, 2), 0, 0, 360, grey(dark), -1)
        cv2.ellipse(image, place(x, 52), (8, 4), 0, 0, 360, grey(230.0), -1)
        cv2.circle(image, place(x, 52), 3, grey(dark * 0.5), -1)
    cv2.ellipse(image, place(56, 72), (7, 3), 0, 0, 180, grey(dark * 1.2), 1)
    smile = round(rng.uniform(3, 8))
    cv2.ellipse(image, place(56, 90), (16, smile), 0, 0, 180, grey(dark), -1)
    slope = rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, 112, dtype=np.float32)[None, :, None] + 1
    lit = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5)) * slope + rng.normal(0, 3, image.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def bar(image: np.ndarray, _: np.random.Generator) -> None:
    image[42:62, 10:102] = 0


def glasses(image: np.ndarray, rng: np.random.Generator) -> None:
    image[40:64, 20:53] = image[40:64, 59:92] = rng.integers(5, 60)


def one_eye(image: np.ndarray, rng: np.random.Generator) -> None:
    image[30:70, 58:112] = rng.integers(0, 255, 3)


def mask(image: np.ndarray, rng: np.random.Generator) -> None:
    fall = np.linspace(0, rng.uniform(-60, 60), 40)[:, None, None]
    image[72:, 16:96] = np.clip(rng.uniform(100, 200, 3) + fall, 0, 255)


def speckled(image: np.ndarray, rng: np.random.Generator) -> None:
    image[72:, 16:96] = rng.integers(0, 255, (40, 80, 1))


COVERS = [bar, glasses, one_eye, mask, speckled]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([face(rng) for _ in range(300)])


def below(images: np.ndarray, cover: Cover, covered: np.ndarray) -> np.ndarray:
    """For each covered face of a set, the share of the uncovered ones that look as covered or more."""
    rng, images = np.random.default_rng(1), images.copy()
    for row in covered:
        cover(images[row], rng)
    found = occlusion(regions(images))
    assert found is not None
    others = np.delete(found, covered)
    return np.array([(others >= found[row]).mean() for row in covered])


@pytest.mark.parametrize("cover", COVERS)
def test_covered_faces_stand_out(faces: np.ndarray, cover: Cover) -> None:
    assert below(faces, cover, np.arange(0, 300, 20)).max() <= 0.01


@pytest.mark.parametrize("cover", [glasses, mask])
def test_one_or_many_covered_faces_stand_out(faces: np.ndarray, cover: Cover) -> None:
    assert below(faces, cover, np.array([7])).max() <= 0.01
    assert below(faces, cover, np.arange(0, 300, 3)).max() <= 0.01


def test_shares_of_common_patterns(faces: np.ndarray) -> None:
    found = occlusion(regions(faces))
    assert found is not None
    assert 0 <= found.min() < found.max() <= 1
    # By least squares on everything at once: a trend, and patterns of what it leaves.
    lowest = np.ones(300)
    for part in regions(faces).transpose(1, 0, 2).astype(np.float64):
        y, x = np.mgrid[:10, :12]
        trend = np.column_stack([np.ones(120), x.ravel(), y.ravel()])
        rest = part - (trend @ np.linalg.lstsq(trend, part.T, rcond=None)[0]).T
        unit = rest / np.linalg.norm(rest, axis=1, keepdims=True)
        patterns = np.linalg.svd(unit)[2][:3]
        lowest = np.minimum(lowest, ((unit @ patterns.T) ** 2).sum(1))
    np.testing.assert_allclose(found, 1 - lowest, atol=1e-6)


def test_light_alone_covers_nothing(faces: np.ndarray) -> None:
    plain = occlusion(regions(faces))
    brighter = occlusion(regions((faces * 0.7 + 40).astype(np.uint8)))
    assert plain is not None
    assert brighter is not None
    assert np.abs(plain - brighter).max() < 0.02


@pytest.mark.parametrize("size", [(224, 224), (112, 96), (16, 16), (3, 5), (112, 4)])
def test_crops_of_other_sizes(faces: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    if size == (112, 96):  # as 112x112, without 8 columns at both sides
        other = faces[:, :, 8:104]
    else:
        other = np.array([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in faces])
    found, whole = occlusion(regions(other)), occlusion(regions(faces))
    assert found is not None
    assert np.isfinite(found).all()
    if size == (112, 96):
        np.testing.assert_array_equal(found, whole)
    if size == (224, 224):
        assert np.corrcoef(found, np.asarray(whole))[0, 1] > 0.95


def test_few_or_black_faces() -> None:
    assert occlusion(regions(np.zeros((FEWEST - 1, 112, 112, 3), np.uint8))) is None
    assert occlusion(np.zeros((0, 3, 120), np.float32)) is None
    np.testing.assert_array_equal(occlusion(regions(np.zeros((FEWEST, 112, 112, 3), np.uint8))), np.ones(FEWEST))


@pytest.mark.data
@pytest.mark.parametrize("cover", COVERS)
def test_covers_on_real_faces(data_dir: Path, cover: Cover) -> None:
    files = sorted((data_dir / "lfw" / "images").glob("*/*.jpg"))[::20]
    images = np.array([np.asarray(Image.open(file).convert("RGB")) for file in files])
    assert np.quantile(below(images, cover, np.arange(0, len(images), 20)), 0.9) <= 0.03
