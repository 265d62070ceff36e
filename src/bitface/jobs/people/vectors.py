"""`bitface enroll --vectors`: embeddings that are there already, as a gallery."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.faces import check_skipped
from bitface.errors import BitfaceError, option
from bitface.evaluation.gallery import Origin, enrolled
from bitface.files import path_fields
from bitface.inputs.vector_files import Vectors, people, read_ids, read_vectors
from bitface.jobs.people.gallery import Enrolment
from bitface.preprocess import Size
from bitface.runtime import open_model

_BLOCK = 65536


@dataclass(frozen=True)
@path_fields
class EnrollVectorsRequest:
    """Which embeddings to enrol; the options of `bitface enroll --vectors`.

    Attributes:
        vectors: .npy, .npz, .parquet, .csv, or a flat FAISS index.
        model: that made them: the gallery is bound to its fingerprint.
        out: the gallery file.
        ids: whom each row shows, see `inputs.vector_files.read_ids`; None: the file of vectors says it.
        int8: a quarter of the bytes.
        flip: they are sums of an image's embedding and its mirror image's.
        key, renewable: see `EnrollRequest`.
        allow_skipped: accepts that more than 1 % of the rows are NaN, and leaves them out.
    """

    vectors: Path
    model: Path
    out: Path
    ids: Path | None = None
    int8: bool = False
    flip: bool = False
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None
    allow_skipped: bool = False
    key: Path | None = None
    renewable: bool = False


def enroll_vectors(request: EnrollVectorsRequest) -> dict[str, Any]:
    """Writes a gallery of embeddings. Rows of NaN, which `bitface embed` writes for images without one, are left out.

    Returns:
        As `enroll`; `engine` is None, as nobody knows it.

    Raises:
        BitfaceError: the vectors, the ids or the model can't be read, don't fit together, or a vector is zero.
    """
    enrolment = Enrolment.of(request.out, request.key, request.renewable)
    vectors = read_vectors(request.vectors)
    names = read_ids(request.ids) if request.ids else _names(vectors, request.vectors)
    count, size = vectors.values.shape
    if names is None:
        raise BitfaceError(f"{request.vectors}: doesn't say whom its rows show; give {option('ids')} a list")
    if len(names) != count:
        raise BitfaceError(f"{request.ids or request.vectors}: has {len(names):,} names for {count:,} vectors")
    model = open_model(request.model, request.preprocess, request.size, output=request.output)
    if size != model.known.embedding_size:
        raise BitfaceError(
            f"{request.vectors}: its vectors have {size} numbers, those of {request.model} have "
            f"{model.known.embedding_size}"
        )
    if model.preprocess is None:
        raise BitfaceError(
            f"{request.model}: doesn't say how its input is normalised, which belongs to its fingerprint; name it with "
            f"{option('preprocess')}"
        )
    empty = np.concatenate(
        [np.isnan(vectors.values[first : first + _BLOCK]).all(1) for first in range(0, count, _BLOCK)]
    )
    skipped = [(names[row], "no embedding") for row in np.flatnonzero(empty)]
    check_skipped(skipped, count, request.allow_skipped)
    values = vectors.values[~empty] if skipped else vectors.values
    gallery = enrolled(
        values,
        [name for name, left_out in zip(names, empty, strict=True) if not left_out] if skipped else names,
        Origin(model.fingerprint, model.preprocess.name, request.flip, image_size=model.known.size),
        int8=request.int8,
    )
    facts = enrolment.write(gallery)
    return {
        **facts,
        "failed_images": count - len(gallery),
        "failed_people": len(set(names)) - facts["people"],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "notes": list(model.known.notes),
        "warnings": [*model.known.warnings, *enrolment.exposed()],
    }


def _names(vectors: Vectors, path: Path) -> list[str] | None:
    try:
        return people(vectors.told)
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error
