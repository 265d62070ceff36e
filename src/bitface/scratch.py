"""Folders for what isn't whole yet. They go when the work ends, and what was killed leaves, with the next."""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".bitface-"
_OURS = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]{{16}}")
# Folders in which this process has looked for what others left.
_seen: set[str] = set()


@contextmanager
def scratch(place: Path | None = None) -> Iterator[Path]:
    """A new, empty folder in another one (None: the system's for temporary files); it goes when the block ends.

    A process that is killed leaves its folder behind; the next one that calls this for the same place removes it. A
    lock on the folder, which the system takes back with its process, tells whose is whose: numbers of processes mean
    nothing in another container, or after a restart. Where a file system has no locks, nothing of others is removed.

    Raises:
        OSError: the folder can't be made.
    """
    where = Path(tempfile.gettempdir()) if place is None else place
    remove_left(where)
    folder, lock = _locked(where)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(where: Path) -> tuple[Path, int]:
    """A new folder and what holds its lock."""
    while True:
        folder = where / f"{_PREFIX}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            lock = _held(folder, fcntl.LOCK_EX)
        except FileNotFoundError:  # another process took it for left behind, as it wasn't locked yet
            continue
        if folder.exists():
            return folder, lock
        os.close(lock)


def _held(folder: Path, way: int) -> int:
    """A folder as an open file, locked where its file system has locks.

    Raises:
        BlockingIOError: another process holds it, and `way` doesn't wait.
        OSError: it is none, or isn't there.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, way)
    except OSError:
        if way & fcntl.LOCK_NB:
            os.close(opened)
            raise
    return opened


def remove_left(where: Path) -> None:
    """Removes what processes of this user left that were killed; looked for once in each folder."""
    if (name := os.path.realpath(where)) in _seen:
        return
    _seen.add(name)
    try:
        with os.scandir(where) as entries:
            left = [Path(entry.path) for entry in entries if _OURS.fullmatch(entry.name)]
    except OSError:
        return
    for folder in left:
        try:
            lock = _held(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is in use, or another user's
            continue
        if os.fstat(lock).st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
