"""Whether a test shows what the model was made with: the same photographs, or the same people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bitface import ranks
from bitface.data.duplicates import NEAR, SIDE, codes_of, nearest, read_codes
from bitface.data.faces import FaceFile, batches, crop_sizes, resizing
from bitface.errors import BitfaceError, option
from bitface.evaluation import unit_rows
from bitface.evaluation.figures.results import Result
from bitface.evaluation.protocols.base import Embeddings
from bitface.inputs.embeddings import embed, file_facts
from bitface.inputs.faces import files_of
from bitface.results.folder import check_beside
from bitface.runtime import Embedder, Model
from bitface.runtime.embedder import DECODED
from bitface.store import Store, array, key_of

CODES = "faces.safetensors"
_BLOCK = 4096
_NAMED = 5


@dataclass(frozen=True)
class Used:
    """The faces that a model was made with: their codes, and their embeddings where the images are at hand.

    `notes` say where most of the images had to be resized.
    """

    codes: np.ndarray
    embeddings: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


class Codes:
    """The codes of images while they are embedded, by each rank its part (see `inputs.embeddings.embed`)."""

    def __init__(self) -> None:
        self._own = [np.zeros((0, SIDE * SIDE // 64), np.uint64)]

    def look(self, images: np.ndarray) -> None:
        """Takes in uint8 RGB `[n, H, W, 3]`."""
        self._own.append(codes_of(images))

    def of(self, count: int) -> np.ndarray:
        """Those of all ranks' images, of which there are so many: uint64 `[count, 4]`."""
        return ranks.joined_array(np.concatenate(self._own), count, DECODED)


def used_faces(model: Model, folders: Sequence[Path], embedder: Embedder) -> Used | None:
    """What is known of the faces that a model was made with.

    Args:
        folders: folders or packed sets of the images themselves; none: `faces.safetensors` beside an artifact (of the
            same faces) or an exported file.

    Returns:
        None where nothing is known.

    Raises:
        BitfaceError: a folder holds no images, or the file is damaged or of another run than the model.
    """
    if folders:
        files, looked_at = files_of(folders), Codes()
        embeddings, _ = embed(embedder, files, watch=looked_at.look)
        notes = [f"{option('used')}: {note}" for note in resizing(crop_sizes(files), model.network.size)]
        return Used(looked_at.of(len(files))[embeddings.valid], embeddings.values[embeddings.valid], notes)
    code_file = model.path.with_name(CODES)
    if not model.integer or not code_file.is_file():
        return None
    check_beside(model.path)
    codes, manifest = read_codes(code_file)
    # An exported file doesn't say what made it, but lies beside its artifact.
    same = model.details is None or manifest == model.details.data.get("manifest")
    return Used(codes) if same else None


def kept_codes(files: Sequence[FaceFile], size: tuple[int, int], store: Store) -> np.ndarray:
    """The codes of images at a size, uint64 `[N, 4]`, kept in a store; of those that can't be used they mean nothing.

    Raises:
        BitfaceError: the store can't be written.
    """

    def compute() -> np.ndarray:
        codes = Codes()
        for images, _ in batches(files[ranks.part(len(files), DECODED)], size):
            codes.look(images)
        return codes.of(len(files))

    return ranks.kept(store, "codes", key_of(tuple(size), *file_facts(files)), array("codes"), compute)


def shared_faces(
    used: Used | None, codes: np.ndarray | None, paths: Sequence[str], embeddings: Embeddings, result: Result
) -> tuple[dict[str, Any] | None, list[str]]:
    """As `overlap`, at the strictest threshold of a result; (None, nothing) where nothing is known of the faces."""
    if used is None or codes is None:
        return None, []
    # Of videos and templates it is the threshold of their means, with which single images agree less.
    summary = result.verification() if used.embeddings is not None else None
    strictest = [point.threshold for point in summary.tar if point.threshold is not None] if summary else []
    good = np.ones(len(embeddings), bool) if embeddings.valid is None else embeddings.valid
    # An image that can't be read shows nobody.
    names = [path for path, usable in zip(paths, good, strict=True) if usable]
    return overlap(used, codes[good], names, embeddings.values[good], max(strictest, default=None))


def overlap(
    used: Used, codes: np.ndarray, paths: Sequence[str], embeddings: np.ndarray, threshold: float | None
) -> tuple[dict[str, Any], list[str]]:
    """(for the result, warnings) on what of a test the model has seen.

    Args:
        codes, paths, embeddings: of the test's images, `[N, 4]`, N and `[N, D]`.
        threshold: the similarity from which two images count as one person; None: people aren't compared.

    Raises:
        BitfaceError: the codes aren't of as many images.
    """
    if len(codes) != len(paths):
        raise BitfaceError(f"{len(codes)} codes for {len(paths)} images")
    _, bits = nearest(codes, used.codes)
    copies = np.flatnonzero(bits <= NEAR)
    content: dict[str, Any] = {
        "used": len(used.codes),
        "images": len(paths),
        "copies": len(copies),
        "copied": [paths[int(index)] for index in copies],
    }
    warnings = []
    if len(copies):
        examples = ", ".join(content["copied"][:_NAMED]) + (", ..." if len(copies) > _NAMED else "")
        warnings.append(
            f"{len(copies)} of {len(paths):,} test images ({len(copies) / len(paths):.2%}) are among the "
            f"{len(used.codes):,} faces that the model was made with, or copies of them: {examples}"
        )
    if used.embeddings is not None and threshold is not None:
        training, tested = unit_rows(used.embeddings)[0], unit_rows(embeddings)[0]
        best = np.concatenate([(tested[i : i + _BLOCK] @ training.T).max(1) for i in range(0, len(tested), _BLOCK)])
        people = int((best >= threshold).sum())
        content |= {"people": people, "threshold": threshold}
        if people:
            warnings.append(
                f"{people:,} of {len(paths):,} test images ({people / len(paths):.1%}) show somebody who, at the "
                "strictest threshold here, is among the faces that the model was made with"
            )
    return content, warnings
