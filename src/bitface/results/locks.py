"""Who writes into a folder: one command at a time, held by the operating system's lock on a file in it."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bitface.errors import BitfaceError, option
from bitface.files import sha256_of
from bitface.scratch import remove_left

LOCK = ".bitface.lock"
# Seconds that another command may take to write one file.
_PATIENCE = 10.0
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
    ranks = sys.modules.get("bitface.ranks")  # which needs torch; where nothing has loaded it, this is the only rank
    if ranks is not None and not ranks.is_first():
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


@contextmanager
def holding_file(path: Path, command: str) -> Iterator[None]:
    """Holds the folder that a file really lies in against others who replace the file; errors as of `holding`."""
    with holding(path.resolve().parent, command, _PATIENCE):
        yield


@dataclass(frozen=True)
class Replacement:
    """A file that a command writes at its end, over one that it may have read at its beginning.

    Attributes:
        sha256: of the file that was read; None: none was.
    """

    path: Path
    command: str
    sha256: str | None = None

    @staticmethod
    def of_read(path: Path, command: str) -> "Replacement":
        """Of a file that is read after this; where it isn't there its reader says so.

        Raises:
            BitfaceError: as `holding`, or it can't be read.
        """
        if not path.is_file():
            return Replacement(path, command)
        try:
            with holding_file(path, command):
                return Replacement(path, command, sha256_of(path))
        except OSError as error:
            raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the file, where there is one, while the block writes it.

        Raises:
            BitfaceError: as `holding`; or another command wrote to the file, or removed it, since it was read.
        """
        if self.sha256 is None and not self.path.is_file():  # a new file, a device, a pipe
            yield
            return
        with holding_file(self.path, self.command):
            if self.sha256 is not None and not (self.path.is_file() and sha256_of(self.path) == self.sha256):
                raise BitfaceError(
                    f"{self.path}: another command wrote to it meanwhile, so nothing was written; run this one again"
                )
            yield


def _holder(file: Path) -> str:
    """The holder of a lock in words."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return f"bitface {facts['command']} (process {facts['pid']} on {facts['host']}, since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
