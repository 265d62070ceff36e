"""`bitface verify`: are these two photographs of one person? Answered by a threshold that the artifact holds."""

from pathlib import Path
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation import row_scores, unit_rows
from bitface.evaluation.figures.thresholds import nearest_threshold
from bitface.inputs.photographs import face_crops
from bitface.runtime import Embedder, open_model
from bitface.runtime.embedder import about_engine
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.exact import trusted


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
    if model.thresholds is None:
        raise BitfaceError(f"{model_path}: no .bitface file; thresholds are kept in those (see bitface calibrate)")
    stored = nearest_threshold(model.thresholds, far)
    crops, aligned = face_crops([first, second], model.known.size)
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
