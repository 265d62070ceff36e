"""Teacher embeddings, computed once for each set of faces and kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bitface.files import atomic_path
from bitface.train.faces import Teach

_BLOCK = 256


def cached_targets(
    images: np.ndarray,
    teach: Teach,
    identity: str,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The teacher's embeddings of faces and of their mirror images, float32 `[2, N, D]`.

    Args:
        images: uint8 RGB `[N, H, W, 3]`.
        identity: the teacher's fingerprint and whatever else its embeddings depend on (engine, precision).
        folder: where they are kept, by the content of the images; None: nowhere.

    Raises:
        BitfaceError: the folder can't be written.
    """
    key = hashlib.sha256(f"{identity} {images.shape}".encode())
    key.update(np.ascontiguousarray(images).data)
    path = folder / f"{key.hexdigest()[:32]}.safetensors" if folder else None
    if path and path.exists():
        try:
            kept: np.ndarray = load_file(path)["targets"]
            return kept
        except (SafetensorError, KeyError, OSError):
            pass  # damaged: made anew
    parts: list[np.ndarray] = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        parts.append(np.stack([teach(block), teach(np.ascontiguousarray(block[:, :, ::-1]))]))
        if progress:
            progress(start + len(block), len(images))
    targets = np.concatenate(parts, 1)
    if path:
        with atomic_path(path) as temporary:
            save_file({"targets": targets}, temporary)
    return targets
