"""Teacher embeddings, computed once for each set of faces and kept."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitface import ranks
from bitface.files import atomic_path
from bitface.losses.base import TeacherBlock
from bitface.store import RowsFile, Store, array, key_of
from bitface.training.faces import Teach, TrainingFaces, blocks, digest

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
    """The teacher's embeddings of faces and of their mirror images. Each rank embeds its part of them.

    Args:
        identity: the teacher's fingerprint and whatever else its embeddings depend on (engine, precision).
        store: where they are kept, by the content of the images; None: nowhere, and all in memory. Of faces that are
            read as they are needed what was begun is gone on with. The first rank of each machine writes.

    Raises:
        BitfaceError: the store can't be written.
    """
    images, total = faces.images, len(faces.images)
    if store is None:
        return _embedded(faces, teach, 0, total, progress)
    if isinstance(images, np.ndarray):
        key = key_of(f"{identity} {images.shape}", images)
        compute = partial(_embedded, faces, teach, 0, total, progress)
        return ranks.kept(store, "embeddings", key, array("targets"), compute)
    key = key_of(f"{identity} {images.shape} {digest(TrainingFaces(images))}")
    path, parts = store.path("embeddings", key, ".npy"), store.parts("embeddings", key)
    targets = _read(path, total)
    if not all(ranks.told(targets is not None)) or targets is None:
        with atomic_path(path) if ranks.local() == 0 else nullcontext() as temporary:
            _fill(temporary, faces, teach, parts, progress)
        ranks.wait()
        targets = StoredTargets(path)
    if ranks.local() == 0:  # of a process, too, that was killed when all was there
        shutil.rmtree(parts.root, ignore_errors=True)
    return targets


def _fill(path: Path | None, faces: TrainingFaces, teach: Teach, parts: Store, progress: Progress | None) -> None:
    """Computes the targets of faces in parts, each of which is kept; writes them to a file, or nowhere."""
    total, rows = len(faces.images), None
    for begin in range(0, total, _BLOCK * _KEPT_EVERY):
        end = min(begin + _BLOCK * _KEPT_EVERY, total)
        compute = partial(_embedded, faces, teach, begin, end, progress)
        part = ranks.kept(parts, "parts", f"{begin}-{end}", array("targets"), compute)
        if path is None:
            continue
        rows = rows or RowsFile(path, (2, total, part.shape[2]))
        rows.write(begin, part[0])
        rows.write(total + begin, part[1])
    if rows:
        rows.close()


def _read(path: Path, total: int) -> StoredTargets | None:
    try:
        targets = StoredTargets(path)
    except (OSError, ValueError):
        return None  # not there, or damaged
    return targets if len(targets.shape) == 3 and targets.shape[:2] == (2, total) else None


def taught(faces: TrainingFaces, teach: Teach, cached: Targets | None) -> Iterator[TeacherBlock]:
    """The teacher's embeddings of all faces with their labels, some at a time, of all ranks.

    Args:
        cached: see `cached_targets`; None: they are computed here.
    """
    assert faces.labels is not None
    if cached is not None:
        for start in range(0, len(faces.images), _BLOCK):
            rows = slice(start, start + _BLOCK)
            yield torch.from_numpy(cached[0, rows]), torch.from_numpy(faces.labels[rows])
        return
    for block in blocks(faces, _BLOCK):
        own = torch.from_numpy(teach(block.images)), torch.from_numpy(faces.labels[block.rows])
        embeddings, labels = map(block.joined, own)
        yield embeddings, labels


def _embedded(faces: TrainingFaces, teach: Teach, start: int, stop: int, progress: Progress | None) -> np.ndarray:
    """The targets of faces from `start` to `stop`, of all ranks."""
    parts = []
    for block in blocks(faces, _BLOCK, start, stop):
        rows = np.stack([teach(block.images), teach(np.ascontiguousarray(block.images[:, :, ::-1]))], 1)
        parts.append(block.joined(torch.from_numpy(rows)).numpy())
        if progress:
            progress(block.stop, len(faces.images))
    return np.ascontiguousarray(np.concatenate(parts).transpose(1, 0, 2))
