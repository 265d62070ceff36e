"""How little the eyes and the mouth of a crop look as they commonly do: a stand-in for occlusion."""

import cv2
import numpy as np

# Top, bottom, left and right of both eyes and the mouth on a crop of 112x112 that is aligned as ArcFace's are. Tight:
# where the rim of a cover is in sight, it passes for a brow or a lip.
_REGIONS = ((42, 62, 26, 51), (42, 62, 61, 86), (82, 104, 36, 76))
_ALIGNED = 112
# Columns and rows that a region is looked at in.
_GRID = (12, 10)
_PATTERNS = 3
# Standard deviation of grey values below which a region counts as flat: camera noise, and what JPEG leaves of it.
_FLAT = 3.0
# With fewer faces, the patterns that are common would be those of single ones.
FEWEST = 30


def regions(images: np.ndarray) -> np.ndarray:
    """Eyes and mouth of face crops, uint8 RGB `[N, H, W, 3]`, as coarse grey values: float32 `[N, 3, 120]`.

    A crop of another height is taken to be aligned in the same way, a narrower one to lack the same at both sides.
    """
    return np.array([_of(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in images], np.float32).reshape(
        -1, len(_REGIONS), _GRID[0] * _GRID[1]
    )


def _of(grey: np.ndarray) -> list[np.ndarray]:
    height, width = grey.shape
    if height != _ALIGNED:
        grey = cv2.resize(grey, (max(1, round(width * _ALIGNED / height)), _ALIGNED), interpolation=cv2.INTER_AREA)
    margin = (_ALIGNED - grey.shape[1]) // 2
    regions = []
    for top, bottom, left, right in _REGIONS:
        columns = np.clip(np.arange(left, right) - margin, 0, grey.shape[1] - 1)
        part = grey[top:bottom, columns].astype(np.float32)
        regions.append(cv2.resize(part, _GRID, interpolation=cv2.INTER_AREA).ravel())
    return regions


def occlusion(parts: np.ndarray) -> np.ndarray | None:
    """How little of a face's least common region the common patterns explain, 0 to 1: float64 `[N]`.

    A region is what is left of its grey values without their linear trend, which light makes; its patterns are the
    first three principal ones of all faces given (Turk and Pentland 1991), and what they explain is a share of its
    energy. Flat regions have none. High: covered, or otherwise unlike most faces.

    Args:
        parts: as `regions` gives them, of at least 30 faces; None for fewer.
    """
    if len(parts) < FEWEST:
        return None
    explained = [_explained(part.astype(np.float64)) for part in parts.transpose(1, 0, 2)]
    result: np.ndarray | None = 1 - np.min(explained, axis=0)
    return result


def _explained(values: np.ndarray) -> np.ndarray:
    """The share of each row's energy that the rows' first principal patterns explain, `[N]` of `[N, P]`."""
    trend = _trend()
    rest = values - values @ trend @ trend.T
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    rows = rest / np.maximum(length, _FLAT * np.sqrt(rest.shape[1]))
    _, patterns = np.linalg.eigh(rows.T @ rows)
    return np.asarray(((rows @ patterns[:, -_PATTERNS:]) ** 2).sum(1))


def _trend() -> np.ndarray:
    """An orthonormal base of constants and slopes on the grid, `[P, 3]`."""
    y, x = np.mgrid[: _GRID[1], : _GRID[0]]
    return np.asarray(np.linalg.qr(np.stack([np.ones(x.size), x.ravel(), y.ravel()], 1).astype(np.float64))[0])
