"""`bitface enroll`: faces into a gallery file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.data.faces import check_skipped, find_images
from bitface.evaluation.gallery import Origin, enrolled, write_gallery
from bitface.evaluation.lists.pairs import identity_of
from bitface.inputs.embeddings import differences, embed, prepare
from bitface.preprocess import Size
from bitface.progress import Steps, silent


def enroll(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    int8: bool = False,
    flip: bool = False,
    engine: str | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    allow_skipped: bool = False,
    steps: Steps = silent,
    size: Size | None = None,
) -> dict[str, Any]:
    """Writes a gallery of aligned crops, named by their folders (by their file's name where they lie in none).

    Returns:
        The counts, and the file's bytes.

    Raises:
        BitfaceError: the model or more than 1 % of the images can't be used, or an image has no embedding.
    """
    files = find_images(images)
    ready = prepare(model, files, engine, threads, preprocess, size)
    found, skipped = embed(ready.embedder, files, flip, True, steps("embedding"))
    check_skipped(skipped, len(files), allow_skipped)
    names = [identity_of(file.relative) or Path(file.relative).stem for file in files]
    good = [bool(one) for one in (found.valid if found.valid is not None else [True] * len(files))]
    gallery = enrolled(
        found.values[good],
        [name for name, usable in zip(names, good, strict=True) if usable],
        Origin(
            found.fingerprint,
            ready.embedder.preprocess.name,
            flip,
            ready.embedder.engine,
            differences(ready.embedder, files),
            ready.embedder.model.network.size,
        ),
        int8=int8,
    )
    written = write_gallery(out, gallery)
    return {
        "gallery": str(out),
        "images": len(gallery),
        "people": len(set(gallery.ids)),
        "precision": gallery.precision,
        "bytes": written,
        "fingerprint": gallery.fingerprint,
        "engine": gallery.engine,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "notes": list(ready.notes),
        "warnings": list(ready.warnings),
    }
