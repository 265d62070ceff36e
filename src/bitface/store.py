"""What is computed once and kept: entries of a folder, named by the facts that they depend on.

An entry is a file or a folder `KIND/KEY`, and is there whole or not at all. Nothing in a store has to be kept: what
isn't there, or can't be read any more, is made again. Two processes may make the same entry at once; both get it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bitface.errors import BitfaceError, UsageError, nearest
from bitface.files import atomic_path, cache_folder, filled_once, json_text, readable_by_others
from bitface.scratch import remove_left, scratch

T = TypeVar("T")
# What the cache holds; other folders in it are somebody else's.
KINDS = {
    "assets": "the default network, face detector and face generator",
    "embeddings": "what teachers say of faces that students learn from",
    "faces": "made faces: synthetic:N, spread:N, generator:FILE:N, none:N",
    "indexes": "where images lie in packed sets, and whom they show",
    "kernels": "compiled kernels of trainings, and compiled networks",
    "models": "what artifacts are, and which engine runs them",
    "packs": "the images of verification sets (.bin)",
    "shards": "the images of .tar and .zip files",
}
# Of these: real people's faces, or what was computed from them. They are biometric data, for their owner alone.
BIOMETRIC = ("embeddings", "indexes", "packs", "shards")
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, SafetensorError)


@dataclass(frozen=True)
class Form(Generic[T]):
    """How a value lies in a file. `read` raises OSError, ValueError, TypeError or KeyError where a file is damaged."""

    suffix: str
    read: Callable[[Path], T]
    write: Callable[[T, Path], object]


@dataclass(frozen=True)
class Contents:
    """The entries of a kind, and what they take on disk, begun ones too."""

    entries: int
    bytes: int


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


JSON: Form[dict[str, Any]] = Form(".json", _read_json, lambda value, path: path.write_text(json_text(value), "utf-8"))


def array(name: str) -> Form[np.ndarray]:
    """An array, by this name in a safetensors file."""
    return Form(".safetensors", lambda path: load_file(path)[name], lambda value, path: save_file({name: value}, path))


class RowsFile:
    """A `.npy` file of float32 rows that are written a part after the other, anywhere.

    It is no mapping: one that finds no room on the disk ends the process without a word.

    Args:
        shape: `[…, N, D]`.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Raises OSError."""
        self._file = open(path, "wb")  # noqa: SIM115, until `close`
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._begin, self._row_bytes = self._file.tell(), 4 * shape[-1]

    def write(self, row: int, rows: np.ndarray) -> None:
        """Rows `[n, D]` from a row of all on. Raises OSError."""
        self._file.seek(self._begin + row * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, "<f4").data)

    def close(self) -> None:
        """Raises OSError: there was no room for what was written last."""
        self._file.close()


def key_of(facts: object, *contents: bytes | np.ndarray) -> str:
    """The name of what depends on these facts, 32 hexadecimal digits of a SHA-256.

    Args:
        facts: a text, or anything whose `repr` says all of it.
        contents: bytes or arrays that it depends on; of an array only the numbers count, so that its shape and type
            belong to the facts.
    """
    digest = hashlib.sha256((facts if isinstance(facts, str) else repr(facts)).encode("utf-8", "surrogateescape"))
    for content in contents:
        digest.update(content if isinstance(content, bytes) else np.ascontiguousarray(content).data)
    return digest.hexdigest()[:32]


@cache
def written_by(*places: str) -> str:
    """A fact of what these folders and files of the package compute: their text, so that another version computes it
    again.
    """
    package = Path(__file__).parent
    paths = [path for place in places for path in (package / place, *(package / place).rglob("*"))]
    files = sorted(path for path in paths if path.suffix in (".py", ".c"))
    return key_of([str(path.relative_to(package)) for path in files], *(path.read_bytes() for path in files))


class Store:
    """The entries of a folder; without one, of the cache (see `files.cache_folder`)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.root = Path(folder) if folder is not None else cache_folder()

    def path(self, kind: str, key: str, suffix: str = "") -> Path:
        """Where an entry lies, or would; what killed processes began beside it goes."""
        remove_left(self.root / kind)
        return self.root / kind / f"{key}{suffix}"

    def _own(self, kind: str) -> None:
        """Closes the folder of biometric data to everybody but its owner, before anything is written into it."""
        if kind not in BIOMETRIC:
            return
        folder = self.root / kind
        with suppress(OSError):  # whoever can't write there hears of it when an entry is written
            folder.mkdir(0o700, parents=True, exist_ok=True)
            if readable_by_others(folder):
                folder.chmod(0o700)

    def value(self, kind: str, key: str, form: Form[T], compute: Callable[[], T]) -> T:
        """A value that is computed and written where it isn't there.

        Raises:
            BitfaceError: the store can't be written; and whatever `compute` raises.
        """
        value = self.found(kind, key, form)
        if value is None:
            value = compute()
            self.keep(kind, key, form, value)
        return value

    def found(self, kind: str, key: str, form: Form[T]) -> T | None:
        """A value that is there; None: it isn't, or is damaged."""
        try:
            return form.read(self.path(kind, key, form.suffix))
        except _UNREADABLE:
            return None

    def keep(self, kind: str, key: str, form: Form[T], value: T) -> None:
        """Writes a value. Raises BitfaceError: the store can't be written."""
        self._own(kind)
        with atomic_path(self.path(kind, key, form.suffix)) as temporary:
            form.write(value, temporary)

    def file(self, kind: str, key: str, suffix: str, make: Callable[[Path], object], read: Callable[[Path], T]) -> T:
        """What `read` makes of a file, which `make` writes where it isn't there or can't be read.

        Raises:
            BitfaceError: the store can't be written; and whatever `make` raises, or `read` of a new file.
        """
        path = self.path(kind, key, suffix)
        try:
            return read(path)
        except _UNREADABLE:
            pass  # not there, or damaged
        self._own(kind)
        with atomic_path(path) as temporary:
            make(temporary)
        return read(path)

    def folder(
        self, kind: str, key: str, fill: Callable[[Path], None], check: Callable[[Path], object] | None = None
    ) -> Path:
        """A folder, which `fill` fills where it isn't there, or `check` can't read it (see `Form.read`).

        Raises:
            OSError: the store can't be written; and whatever `fill` raises.
        """
        path = self.path(kind, key)
        try:
            if check and path.is_dir():
                check(path)
        except _UNREADABLE:
            shutil.rmtree(path)  # damaged
        self._own(kind)
        return filled_once(path, fill)

    def parts(self, kind: str, key: str) -> "Store":
        """Where parts of an entry lie until it is whole, so that what was stopped goes on."""
        self._own(kind)
        return Store(self.path(kind, f".{key}"))

    def contents(self, kind: str | None = None) -> dict[str, Contents]:
        """What there is of one of `KINDS`; None: of each, the largest first.

        Raises:
            UsageError: an unknown kind.
        """
        if kind is not None and kind not in KINDS:
            raise UsageError(f"unknown kind '{kind}'{nearest(kind, KINDS)} (there are {', '.join(KINDS)})")
        kinds = [name for name in KINDS if kind in (None, name) and (self.root / name).is_dir()]
        contents = {name: _contents(self.root / name) for name in kinds}
        return dict(sorted(contents.items(), key=lambda item: -item[1].bytes))

    def clear(self, kind: str | None = None) -> dict[str, Contents]:
        """Removes all entries of one of `KINDS`; None: of every kind. Whatever else lies in the folder stays.

        Returns:
            What is removed.

        Raises:
            UsageError: an unknown kind.
            BitfaceError: something can't be removed.
        """
        contents = self.contents(kind)
        for name in contents:
            try:
                shutil.rmtree(self.root / name)
            except OSError as error:
                raise BitfaceError(f"{error.filename}: can't be removed ({error.strerror})") from error
        return contents


def remembered(kind: str, key: str, form: Form[T], compute: Callable[[], T]) -> T:
    """As `Store.value` of the cache, for what is quickly computed again: where nothing can be written, nothing is.

    Of several that compute it at once, who is first decides for all.
    """
    try:
        path = Store().path(kind, key, form.suffix)
    except BitfaceError:
        return compute()
    try:
        return form.read(path)
    except _UNREADABLE:
        pass  # not there, or damaged
    value = compute()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as place:
            temporary = place / path.name
            form.write(value, temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                with suppress(*_UNREADABLE):
                    return form.read(path)
                temporary.replace(path)  # it is damaged
    return value


def _contents(folder: Path) -> Contents:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    entries = sum(not path.name.startswith(".") for path in folder.iterdir())
    return Contents(entries, sum(path.lstat().st_size for path in files))
