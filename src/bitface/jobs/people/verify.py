"""`bitface verify`: are these two photographs of one person? Answered by a threshold that the artifact holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitface.errors import BitfaceError, UsageError, option
from bitface.evaluation import row_scores, unit_rows
from bitface.evaluation.figures.thresholds import about_extrapolation, nearest_threshold
from bitface.inputs.photographs import LARGEST, FaceCrop, FaceWord, face_crops, face_word
from bitface.runtime import Embedder, open_model
from bitface.runtime.embedder import about_engine
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.exact import trusted


class Judge:
    """A model and one of its thresholds.

    Attributes:
        stored: the threshold, as the artifact holds it.
        notes, warnings: on the engine that computes, and on the one that the threshold comes from.

    Raises:
        BitfaceError: the model holds no threshold for this FAR.
    """

    def __init__(self, model_path: Path, far: float, engine: str | None = None) -> None:
        self.path, self.model = model_path, open_model(model_path)
        if self.model.thresholds is None:
            raise BitfaceError(f"{model_path}: no .bitface file; thresholds are kept in those (see bitface calibrate)")
        self.stored = nearest_threshold(self.model.thresholds, far)
        self.embedder = Embedder(self.model, engine or trusted(self.model, self.stored.get("engine")))
        notes, self.warnings = about_engine(self.embedder, explicit=engine is not None)
        differences = self.stored.get("engines", {})
        origin = other_engine(self.stored.get("engine"), self.embedder.engine, differences, "the threshold")
        self.notes = [*([origin] if origin else []), *about_extrapolation(self.stored), *notes]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops that it takes."""
        return self.model.known.size

    @property
    def facts(self) -> dict[str, Any]:
        """What decides, for an answer: the threshold with all that is kept of it, and the engine."""
        return {**self.stored, "engine": self.embedder.engine, "found_on": self.stored.get("engine")}

    def embed(self, faces: Sequence[FaceCrop]) -> np.ndarray:
        """The embeddings of crops, `[N, D]`. Raises BitfaceError where one has none that is usable."""
        rows = self.embedder.embed(np.stack([face.crop for face in faces]), bool(self.stored.get("flip", False)))
        usable = unit_rows(rows)[1]
        if not usable.all():
            raise BitfaceError(f"{self.path}: gives no usable embedding of {faces[int(np.argmin(usable))].path}")
        return rows

    def similarities(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of each embedding of the first with each of the second, `[N, M]`."""
        unit, usable = unit_rows(np.concatenate([first, second]))
        left, right = np.indices((len(first), len(second))).reshape(2, -1)
        return row_scores(unit, usable, left, right + len(first)).reshape(len(first), len(second))

    def same(self, similarity: float) -> bool:
        return similarity >= float(self.stored["threshold"])


def verify_images(
    first: Path,
    second: Path,
    model_path: Path,
    far: float,
    face: FaceWord | Sequence[FaceWord] = LARGEST,
    engine: str | None = None,
) -> dict[str, Any]:
    """Whether two photographs show one person.

    An image of the network's own size counts as an aligned crop; in any other faces are found and aligned. The mirrored
    image and, where it is exact on this CPU, the engine are those with which the threshold was found.

    Args:
        face: which of the faces in a photograph: `largest`, a number from the left, or `all`, of which the most similar
            ones decide; of both photographs, or one for each.
        engine: another one than that.

    Returns:
        `same`, `similarity`, `threshold` and the stored facts of the threshold; `engine`, which computed, and
        `found_on`, with which the threshold was found; `aligned`: the images that were, and `faces`: of each of them
        how many were found and which was taken; `notes` and `warnings`.

    Raises:
        NoFace: a photograph shows no face, or not the one that is meant.
        BitfaceError: the model holds no threshold for this FAR, or an image can't be read.
    """
    words = _of_each(face)
    judge = Judge(Path(model_path), far, engine)
    sides = face_crops((Path(first), Path(second)), judge.size, words)
    similarities = judge.similarities(*(judge.embed(side) for side in sides))
    best = np.unravel_index(int(similarities.argmax()), similarities.shape)
    similarity = float(similarities[best])
    faces = [one for side, place in zip(sides, best, strict=True) if (one := side[place].photograph)]
    return {
        "same": judge.same(similarity),
        "similarity": similarity,
        **judge.facts,
        "images": [str(first), str(second)],
        "aligned": [str(one.path) for one in faces],
        "faces": [one.to_json() for one in faces],
        "notes": [*(one.note for one in faces), *of_many(similarities.size), *judge.notes],
        "warnings": judge.warnings,
    }


def _of_each(face: FaceWord | Sequence[FaceWord]) -> list[FaceWord]:
    """The choice in the first photograph and in the second."""
    listed = face.split(",") if isinstance(face, str) else [face] if isinstance(face, int) else list(face)
    words = [face_word(one) for one in listed]
    if len(words) not in (1, 2):
        raise UsageError(f"{option('face')} takes one choice for both photographs, or one for each, such as 2,largest")
    return [words[0], words[-1]]


def of_many(comparisons: int) -> list[str]:
    """What there is to say where the best of so many comparisons decides."""
    if comparisons == 1:
        return []
    return [
        f"the most similar of {comparisons} pairs of faces decides, so strangers are accepted up to {comparisons} "
        "times as often as the FAR says"
    ]
