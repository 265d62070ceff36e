"""What is computed once and kept: entries of a folder, named by the facts that they depend on.

An entry is a file or a folder `KIND/KEY`, and is there whole or not at all. Nothing in a store has to be kept: what
isn't there, or can't be read any more, is made again. Two processes may make the same entry at once; both get it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bitface.files import atomic_path, cache_folder, filled_once, json_text

T = TypeVar("T")
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, SafetensorError)


@dataclass(frozen=True)
class Form(Generic[T]):
    """How a value lies in a file. `read` raises OSError, ValueError, TypeError or KeyError where a file is damaged."""

    suffix: str
    read: Callable[[Path], T]
    write: Callable[[T, Path], object]


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


JSON: Form[dict[str, Any]] = Form(".json", _read_json, lambda value, path: path.write_text(json_text(value), "utf-8"))


def array(name: str) -> Form[np.ndarray]:
    """An array, by this name in a safetensors file."""
    return Form(".safetensors", lambda path: load_file(path)[name], lambda value, path: save_file({name: value}, path))


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


class Store:
    """The entries of a folder; without one, of the cache (see `files.cache_folder`)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.root = Path(folder) if folder is not None else cache_folder()

    def path(self, kind: str, key: str, suffix: str = "") -> Path:
        """Where an entry lies, or would."""
        return self.root / kind / f"{key}{suffix}"

    def value(self, kind: str, key: str, form: Form[T], compute: Callable[[], T]) -> T:
        """A value that is computed and written where it isn't there.

        Raises:
            BitfaceError: the store can't be written; and whatever `compute` raises.
        """
        path = self.path(kind, key, form.suffix)
        try:
            return form.read(path)
        except _UNREADABLE:
            pass  # not there, or damaged
        value = compute()
        with atomic_path(path) as temporary:
            form.write(value, temporary)
        return value

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
        with atomic_path(path) as temporary:
            make(temporary)
        return read(path)

    def folder(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """A folder, which `fill` fills where it isn't there.

        Raises:
            OSError: the store can't be written; and whatever `fill` raises.
        """
        return filled_once(self.path(kind, key), fill)

    def sizes(self) -> dict[str, int]:
        """The bytes of each kind, largest first."""
        kinds = [folder for folder in self.root.iterdir() if folder.is_dir()] if self.root.is_dir() else []
        sizes = {
            kind.name: sum(path.lstat().st_size for path in kind.rglob("*") if path.is_file() and not path.is_symlink())
            for kind in kinds
        }
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))
