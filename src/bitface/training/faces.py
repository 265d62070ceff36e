"""The faces of a training."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from bitface import ranks
from bitface.data.crops import Damaged, FaceImages, noted, pixels
from bitface.data.faces import manifest_hash
from bitface.data.workers import in_order

# uint8 RGB [N, H, W, 3] → the teacher's embeddings [N, D], float32.
Teach = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TrainingFaces:
    """Faces to learn from.

    Attributes:
        images: uint8 RGB `[N, H, W, 3]`, in memory or read as they are needed.
        labels: identities 0 to C-1, `[N]`, or None.
        workers: processes that read them and make views of them; 0: this one does.
    """

    images: FaceImages
    labels: np.ndarray | None = None
    workers: int = 0

    @property
    def classes(self) -> int:
        return 0 if self.labels is None else int(self.labels.max()) + 1


@dataclass(frozen=True)
class Block:
    """Some faces in a row, of which each rank has its part.

    Attributes:
        start, stop: of all ranks' faces.
        size: so many are one rank's, see `ranks.share`.
        images: this rank's, uint8 RGB `[n, H, W, 3]`.
        rows: which faces these are, int64 `[n]`: in the place of a damaged one stands the next.
    """

    start: int
    stop: int
    size: int
    images: np.ndarray
    rows: np.ndarray

    def joined(self, own: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, of what each has computed of its images."""
        return ranks.joined(own, self.stop - self.start, self.size)


def blocks(faces: TrainingFaces, size: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
    """The faces from `start` to `stop` (None: the last), so many at a time in each rank."""
    total, every = len(faces.images) if stop is None else stop, size * ranks.count()
    spans = [(begin, min(begin + every, total)) for begin in range(start, total, every)]
    own = [(begin, ranks.share(end - begin, size)) for begin, end in spans]
    read = in_order(partial(_read, faces.images, own), range(len(own)), faces.workers)
    for (begin, end), (images, rows, damaged) in zip(spans, read, strict=True):
        yield Block(begin, end, size, noted(faces.images, images, rows, damaged), rows)


def _read(
    images: FaceImages, own: Sequence[tuple[int, slice]], number: int
) -> tuple[np.ndarray, np.ndarray, list[Damaged]]:
    begin, part = own[number]
    return pixels(images, np.arange(begin + part.start, begin + part.stop))


def digest(faces: TrainingFaces) -> str:
    """Names the faces, their order and their labels: SHA-256 in hexadecimal; of faces in memory by their pixels."""
    result = hashlib.sha256(repr(faces.images.shape).encode())
    if isinstance(faces.images, np.ndarray):
        result.update(np.ascontiguousarray(faces.images).data)
    else:
        result.update(manifest_hash(faces.images).encode())
    result.update(b"" if faces.labels is None else faces.labels.astype(np.int64).tobytes())
    return result.hexdigest()
