"""`tar:PATTERN`: tar files in WebDataset's layout, `KEY.jpg` beside `KEY.cls` or `KEY.json`, read where they lie."""

import glob
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from bitface.data.dataset import FaceDataset, OpenFile, numbered
from bitface.data.faces import EXTENSIONS
from bitface.data.images import ImageSkipped
from bitface.data.sources import DATA_SETS, PackedFaces
from bitface.data.tar_headers import PlainHeader
from bitface.errors import BitfaceError
from bitface.store import Form, Store, key_of, written_by

_LABEL_KEYS = ("label", "cls", "class", "identity", "id")
_HEADER = 512
# Bytes of a label.
_LONGEST_LABEL = 1 << 20
# begins, sizes int64 [N]; labels int64 [N], or empty; of each file the number of images up to its end.
Index = dict[str, np.ndarray]
_INDEX: Form[Index] = Form(".safetensors", load_file, lambda value, path: save_file(value, path))


class TarFaces(FaceDataset):
    """Images in tar files: 24 bytes each. The index is made by reading all headers once, and kept."""

    def __init__(self, pattern: Path) -> None:
        """Args:
            pattern: one file, a folder of them, or several: `*`, `?`, `{00..99}`, `{a,b}`.

        Raises:
            BitfaceError: there is no such file, one is compressed, damaged or truncated, or labels are missing.
        """
        paths = _paths(pattern)
        try:
            self._files = [OpenFile(path) for path in paths]
        except OSError as error:
            raise BitfaceError(f"{error.filename}: can't be read ({error.strerror})") from error
        self.root = paths[0] if len(paths) == 1 else paths[0].parent
        key = key_of((written_by("data/datasets/tar.py"), [file.facts() for file in self._files]))
        index = Store().value("indexes", key, _INDEX, lambda: _index(self._files))
        self._begins, self._sizes, self._ends = index["begins"], index["sizes"].astype(np.int32), index["ends"]
        self._labels = numbered(index["labels"]) if len(index["labels"]) else None
        if not len(self._begins):
            raise BitfaceError(f"{pattern}: no image ({' '.join(EXTENSIONS)}) is packed in it")

    def __len__(self) -> int:
        return len(self._begins)

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    def encoded(self, index: int) -> bytes:
        file, size = self._file(index), int(self._sizes[index])
        content = file.read(int(self._begins[index]), size)
        if len(content) < size:
            raise ImageSkipped("truncated: the file ends before the image does")
        return content

    def name(self, index: int) -> str:
        file = self._file(index)
        header = file.read(int(self._begins[index]) - _HEADER, 100).split(b"\0", 1)[0]
        return f"{file.path.name}/{header.decode('utf-8', 'replace')}"

    def paths(self) -> Iterable[Path]:
        return (file.path for file in self._files)

    def index_bytes(self) -> Iterable[bytes]:
        yield self._sizes.tobytes()
        yield self._begins.tobytes()

    def _file(self, index: int) -> OpenFile:
        return self._files[int(np.searchsorted(self._ends, index, "right"))]


def _paths(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        paths = sorted(pattern.glob("*.tar"))
    elif pattern.is_file():  # whatever its name would mean as a pattern
        paths = [pattern]
    else:
        paths = [Path(path) for word in _alternatives(str(pattern)) for path in _matching(word)]
    packed = [path for path in paths if path.suffix != ".tar"]
    if packed:
        raise BitfaceError(
            f"{packed[0]}: is no plain .tar, so that nothing in it can be read alone; decompress it, or leave 'tar:' "
            "away, and it is unpacked"
        )
    absent = [path for path in paths if not path.is_file()]
    if absent or not paths:
        raise BitfaceError(
            f"{absent[0] if absent else pattern}: no such file; 'tar:' names .tar files, or their folder"
        )
    return paths


def _matching(word: str) -> list[str]:
    return sorted(glob.glob(word)) if glob.has_magic(word) else [word]


def _alternatives(word: str) -> Iterator[str]:
    """What braces stand for: `{000..012}` or `{a,b}`."""
    match = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", word)
    if match is None:
        yield word
        return
    first, last, listed = match.groups()
    parts = listed.split(",") if listed else [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    for part in parts:
        yield from _alternatives(word[: match.start()] + part + word[match.end() :])


def _index(files: list[OpenFile]) -> Index:
    """Where the images of files lie, and whom they show. Raises BitfaceError."""
    begins: list[int] = []
    sizes: list[int] = []
    ends: list[int] = []
    labels: dict[int, Any] = {}
    for file in files:
        keys: dict[str, int] = {}
        said: dict[str, Any] = {}
        names: set[str] = set()
        other: dict[str, str] = {}  # images whose names go on after the key, of each key the first
        for name, begin, size in _members(file):
            key, extension = _split(name)
            if extension in EXTENSIONS:
                if name in names:
                    raise BitfaceError(f"{file.path}: holds two files {name}; give each a name of its own")
                names.add(name)
                keys[key] = len(begins)
                begins.append(begin)
                sizes.append(size)
            elif extension.endswith(EXTENSIONS):
                other.setdefault(key, name)
            elif extension in (".cls", ".json"):
                value = _label(file, begin, size, extension, name)
                if said.setdefault(key, value) != value:
                    raise BitfaceError(f"{file.path}: {name} says the label {value!r}, and another file {said[key]!r}")
        if hidden := [name for key, name in other.items() if key not in keys]:
            raise BitfaceError(
                f"{file.path}: {hidden[0]} has a point within its name, where 'tar:' takes the key to end; rename it, "
                "or leave 'tar:' away"
            )
        said = {key: value for key, value in said.items() if value is not None}
        labels |= {keys[key]: value for key, value in said.items() if key in keys}
        ends.append(len(begins))
    if labels and len(labels) < len(begins):
        raise BitfaceError(
            f"{files[0].path}: {len(begins) - len(labels):,} of {len(begins):,} images have no label beside them "
            "(.cls, or .json with 'label'), and the others have"
        )
    values = np.array([labels[place] for place in range(len(labels))])
    if len(values) and values.dtype.kind not in "iu":  # names
        values = np.unique(values.astype(str), return_inverse=True)[1]
    if len(values) and values.min() < 0:
        raise BitfaceError(f"{files[0].path}: the label {values.min()} is out of range; they are numbered from 0")
    values = numbered(values)  # numbers beyond int64, too
    columns = {"begins": begins, "sizes": sizes, "ends": ends, "labels": values}
    return {name: np.asarray(column, np.int64) for name, column in columns.items()}


def _members(file: OpenFile) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of the files in a tar file. Raises BitfaceError."""
    try:
        with tarfile.open(file.path, "r:", tarinfo=PlainHeader) as archive:
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # or all of them would stay in memory
                if member.isreg() and not member.issparse() and not PurePosixPath(member.name).name.startswith("."):
                    if member.offset_data + member.size > file.size:
                        raise BitfaceError(f"{file.path}: is truncated: {member.name} ends beyond it; copy it again")
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise BitfaceError(f"{file.path}: is no whole .tar file ({error}); copy it again") from error


def _split(name: str) -> tuple[str, str]:
    """Key and extension: what stands before and from the first point of the file's name, folders with the key."""
    folder, _, own = name.rpartition("/")
    stem, _, rest = own.partition(".")
    return f"{folder}/{stem}", f".{rest.lower()}"


def _label(file: OpenFile, begin: int, size: int, extension: str, name: str) -> Any:
    if size > _LONGEST_LABEL:
        raise BitfaceError(f"{file.path}: {name} holds no label, but {size:,} bytes")
    text = file.read(begin, size)
    try:
        if extension == ".cls":
            word = text.decode().strip()
            if not word:
                raise ValueError("it is empty")
            return int(word) if re.fullmatch(r"-?\d+", word) else word
        content = json.loads(text)
        value = next((content[key] for key in _LABEL_KEYS if key in content), None)
    except (ValueError, TypeError, RecursionError) as error:
        raise BitfaceError(f"{file.path}: {name} holds no label ({error})") from error
    if isinstance(value, bool | float | list | dict) or value == "":
        raise BitfaceError(f"{file.path}: {name} says the label {value!r}: use a whole number or a name")
    return value


DATA_SETS.register("tar")(PackedFaces(TarFaces))
