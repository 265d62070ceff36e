"""`bitface enroll` and `bitface identify`: faces into a gallery file, and who of it a face is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.faces import check_skipped, find_images
from bitface.errors import BitfaceError
from bitface.evaluation.gallery import Gallery, enrolled, read_gallery, write_gallery
from bitface.evaluation.pairs import identity_of
from bitface.evaluation.search import nearest
from bitface.evaluation.thresholds import nearest_threshold
from bitface.jobs.embed import embed, prepare
from bitface.jobs.steps import Steps, silent
from bitface.jobs.verify import face_crops
from bitface.runtime import Embedder, open_model
from bitface.runtime.embedder import Engine


def enroll(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    int8: bool = False,
    flip: bool = False,
    engine: Engine | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    allow_skipped: bool = False,
    steps: Steps = silent,
) -> dict[str, Any]:
    """Writes a gallery of aligned crops, named by their folders (by their file's name where they lie in none).

    Returns:
        The counts, and the file's bytes.

    Raises:
        BitfaceError: the model or more than 1 % of the images can't be used, or an image has no embedding.
    """
    files = find_images(images)
    ready = prepare(model, files, engine, threads, preprocess)
    found, skipped = embed(ready.embedder, files, flip, True, steps("embedding"))
    check_skipped(skipped, len(files), allow_skipped)
    names = [identity_of(file.relative) or Path(file.relative).stem for file in files]
    good = [bool(one) for one in (found.valid if found.valid is not None else [True] * len(files))]
    gallery = enrolled(
        found.values[good],
        [name for name, usable in zip(names, good, strict=True) if usable],
        found.fingerprint,
        ready.embedder.preprocess.name,
        flip,
        int8=int8,
    )
    size = write_gallery(out, gallery)
    return {
        "gallery": str(out),
        "images": len(gallery),
        "people": len(set(gallery.ids)),
        "precision": gallery.precision,
        "bytes": size,
        "fingerprint": gallery.fingerprint,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "notes": list(ready.notes),
        "warnings": list(ready.warnings),
    }


def identify_images(
    probes: Sequence[Path],
    gallery_path: Path,
    model_path: Path,
    *,
    top: int = 5,
    far: float | None = None,
    allow_mixed: bool = False,
    preprocess: str | None = None,
) -> list[dict[str, Any]]:
    """The most similar people of a gallery for each photograph; those that aren't crops are aligned.

    Args:
        far: whoever lies below the model's stored threshold for this rate isn't named.
        allow_mixed: the gallery may be another model's, such as the float network of an integer one.

    Raises:
        BitfaceError, UsageError: the gallery is another model's, a photograph shows no face, the model holds no
            threshold for `far`.
    """
    gallery, model = read_gallery(gallery_path), open_model(model_path, preprocess)
    gallery.check_model(model.network.fingerprint(), allow_mixed)
    least = -1.0
    if far is not None:
        least = float(nearest_threshold(model.details.thresholds if model.details else [], far)["threshold"])
    crops, aligned = face_crops(list(probes), model.network.size)
    embeddings = Embedder(model, batch=min(16, len(crops))).embed(crops, gallery.flip)
    answers = []
    for path, best in zip(probes, _people(gallery, embeddings, top), strict=True):
        if not best:
            raise BitfaceError(f"{model_path}: gives no usable embedding of {path}")
        named = [{"id": name, "similarity": score} for name, score in best.items() if score >= least]
        answers.append({"image": str(path), "aligned": path in aligned, "people": named})
    return answers


def _people(gallery: Gallery, embeddings: np.ndarray, top: int) -> list[dict[str, float]]:
    """The `top` most similar people of each probe with their best image's score; nobody for an unusable embedding."""
    wanted, rows = min(top, len(set(gallery.ids))), 4 * top
    while True:
        # People have several images: more rows are asked for until there are people enough.
        found = nearest(gallery, embeddings, min(rows, len(gallery)))
        people: list[dict[str, float]] = []
        for scores, places in zip(found.scores, found.rows, strict=True):
            best: dict[str, float] = {}
            for score, row in zip(scores, places, strict=True):
                if row >= 0 and len(best) < top:
                    best.setdefault(gallery.ids[int(row)], float(score))
            people.append(best)
        if rows >= len(gallery) or all(len(best) >= wanted or not best for best in people):
            return people
        rows *= 8
