"""`bitface identify`: who of a gallery a face is."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.figures.results import ALL_PAIRS, LIST, PROBES
from bitface.evaluation.figures.thresholds import about_extrapolation, nearest_threshold
from bitface.evaluation.gallery import Gallery
from bitface.evaluation.gallery_file import GalleryFile, read_gallery
from bitface.evaluation.scores.nearest import nearest
from bitface.inputs.photographs import LARGEST, FaceWord, face_crops
from bitface.runtime import Embedder, Model, ModelFile, open_model
from bitface.runtime.embedder import about_engine
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.exact import trusted

if TYPE_CHECKING:
    from bitface.graph import FreeSize


def identify_images(
    probes: Sequence[Path],
    gallery_file: Path | GalleryFile,
    model_path: Path | ModelFile,
    *,
    top: int = 5,
    far: float | None = None,
    allow_mixed: bool = False,
    face: FaceWord = LARGEST,
    engine: str | None = None,
) -> list[dict[str, Any]]:
    """The most similar people of a gallery for each photograph; those that aren't crops are aligned.

    The engine is the one that made the gallery, where it is exact on this CPU.

    Args:
        gallery_file: with its key where it is encrypted.
        far: whoever lies below the model's stored threshold for this rate isn't named. None: the most similar are
            named however little alike they are, and `thresholds` say at which stored ones the first would be.
        allow_mixed: the gallery may be another model's, such as the float network of an integer one.
        model_path: with what the file doesn't say, see `ModelFile`; a size that nobody says is the gallery's.
        face: which of the faces in a photograph, see `inputs.photographs.face_word`; of `all` each has an answer.
        engine: another one than that of the gallery.

    Returns:
        For each photograph the `people`, `face`: how many were found and which was taken (None: it was a crop), the
        `threshold` that was applied (None: none was), `thresholds`, and `notes`.

    Raises:
        BitfaceError, UsageError: the gallery is another model's, a photograph shows no face, the model holds no
            threshold for `far`.
    """
    file = gallery_file if isinstance(gallery_file, GalleryFile) else GalleryFile(Path(gallery_file))
    secret = file.secret()
    gallery = read_gallery(file.path, secret)
    model = open_model(model_path, choose=lambda: _size_of(gallery))
    gallery.check_model(model.fingerprint, allow_mixed)
    stored = model.thresholds or []
    applied = None if far is None else nearest_threshold(stored, far)
    least = float(applied["threshold"]) if applied else -1.0
    faces = [one for crops in face_crops(probes, model.known.size, [face] * len(probes)) for one in crops]
    embedder = Embedder(model, engine or trusted(model, gallery.engine))
    engine_notes, warnings = about_engine(embedder, explicit=engine is not None)
    origins = [other_engine(gallery.engine, embedder.engine, gallery.engines, "the gallery")]
    if applied:
        origins.append(
            other_engine(applied.get("engine"), embedder.engine, applied.get("engines", {}), "the threshold")
        )
    embeddings = gallery.probes(embedder.embed(np.stack([one.crop for one in faces]), gallery.flip), secret)
    warnings = [*warnings, *file.exposed(secret)]
    common = [*model.known.notes, *filter(None, origins), *engine_notes]
    common += about_extrapolation(applied) if applied else [_unjudged(probes, file, model, stored, face)]
    common += _of_many(applied, len(gallery)) if applied else []
    if any(bool(one.get("flip", False)) != gallery.flip for one in ([applied] if applied else stored)):
        words = ("without", "with") if gallery.flip else ("with", "without")
        common.append(
            f"the thresholds were found {words[0]} mirrored images added, the gallery was made {words[1]}: they don't "
            "fit each other; make one of the two again"
        )
    answers = []
    for one, best in zip(faces, _people(gallery, embeddings, top), strict=True):
        path, photograph = one.path, one.photograph
        if not best:
            raise BitfaceError(f"{model_path}: gives no usable embedding of {path}")
        first, similarity = next(iter(best.items()))
        judged = [] if applied else [{**_facts(one), "holds": similarity >= one["threshold"]} for one in stored]
        answers.append(
            {
                "image": str(path),
                "aligned": photograph is not None,
                "face": photograph.to_json() if photograph else None,
                "people": [{"id": name, "similarity": score} for name, score in best.items() if score >= least],
                "threshold": _facts(applied) if applied else None,
                "thresholds": judged,
                "engine": embedder.engine,
                "notes": [
                    *([photograph.note] if photograph else []),
                    *common,
                    *([f"{path}: {first} ({similarity:.4f}) {_verdict(judged)}"] if judged else []),
                ],
                "warnings": warnings,
            }
        )
    return answers


def _size_of(gallery: Gallery) -> "FreeSize":
    from bitface.graph import ASSUMED, FreeSize

    return FreeSize(gallery.image_size, "the size of the gallery") if gallery.image_size else ASSUMED


def _facts(threshold: dict[str, Any]) -> dict[str, float]:
    mark = {"extrapolated": True} if threshold.get("extrapolated") else {}
    return {key: float(threshold[key]) for key in ("far", "threshold")} | mark


def _of_many(applied: dict[str, Any], images: int) -> list[str]:
    """What there is to say where a threshold for one comparison decides in a whole gallery."""
    if images == 1 or applied.get("protocol") not in (LIST, ALL_PAIRS, PROBES):
        return []
    return [
        f"the threshold is for one comparison, and each face is compared with all {images:,} images of the gallery, so "
        f"strangers are named up to {images:,} times as often as the FAR of {applied['far']:g} says: take one for a "
        "smaller FAR (bitface calibrate)"
    ]


def _unjudged(
    probes: Sequence[Path], gallery: GalleryFile, model: Model, stored: Sequence[dict[str, Any]], face: FaceWord
) -> str:
    """What an answer without a threshold is worth, and the next command."""
    more = " ..." if len(probes) > 1 else ""
    options = ["--gallery", gallery.path, "--model", model.path, *(("--key-file", gallery.key) if gallery.key else ())]
    options += [] if face == LARGEST else ["--face", face]
    first = shlex.join(["bitface", "identify", str(probes[0])])
    again = f"{first}{more} {shlex.join(map(str, options))} --far"
    calibration = shlex.join(["bitface", "calibrate", str(model.path)])
    if stored:
        way = f"name nobody below one: {again} {stored[0]['far']:g}"
    elif model.kind == "artifact":
        way = f"find one ({calibration} --images people/ --far 1e-4), then: {again} 1e-4"
    elif model.thresholds is not None:
        way = "find one for the .bitface file that it was exported from (bitface calibrate), and export that again"
    else:
        way = "only a .bitface file keeps some: make one with bitface quantize, then bitface calibrate"
    return f"no threshold was applied, so strangers are given a name, too; {way}"


def _verdict(judged: Sequence[dict[str, Any]]) -> str:
    """At which thresholds an answer would hold, and at which not."""
    clauses = []
    for holds, words in ((True, "would be named"), (False, "wouldn't be named")):
        points = [
            f"{one['far']:g} (threshold {one['threshold']:.4f}{', extrapolated' if 'extrapolated' in one else ''})"
            for one in judged
            if one["holds"] is holds
        ]
        clauses += [f"{words} at FAR {', '.join(points)}"] if points else []
    return " and ".join(clauses)


def _people(gallery: Gallery, embeddings: np.ndarray, top: int) -> list[dict[str, float]]:
    """The `top` most similar people of each probe with their best image's score; nobody for an unusable embedding."""
    count, rows = min(top, len(set(gallery.ids))), 4 * top
    while True:
        # People have several images: more rows are asked for until there are people enough.
        neighbours = nearest(gallery, embeddings, min(rows, len(gallery)))
        people: list[dict[str, float]] = []
        for scores, places in zip(neighbours.scores, neighbours.rows, strict=True):
            best: dict[str, float] = {}
            for score, row in zip(scores, places, strict=True):
                if row >= 0 and len(best) < top:
                    best.setdefault(gallery.ids[int(row)], float(score))
            people.append(best)
        if rows >= len(gallery) or all(len(best) >= count or not best for best in people):
            return people
        rows *= 8
