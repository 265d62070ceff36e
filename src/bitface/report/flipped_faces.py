"""The faces of the pairs that an analysis shows."""

from typing import Any

import numpy as np

from bitface.data.faces import FaceFile, load_faces
from bitface.report.analysed import SHOWN_PAIRS


def pictures(files: list[FaceFile], found: dict[str, Any] | None, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The crops of the pairs that are shown, of a size (height, width), by path."""
    shown = {path for one in (found["worst"][:SHOWN_PAIRS] if found else []) for path in (one["left"], one["right"])}
    loaded = load_faces([file for file in files if file.relative in shown], size)
    return {file.relative: image for file, image in zip(loaded.files, loaded.images, strict=True)}
