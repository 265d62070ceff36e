"""Teacher embeddings, computed once for each set of faces and kept."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.crops import Damaged, FaceImages, noted, pixels
from bitface.data.workers import in_order
from bitface.store import Store, array, key_of
from bitface.training.faces import Teach, TrainingFaces, digest

_BLOCK = 256
# Blocks between two notes of how far the embedding of faces that aren't in memory has come.
_KEPT_EVERY = 32

Progress = Callable[[int, int], None]


class StoredTargets:
    """Embeddings `[2, N, D]` in a file, of which a step reads its own.

    The file is mapped for the time of a look only: a million faces would fill the memory otherwise, as the pages of a
    mapping count as its process's own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape = self._mapped().shape

    def __getitem__(self, place: Any) -> np.ndarray:
        return np.array(self._mapped()[place])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def _mapped(self) -> np.ndarray:
        mapped: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped


Targets = np.ndarray | StoredTargets
"""The teacher's embeddings of faces and of their mirror images, float32 `[2, N, D]`, in memory or in a file."""


def cached_targets(
    faces: TrainingFaces,
    teach: Teach,
    identity: str,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Targets:
    """The teacher's embeddings of faces and of their mirror images.

    Args:
        identity: the teacher's fingerprint and whatever else its embeddings depend on (engine, precision).
        store: where they are kept, by the content of the images; None: nowhere, and all in memory. Of faces that are
            read as they are needed what was begun is gone on with.

    Raises:
        BitfaceError: the store can't be written.
    """
    images, total = faces.images, len(faces.images)
    if store is None or isinstance(images, np.ndarray):

        def compute() -> np.ndarray:
            return _embedded(faces, teach, 0, total, progress)

        if store is None:
            return compute()
        key = key_of(f"{identity} {images.shape}", np.asarray(images))
        return store.value("embeddings", key, array("targets"), compute)
    key = key_of(f"{identity} {images.shape} {digest(TrainingFaces(images))}")
    parts = store.parts("embeddings", key)

    def fill(path: Path) -> None:
        values: np.ndarray | None = None
        for begin in range(0, total, _BLOCK * _KEPT_EVERY):
            end = min(begin + _BLOCK * _KEPT_EVERY, total)
            compute = partial(_embedded, faces, teach, begin, end, progress)
            block = parts.value("parts", f"{begin}-{end}", array("targets"), compute)
            if values is None:
                shape = (2, total, block.shape[2])
                with open(path, "wb") as file:  # np.save would add a suffix to the name
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    begin_of_data = file.tell()
            values = np.memmap(path, "<f4", "r+", begin_of_data, shape)
            values[:, begin:end] = block
            values.flush()

    targets = store.file("embeddings", key, ".npy", fill, partial(_checked, total=total))
    shutil.rmtree(parts.root, ignore_errors=True)
    return targets


def _checked(path: Path, total: int) -> StoredTargets:
    targets = StoredTargets(path)
    if len(targets.shape) != 3 or targets.shape[:2] != (2, total):
        raise ValueError("embeddings of something else")
    return targets


def embeddings_of(faces: TrainingFaces, teach: Teach) -> np.ndarray:
    """The teacher's embeddings of all faces, float32 `[N, D]`, kept nowhere."""
    return np.concatenate([teach(images) for images in _blocks(faces, 0, len(faces.images))])


def _embedded(faces: TrainingFaces, teach: Teach, begin: int, end: int, progress: Progress | None) -> np.ndarray:
    """The targets of faces from `begin` to `end`."""
    parts = []
    for images in _blocks(faces, begin, end):
        parts.append(np.stack([teach(images), teach(np.ascontiguousarray(images[:, :, ::-1]))]))
        begin += len(images)
        if progress:
            progress(begin, len(faces.images))
    return np.concatenate(parts, 1)


def _blocks(faces: TrainingFaces, begin: int, end: int) -> Iterator[np.ndarray]:
    """The faces from `begin` to `end`, some at a time."""
    for block in in_order(partial(_read, faces.images, end), range(begin, end, _BLOCK), faces.workers):
        yield noted(faces.images, *block)


def _read(images: FaceImages, end: int, begin: int) -> tuple[np.ndarray, np.ndarray, list[Damaged]]:
    return pixels(images, np.arange(begin, min(begin + _BLOCK, end)))
