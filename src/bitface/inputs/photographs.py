"""Photographs as aligned crops: the largest face of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitface.data.images import ImageSkipped, read_image
from bitface.errors import BitfaceError

if TYPE_CHECKING:
    from bitface.data.align import FaceAligner


@dataclass(frozen=True)
class Photograph:
    """A photograph that was aligned, by the largest face in it: `faces` in it, and the box of the one taken."""

    path: Path
    faces: int
    box: tuple[int, int, int, int]

    @property
    def note(self) -> str:
        """What whoever meant another face must know."""
        if self.faces == 1:
            return f"{self.path}: aligned by the face found in it"
        x, y, width, height = self.box
        return (
            f"{self.path}: {self.faces} faces are found in it; the largest is taken, {width}x{height} pixels from "
            f"({x}, {y}); cut the photograph to another one that is meant"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"image": str(self.path), "found": self.faces, "box": list(self.box)}


def face_crops(paths: list[Path], size: tuple[int, int]) -> tuple[np.ndarray, list[Photograph]]:
    """The faces of photographs as crops, uint8 RGB `[N, H, W, 3]`, and the photographs that had to be aligned.

    Raises:
        BitfaceError: a file that can't be read, a photograph without a face, or one to be aligned for a network of
            another input than the aligner's.
    """
    crops: list[np.ndarray] = []
    aligned: list[Photograph] = []
    aligner: FaceAligner | None = None
    for path in paths:
        try:
            image = read_image(path)
        except ImageSkipped as error:
            raise BitfaceError(f"{path}: {error.reason}") from error
        if image.shape[:2] != size:
            aligner = aligner or _aligner()
            face = aligner.align(image)
            if face is None:
                raise BitfaceError(f"{path}: no face is found; give a photograph of one, or an aligned crop of it")
            image = face.crop
            aligned.append(Photograph(path, face.faces, face.box))
        if image.shape[:2] != size:
            raise BitfaceError(
                f"{path}: the aligner makes crops of {image.shape[1]}x{image.shape[0]}, the network takes "
                f"{size[1]}x{size[0]}; give an aligned crop of that size"
            )
        crops.append(image)
    return np.stack(crops), aligned


def _aligner() -> "FaceAligner":
    from bitface.data.align import FaceAligner  # crops need none
    from bitface.data.assets import fetch

    return FaceAligner(fetch("yunet"))
