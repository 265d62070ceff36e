"""Teacher embeddings, computed once for each set of faces and kept."""

from collections.abc import Callable

import numpy as np

from bitface.store import Store, array, key_of
from bitface.training.faces import Teach

_BLOCK = 256


def cached_targets(
    images: np.ndarray,
    teach: Teach,
    identity: str,
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The teacher's embeddings of faces and of their mirror images, float32 `[2, N, D]`.

    Args:
        images: uint8 RGB `[N, H, W, 3]`.
        identity: the teacher's fingerprint and whatever else its embeddings depend on (engine, precision).
        store: where they are kept, by the content of the images; None: nowhere.

    Raises:
        BitfaceError: the store can't be written.
    """

    def compute() -> np.ndarray:
        parts: list[np.ndarray] = []
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK]
            parts.append(np.stack([teach(block), teach(np.ascontiguousarray(block[:, :, ::-1]))]))
            if progress:
                progress(start + len(block), len(images))
        return np.concatenate(parts, 1)

    if store is None:
        return compute()
    key = key_of(f"{identity} {images.shape}", images)
    return store.value("embeddings", key, array("targets"), compute)
