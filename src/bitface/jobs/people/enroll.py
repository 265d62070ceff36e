"""`bitface enroll`: faces into a gallery file."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile, check_skipped, find_images
from bitface.data.labels import ambiguous_names
from bitface.errors import BitfaceError, UsageError, flag
from bitface.evaluation.gallery import Gallery, Origin, enrolled, one_form
from bitface.evaluation.gallery_file import read_gallery
from bitface.files import path_fields
from bitface.inputs.models import differences, prepare
from bitface.jobs.people.gallery import Enrolment
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
        key: a file (see `evaluation.keys`) that encrypts the gallery.
        renewable: turns the embeddings by a rotation of the key, too (see `evaluation.rotation`).
        again: enrols the people of the gallery that `out` names by this model, in the gallery's own form, so that
            `int8`, `flip` and `renewable` are left out; nobody else.
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
    key: Path | None = None
    renewable: bool = False
    again: bool = False


def enroll(request: EnrollRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes a gallery of aligned crops, named by their folders (by their file's name where they lie in none).

    Returns:
        The counts, and the file's bytes; `failed_images` and `failed_people`: who couldn't be enrolled (the failure to
        enrol of ISO/IEC 19795-1).

    Raises:
        UsageError: `again` with what the gallery says itself.
        BitfaceError: the model or more than 1 % of the images can't be used, an image has no embedding, or somebody who
            is to be enrolled again has no image; or another command wrote to the gallery meanwhile.
    """
    if request.again and (request.int8 or request.flip or request.renewable):
        raise UsageError(
            f"{flag('again')} keeps the form of the gallery that is there: leave {flag('int8')}, {flag('flip')} and "
            f"{flag('renewable')} out, or enrol everybody anew"
        )
    enrolment = Enrolment.of(request.out, request.key, request.renewable, request.again)
    before = read_gallery(request.out, enrolment.secret) if request.again else None
    files = find_images(request.source.images, request.source.image_list)
    others = 0
    if before is not None:
        files, others = _of_gallery(files, before, request)
        request = replace(request, int8=before.precision == "int8", flip=before.flip)
        enrolment = replace(enrolment, renewable=before.rotation is not None)
    ready = prepare(
        request.model, files, request.engine, request.threads, request.preprocess, request.size, output=request.output
    )
    skipped: list[tuple[str, str]] = []
    embeddings, valid = ready.embedder.embed_files(files, request.flip, skipped, steps("embedding"))
    check_skipped(skipped, len(files), request.source.allow_skipped)
    names = [_name_of(file) for file in files]
    gallery = enrolled(
        embeddings[valid],
        [name for name, usable in zip(names, valid, strict=True) if usable],
        Origin(
            ready.embedder.fingerprint,
            ready.embedder.preprocess.name,
            request.flip,
            ready.embedder.engine,
            differences(ready.embedder, files),
            ready.embedder.model.known.size,
        ),
        int8=request.int8,
    )
    facts = enrolment.write(gallery)
    notes = [f"{others:,} images are of people who aren't in the gallery, and weren't enrolled"] if others else []
    notes += ambiguous_names(files, names)
    return {
        **facts,
        "failed_images": len(files) - len(gallery),
        "failed_people": len(set(names)) - facts["people"],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "notes": [*ready.notes, *notes],
        "warnings": [*ready.warnings, *enrolment.exposed()],
    }


def _name_of(file: FaceFile) -> str:
    """Whom a crop shows: its folder, with those that this lies in, or its file's name where it lies in none."""
    return one_form([file.person or Path(file.relative).stem])[0]


def _of_gallery(files: Sequence[FaceFile], gallery: Gallery, request: EnrollRequest) -> tuple[list[FaceFile], int]:
    """The images of a gallery's people, and how many are of others. Raises BitfaceError where somebody has none."""
    people = set(one_form(gallery.ids))
    own = [file for file in files if _name_of(file) in people]
    lacking = sorted(people - {_name_of(file) for file in own})
    if lacking:
        key = ["--key-file", str(request.key)] if request.key else []
        removal = shlex.join(["bitface", "gallery", str(request.out), *key, f"--remove={lacking[0]}"])
        raise BitfaceError(
            f"{request.out}: {len(lacking)} of its people have no image here, '{lacking[0]}' the first; add theirs, or "
            f"remove them first ({removal})"
        )
    return own, len(files) - len(own)
