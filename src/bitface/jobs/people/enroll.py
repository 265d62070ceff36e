"""`bitface enroll`: faces into a gallery file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface.data.face_source import FaceSource
from bitface.data.faces import check_skipped, find_images
from bitface.evaluation.gallery import Origin, enrolled, write_gallery
from bitface.evaluation.lists.pairs import identity_of
from bitface.files import path_fields
from bitface.inputs.embeddings import differences, embed, prepare
from bitface.preprocess import Size
from bitface.progress import Steps, silent


@dataclass(frozen=True)
@path_fields
class EnrollRequest:
    """Whose faces to embed with what; the options of `bitface enroll`.

    Attributes:
        source: folders of aligned crops, one folder for each person.
        out: the gallery file.
        int8: a quarter of the bytes.
        flip: adds the mirrored image's embedding.
    """

    model: Path
    source: FaceSource
    out: Path
    int8: bool = False
    flip: bool = False
    engine: str | None = None
    threads: int | None = None
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None


def enroll(request: EnrollRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes a gallery of aligned crops, named by their folders (by their file's name where they lie in none).

    Returns:
        The counts, and the file's bytes.

    Raises:
        BitfaceError: the model or more than 1 % of the images can't be used, or an image has no embedding.
    """
    files = find_images(request.source.images, request.source.image_list)
    ready = prepare(
        request.model, files, request.engine, request.threads, request.preprocess, request.size, output=request.output
    )
    embeddings, skipped = embed(ready.embedder, files, request.flip, True, steps("embedding"))
    check_skipped(skipped, len(files), request.source.allow_skipped)
    names = [identity_of(file.relative) or Path(file.relative).stem for file in files]
    good = [bool(one) for one in (embeddings.valid if embeddings.valid is not None else [True] * len(files))]
    gallery = enrolled(
        embeddings.values[good],
        [name for name, usable in zip(names, good, strict=True) if usable],
        Origin(
            embeddings.fingerprint,
            ready.embedder.preprocess.name,
            request.flip,
            ready.embedder.engine,
            differences(ready.embedder, files),
            ready.embedder.model.known.size,
        ),
        int8=request.int8,
    )
    size = write_gallery(request.out, gallery)
    return {
        "gallery": str(request.out),
        "images": len(gallery),
        "people": len(set(gallery.ids)),
        "precision": gallery.precision,
        "bytes": size,
        "fingerprint": gallery.fingerprint,
        "engine": gallery.engine,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "notes": list(ready.notes),
        "warnings": list(ready.warnings),
    }
