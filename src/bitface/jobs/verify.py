"""`bitface verify`: are these two photographs of one person? Answered by a threshold that the artifact holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.align import FaceAligner
from bitface.data.assets import fetch
from bitface.data.images import ImageSkipped, read_image
from bitface.errors import BitfaceError
from bitface.evaluation import row_scores, unit_rows
from bitface.evaluation.thresholds import nearest_threshold
from bitface.jobs.embed import about_engine
from bitface.runtime import Embedder, open_model
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.exact import trusted


@dataclass(frozen=True)
class Photograph:
    """A photograph that was aligned, by the largest face in it: `found` faces, and the box of the one taken."""

    path: Path
    found: int
    box: tuple[int, int, int, int]

    @property
    def note(self) -> str:
        """What whoever meant another face must know."""
        if self.found == 1:
            return f"{self.path}: aligned by the face found in it"
        x, y, width, height = self.box
        return (
            f"{self.path}: {self.found} faces are found in it; the largest is taken, {width}x{height} pixels from "
            f"({x}, {y}); cut the photograph to another one that is meant"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"image": str(self.path), "found": self.found, "box": list(self.box)}


def verify_images(first: Path, second: Path, model_path: Path, far: float) -> dict[str, Any]:
    """Whether two photographs show one person.

    An image of the network's own size counts as an aligned crop; in any other the largest face is found and aligned.
    The mirrored image and, where it is exact on this CPU, the engine are those with which the threshold was found.

    Returns:
        `same`, `similarity`, `threshold` and the stored facts of the threshold; `engine`, which computed, and
        `found_on`, with which the threshold was found; `aligned`: the images that were, and `faces`: of each of them
        how many were found and which was taken; `notes` and `warnings`.

    Raises:
        BitfaceError: the model holds no threshold for this FAR, an image can't be read, or shows no face.
    """
    model = open_model(model_path)
    if model.details is None:
        raise BitfaceError(f"{model_path}: no .bitface file; thresholds are kept in those (see bitface calibrate)")
    stored = nearest_threshold(model.details.thresholds, far)
    crops, aligned = face_crops([first, second], model.network.size)
    embedder = Embedder(model, trusted(model, stored.get("engine")))
    notes, warnings = about_engine(embedder)
    origin = other_engine(stored.get("engine"), embedder.engine, stored.get("engines", {}), "the threshold")
    unit, usable = unit_rows(embedder.embed(crops, bool(stored.get("flip", False))))
    if not usable.all():
        raise BitfaceError(f"{model_path}: gives no usable embedding of {(first, second)[int(np.argmin(usable))]}")
    similarity = float(row_scores(unit, usable, [0], [1])[0])
    return {
        "same": similarity >= stored["threshold"],
        "similarity": similarity,
        **stored,
        "engine": embedder.engine,
        "found_on": stored.get("engine"),
        "images": [str(first), str(second)],
        "aligned": [str(one.path) for one in aligned],
        "faces": [one.to_json() for one in aligned],
        "notes": [*(one.note for one in aligned), *([origin] if origin else []), *notes],
        "warnings": warnings,
    }


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
            aligner = aligner or FaceAligner(fetch("yunet"))
            found = aligner.align(image)
            if found is None:
                raise BitfaceError(f"{path}: no face is found; give a photograph of one, or an aligned crop of it")
            image = found.crop
            aligned.append(Photograph(path, found.found, found.box))
        if image.shape[:2] != size:
            raise BitfaceError(
                f"{path}: the aligner makes crops of {image.shape[1]}x{image.shape[0]}, the network takes "
                f"{size[1]}x{size[0]}; give an aligned crop of that size"
            )
        crops.append(image)
    return np.stack(crops), aligned
