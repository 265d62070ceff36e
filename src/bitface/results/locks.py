"""Who writes into a folder: one command at a time, held by the operating system's lock on a file in it."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bitface import ranks
from bitface.errors import BitfaceError, option
from bitface.scratch import remove_left

LOCK = ".bitface.lock"
# Seconds. A holder that just lets go removes the file, and whoever opened it before must open the next one.
_SHORT = 0.5


@contextmanager
def holding(folder: Path, command: str, patience: float = _SHORT) -> Iterator[None]:
    """Holds a folder for a command while the block runs; the folder is made where there is none.

    The lock ends with its process, however that ends. A second call is a second holder, in the same process too. The
    lock file goes with the lock, and so does the folder where it was made for nothing. Of several ranks the first
    holds it for all.

    Args:
        command: what the message to others calls the holder.
        patience: seconds to wait for another holder.

    Raises:
        BitfaceError: another command holds the folder (the message names it), or the folder can't be written.
    """
    if not ranks.is_first():
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise BitfaceError(f"{folder}: is a file; {option('out')} names a folder")
    remove_left(folder)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with locked(folder / LOCK, folder, command, patience):
            yield
    finally:
        with suppress(OSError):
            for place in new:
                place.rmdir()  # only where nothing was put into it


@contextmanager
def locked(file: Path, what: Path, command: str, patience: float = _SHORT) -> Iterator[None]:
    """Holds the lock of a file that is there for nothing else; see `holding`. `what` is what it stands for."""

    def sign(descriptor: int) -> None:
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        facts = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(facts).encode())

    lock = FileLock(file, on_acquired=sign)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience)
    except Timeout:
        raise BitfaceError(f"{what}: {_holder(file)} is writing there; wait for its end, or write elsewhere") from None
    except OSError as error:
        raise BitfaceError(f"{what}: can't be written ({error.strerror or error}); choose another folder") from error
    try:
        yield
    finally:
        # While it is held: whoever opened this file meanwhile finds it gone when it gets the lock, and opens another.
        with suppress(OSError):
            file.unlink()
        lock.release()


def _holder(file: Path) -> str:
    """The holder of a lock in words."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return f"bitface {facts['command']} (process {facts['pid']} on {facts['host']}, since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
