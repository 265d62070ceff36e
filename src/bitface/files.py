"""Files that are either whole or not there."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bitface.errors import BitfaceError, UsageError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when not.

    The content is flushed to disk before the rename, so that a crash leaves the old file or the new one.

    Raises:
        BitfaceError: the folder can't be written, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror}); choose another folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def filled_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` fills at the first call; it is there whole or not at all, whoever else fills it meanwhile.

    Raises:
        OSError: the folder can't be written; and whatever `fill` raises.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fill(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process may have been faster.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically. Raises BitfaceError where it can't."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, readable and with a stable order of keys as given."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would keep the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"the key '{key.value}' stands twice, again in line {key.start_mark.line + 1}")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file; `what` says what it should be.

    Raises:
        UsageError: it can't be read, or a key stands twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: no readable {what} ({str(error).splitlines()[0]})") from error


def cache_folder() -> Path:
    """`$BITFACE_CACHE`, else `bitface` in `$XDG_CACHE_HOME`, else `~/.cache/bitface`.

    Raises:
        BitfaceError: the user has no home folder.
    """
    if chosen := os.environ.get("BITFACE_CACHE"):
        return Path(chosen)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative XDG folder is invalid by its specification and is ignored.
    if base.is_absolute():
        return base / "bitface"
    try:
        return Path.home() / ".cache" / "bitface"
    except RuntimeError as error:
        raise BitfaceError("no home folder: set BITFACE_CACHE to a folder for what is kept between runs") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
