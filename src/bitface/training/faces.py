"""The faces of a training."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitface.data.crops import FaceImages
from bitface.data.faces import manifest_hash

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


def digest(faces: TrainingFaces) -> str:
    """Names the faces, their order and their labels: SHA-256 in hexadecimal; of faces in memory by their pixels."""
    result = hashlib.sha256(repr(faces.images.shape).encode())
    if isinstance(faces.images, np.ndarray):
        result.update(np.ascontiguousarray(faces.images).data)
    else:
        result.update(manifest_hash(faces.images).encode())
    result.update(b"" if faces.labels is None else faces.labels.astype(np.int64).tobytes())
    return result.hexdigest()
