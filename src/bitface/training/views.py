"""What the student sees of a face.

Views depend on the seed and the step alone, so that a resumed training sees the same.

The amounts are those between two photographs that an aligner cuts out, not those of another person: some pixels of
shift, some degrees, exposure; `strong` adds what cameras do (blur, noise, compression) and things that cover faces;
`severe` adds other angles and colours of light and doubles the amounts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

# By the kind of a view: pixels of shift, shares of zoom and degrees; shares of contrast and brightness.
_MOVED = {"mild": (3.0, 0.04, 4.0), "strong": (6.0, 0.08, 10.0), "severe": (12.0, 0.16, 20.0)}
_LIT = {"mild": 0.15, "strong": 0.3, "severe": 0.5}


def view(image: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """One view of a face, uint8 `[H, W, 3]` both. `kind` is one of `settings.VIEWS`."""
    if kind == "none":
        return image
    if random.random() < 0.5:
        image = image[:, ::-1]
    if kind == "flip":
        return image
    image = _moved(image, random, *_MOVED[kind])
    image = _lit(image, random, _LIT[kind])
    if kind == "severe":
        image = _coloured(_seen_aside(image, random, 0.1), random, 0.25)
    if kind != "mild":
        image = _degraded(image, random)
    return image


@dataclass(frozen=True)
class Blending:
    """Which places of a batch are blended with which others: `mixed` bool `[B]`, `partners` and `weights` `[B]`."""

    mixed: np.ndarray
    partners: np.ndarray
    weights: np.ndarray

    @staticmethod
    def of(count: int, share: float, random: np.random.Generator) -> "Blending":
        """Blends a share of the places, half and half on average."""
        mixed, partners = random.random(count) < share, random.permutation(count)
        return Blending(mixed, partners, random.uniform(0.3, 0.7, count))


def blended(views: Mapping[int, np.ndarray], places: np.ndarray, blending: Blending) -> np.ndarray:
    """The views of some places of a batch, blended with those of their partners: uint8 `[B, H, W, 3]`."""
    images = np.stack([views[place] for place in places.tolist()])
    for row in np.flatnonzero(blending.mixed[places]):
        place, weight = int(places[row]), float(blending.weights[places[row]])
        partner = views[int(blending.partners[place])]
        images[row] = cv2.addWeighted(np.ascontiguousarray(views[place]), weight, partner, 1 - weight, 0)
    return images


def _moved(image: np.ndarray, random: np.random.Generator, shift: float, zoom: float, turn: float) -> np.ndarray:
    height, width = image.shape[:2]
    angle, scale = random.uniform(-turn, turn), 1 + random.uniform(-zoom, zoom)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix = matrix + np.pad(random.uniform(-shift, shift, (2, 1)), ((0, 0), (2, 0)))
    return cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _lit(image: np.ndarray, random: np.random.Generator, amount: float) -> np.ndarray:
    contrast, brightness = 1 + random.uniform(-amount, amount), random.uniform(-amount, amount) * 128
    table = np.clip((np.arange(256) - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table)


def _seen_aside(image: np.ndarray, random: np.random.Generator, amount: float) -> np.ndarray:
    """The corners go elsewhere by a share of the sides."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    moves = random.uniform(-amount, amount, (4, 2)) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, (corners + moves).astype(np.float32))
    return cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _coloured(image: np.ndarray, random: np.random.Generator, amount: float) -> np.ndarray:
    """Each channel by itself is brighter or darker."""
    return np.clip(image * random.uniform(1 - amount, 1 + amount, 3), 0, 255).astype(np.uint8)


def _degraded(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    choice = random.random()
    if choice < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 2.0))
    elif choice < 0.3:
        small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif choice < 0.45:
        noise = random.normal(0, random.uniform(2, 10), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    elif choice < 0.6:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    if random.random() < 0.3:
        tall, wide = (int(side * random.uniform(0.15, 0.4)) for side in (height, width))
        top, left = int(random.integers(0, height - tall)), int(random.integers(0, width - wide))
        image = image.copy()
        image[top : top + tall, left : left + wide] = random.integers(0, 256, 3)
    return image
