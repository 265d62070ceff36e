"""Simple conditions of a face crop, to be asked whether the faces that went wrong share one."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

NAMES = ("sharpness", "brightness", "contrast", "asymmetry")
# What each measures, and what it tells.
WORDS = {
    "sharpness": "variance of the Laplacian; low: blurred",
    "brightness": "mean grey value, 0 to 255",
    "contrast": "standard deviation of the grey values",
    "asymmetry": "difference between the face and its mirror image, over the contrast; high: turned or side-lit",
    "occlusion": "how little of an eye or the mouth is as most faces have it, 0 to 1; high: covered, or unusual",
    "pixels": "pixels of the image file; low: enlarged",
}
_FEWEST = 5


@dataclass(frozen=True)
class Shared:
    """One condition over the faces of flipped decisions and over the others.

    Attributes:
        flipped, all: its means over the faces of flipped decisions, and over all faces.
        p: of the two-sided rank test of flipped against other faces (Mann and Whitney 1947), the faces taken to be
            independent; None for fewer than five faces on one side.
    """

    name: str
    flipped: float
    all: float
    p: float | None
    faces: int


def conditions(images: np.ndarray) -> np.ndarray:
    """The conditions `NAMES` of face crops, uint8 RGB `[N, H, W, 3]`: float64 `[N, 4]`."""
    return np.array([_of(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in images]).reshape(-1, len(NAMES))


def _of(grey: np.ndarray) -> tuple[float, ...]:
    values = grey.astype(np.float64)
    contrast = values.std()
    # Coarse, so that it is the face's halves that differ and not the noise.
    coarse = cv2.resize(values, (16, 16), interpolation=cv2.INTER_AREA)
    asymmetry = np.abs(coarse - coarse[:, ::-1]).mean() / max(contrast, 1.0)
    return float(cv2.Laplacian(values, cv2.CV_64F).var()), float(values.mean()), float(contrast), float(asymmetry)


def shared(values: Mapping[str, np.ndarray], flipped: np.ndarray) -> list[Shared]:
    """Each condition of the flipped faces beside that of all, the most telling first; constants are left out.

    Args:
        values: of each condition, `[N]`.
        flipped: bool `[N]`.
    """
    from scipy.stats import mannwhitneyu  # takes a second, and every command reads this file for its page

    conditions = []
    for name, column in values.items():
        if np.ptp(column) == 0 or not flipped.any():
            continue
        enough = min(flipped.sum(), (~flipped).sum()) >= _FEWEST
        p = float(mannwhitneyu(column[flipped], column[~flipped]).pvalue) if enough else None
        conditions.append(Shared(name, float(column[flipped].mean()), float(column.mean()), p, int(flipped.sum())))
    return sorted(conditions, key=lambda one: 1.0 if one.p is None else one.p)
