"""Faces that stay where they lie until they are needed: any number of them, by their index."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np

from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError

# Images whose bytes tell two data sets apart, beside their index.
_SAMPLED = 256


class FaceDataset(Sequence[FaceFile]):
    """Faces of one source, as files that may lie in a packed one. Nothing is read before it is needed.

    What is held takes 24 bytes an image at most, beside the names of single files. May be pickled, as for a process
    that is spawned, and read in forked processes.

    Attributes:
        root: the file or folder that the images are in.
        notes: what there is to say of it.
    """

    root: Path
    notes: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encoded(self, index: int) -> bytes | Path:
        """An image as it is stored, or the file that holds it. Raises ImageSkipped where it is damaged."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What an image is called in lists; told from all others of the data set."""

    @property
    def labels(self) -> np.ndarray | None:
        """Who is on each image, by the source itself: integers `[N]`, 0 to C-1; None: it doesn't say.

        Raises:
            BitfaceError: some are out of range.
        """
        return None

    def index_bytes(self) -> Iterable[bytes]:
        """What is known of all images without reading them, sizes above all."""
        return ()

    def paths(self) -> Iterable[Path]:
        """The files that the images are in."""
        return (self.root,)

    @cached_property
    def title(self) -> str:
        """What it is called, unlike others that lie in one folder with it."""
        first, *others = self.paths()
        return f"{first} to {others[-1].name}" if others else str(first)

    @cached_property
    def content(self) -> str:
        """SHA-256 that names the images and their order, in hexadecimal, without reading all of them.

        The whole index counts, which has the size of each image, and the bytes of 256 of them, evenly spread; neither
        paths nor times do.
        """
        digest = hashlib.sha256(f"{type(self).__name__} {len(self)}".encode())
        for part in self.index_bytes():
            digest.update(part)
        count = min(len(self), _SAMPLED)
        for place in range(count):
            try:
                image = self.encoded(place * len(self) // count)
                digest.update(image if isinstance(image, bytes) else image.read_bytes())
            except (BitfaceError, OSError):
                digest.update(b"damaged")
        return digest.hexdigest()

    @overload
    def __getitem__(self, index: int) -> FaceFile: ...
    @overload
    def __getitem__(self, index: slice) -> "ChosenFaces": ...
    def __getitem__(self, index: int | slice) -> "FaceFile | ChosenFaces":
        if isinstance(index, slice):
            return ChosenFaces(self, np.arange(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.file(int(index) % len(self))

    def file(self, index: int) -> FaceFile:
        """An image as a file."""
        return FaceRecord(self.root, self.name(index), None, self, index)


def numbered(labels: np.ndarray) -> np.ndarray:
    """Labels as int32; where there are larger ones, as of accounts, all are numbered anew in their order."""
    if len(labels) and labels.max() > np.iinfo(np.int32).max:
        labels = np.unique(labels, return_inverse=True)[1]
    return labels.astype(np.int32)


@dataclass(frozen=True)
class FaceRecord(FaceFile):
    """An image of a data set that isn't a file of its own."""

    dataset: FaceDataset | None = field(default=None, compare=False, repr=False)
    index: int = 0

    @property
    def encoded(self) -> Path | bytes:
        assert self.dataset is not None
        return self.dataset.encoded(self.index)

    @property
    def person(self) -> str | None:
        assert self.dataset is not None
        labels = self.dataset.labels
        # Numbers of two data sets are two people.
        return None if labels is None else f"{self.dataset.title} {int(labels[self.index]):09}"

    def facts(self) -> object:
        assert self.dataset is not None
        return str(self.root.resolve()), self.dataset.content, self.index


class FaceFiles(FaceDataset):
    """Image files. Held are their names and 16 bytes for each."""

    def __init__(self, files: Sequence[FaceFile]) -> None:
        roots = list(dict.fromkeys(file.root for file in files))
        self.root = (
            roots[0] if len(roots) == 1 else Path(os.path.commonpath([root.absolute() for root in roots] or [Path()]))
        )
        self.roots = roots
        numbers = {root: number for number, root in enumerate(roots)}
        names = [file.relative.encode("utf-8", "surrogateescape") for file in files]
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._roots = np.array([numbers[file.root] for file in files], np.int32)

    def __len__(self) -> int:
        return len(self._ends)

    def file(self, index: int) -> FaceFile:
        return FaceFile(self.roots[self._roots[index]], self.name(index))

    def encoded(self, index: int) -> Path:
        return self.file(index).path

    def paths(self) -> Iterable[Path]:
        return (self.encoded(index) for index in range(len(self)))

    def name(self, index: int) -> str:
        begin = int(self._ends[index - 1]) if index else 0
        return self._names[begin : int(self._ends[index])].decode("utf-8", "surrogateescape")

    def index_bytes(self) -> Iterable[bytes]:
        yield self._names
        yield self._ends.tobytes()
        sizes = np.full(len(self), -1, np.int64)
        for index in range(len(self)):
            try:
                sizes[index] = os.stat(self.encoded(index)).st_size
            except OSError:
                continue
        yield sizes.tobytes()

    def drawn(self, seed: int) -> np.ndarray:
        """All of them in the order of `faces.choose`."""
        keys = np.empty((len(self), 4), ">u8")
        for index in range(len(self)):
            digest = hashlib.sha256(f"{seed}:{self.name(index)}".encode("utf-8", "surrogateescape")).digest()
            keys[index] = np.frombuffer(digest, ">u8")
        places = {number: place for place, number in enumerate(np.argsort([str(root) for root in self.roots]))}
        beside = np.array([places[number] for number in range(len(self.roots))])[self._roots]
        return np.lexsort((beside, *(keys[:, column].astype(np.uint64) for column in (3, 2, 1, 0))))


class ChosenFaces(FaceDataset):
    """Some faces of a data set, in an order of their own: 4 bytes for each."""

    dataset: FaceDataset
    rows: np.ndarray

    def __init__(self, dataset: FaceDataset, rows: np.ndarray) -> None:
        if isinstance(dataset, ChosenFaces):
            rows = dataset.rows[rows]
            dataset = dataset.dataset
        self.dataset, self.root, self.notes = dataset, dataset.root, dataset.notes
        self.rows = rows.astype(np.int32 if len(dataset) < 1 << 31 else np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def file(self, index: int) -> FaceFile:
        return self.dataset.file(int(self.rows[index]))

    def encoded(self, index: int) -> bytes | Path:
        return self.dataset.encoded(int(self.rows[index]))

    def name(self, index: int) -> str:
        return self.dataset.name(int(self.rows[index]))

    @property
    def labels(self) -> np.ndarray | None:
        labels = self.dataset.labels
        return None if labels is None else labels[self.rows]

    @cached_property
    def content(self) -> str:
        return hashlib.sha256(self.dataset.content.encode() + self.rows.astype(np.int64).tobytes()).hexdigest()


class JoinedFaces(FaceDataset):
    """Several data sets, one after the other. Their labels are of different people."""

    def __init__(self, parts: Sequence[FaceDataset]) -> None:
        self.parts = list(parts)
        self.root = Path(os.path.commonpath([part.root.absolute() for part in parts]))
        self.notes = [note for part in parts for note in part.notes]
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def file(self, index: int) -> FaceFile:
        part, own = self._place(index)
        return part.file(own)

    def encoded(self, index: int) -> bytes | Path:
        part, own = self._place(index)
        return part.encoded(own)

    def name(self, index: int) -> str:
        part, own = self._place(index)
        return part.name(own)

    @cached_property
    def _labels(self) -> np.ndarray | None:
        columns, count = [], 0
        for part in self.parts:
            own = part.labels
            if own is None:
                return None
            columns.append(own.astype(np.int64) + count)
            count += int(own.max()) + 1
        return np.concatenate(columns)

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    def index_bytes(self) -> Iterable[bytes]:
        for part in self.parts:
            yield part.content.encode()

    def paths(self) -> Iterable[Path]:
        return chain.from_iterable(part.paths() for part in self.parts)

    def _place(self, index: int) -> tuple[FaceDataset, int]:
        number = int(np.searchsorted(self._ends, index, "right"))
        return self.parts[number], index - (int(self._ends[number - 1]) if number else 0)


class OpenFile:
    """A file that is read at any place, in any number of processes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, begin: int, count: int) -> bytes:
        """So many bytes, fewer at the end of the file. Raises OSError."""
        return os.pread(self._descriptor, count, begin)

    def facts(self) -> tuple[str | int, ...]:
        """Path, size and time: what an index that is kept of it belongs to."""
        status = os.fstat(self._descriptor)
        return str(self.path.resolve()), self.size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFile, (self.path,)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)
