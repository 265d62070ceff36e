"""The command line in copies of this process, nothing imported again, with something wrong in their world."""

import ctypes
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300
# What changes a folder. Python tells of fsync nothing; it is counted by itself.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit code (minus the signal's number), and what it said on standard error."""

    code: int
    errors: str

    def __str__(self) -> str:
        return f"ends with {self.code}: {' '.join(self.errors.split())[-300:]}"

    @property
    def one_line(self) -> bool:
        """Whether it failed as promised: one line that doesn't ask for a report."""
        lines = [line for line in self.errors.splitlines() if line.startswith("error:")]
        return self.code > 0 and len(lines) == 1 and "unexpected" not in self.errors and "Traceback" not in self.errors


def nothing() -> None:
    """Nothing is wrong."""


def begun(arguments: Sequence[object], place: Path, wrong: Callable[[], None] = nothing) -> tuple[int, Path]:
    """Starts `bitface ARGUMENTS` with its cache and its temporary files in `place`; gives process and error file."""
    errors = place / f"errors-{time.monotonic_ns()}"
    process = os.fork()
    if process:
        return process, errors
    code = 99
    try:
        signal.alarm(SECONDS)
        for folder in ("cache", "tmp"):
            (place / folder).mkdir(exist_ok=True)
        os.environ |= {"BITFACE_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
        tempfile.tempdir = None
        sink = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600)
        silence = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, silence), (1, silence), (2, sink)):
            os.dup2(source, target)
        os.chdir(place)
        sys.argv = ["bitface", *map(str, arguments)]
        from bitface.cli import main

        wrong()
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended(process: int, errors: Path) -> Ending:
    """Waits for a command."""
    status = os.waitpid(process, 0)[1]
    text = errors.read_text("utf-8", "replace") if errors.exists() else ""
    errors.unlink(missing_ok=True)
    return Ending(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), text)


def run(arguments: Sequence[object], place: Path, wrong: Callable[[], None] = nothing) -> Ending:
    """Runs a command to its end."""
    return ended(*begun(arguments, place, wrong))


def killed_at(number: int, place: Path, count: Path | None = None) -> Callable[[], None]:
    """Kills the process before its n-th change below `place`; 0: never, and `count` gets how many there are."""

    def begin() -> None:
        main_process, seen = os.getpid(), 0
        tally = os.open(count, os.O_WRONLY | os.O_CREAT) if count else -1

        def change() -> None:
            nonlocal seen
            if os.getpid() != main_process:
                return
            seen += 1
            if number and seen == number:
                os.kill(main_process, signal.SIGKILL)
            if tally >= 0:
                os.pwrite(tally, b"%09d" % seen, 0)

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
            if (event in CHANGES or writes) and _below(arguments, place):
                change()

        before = os.fsync

        def fsync(file: int) -> None:
            change()
            before(file)

        os.fsync = fsync
        sys.addaudithook(watch)

    return begin


def _below(arguments: tuple[object, ...], place: Path) -> bool:
    """Whether a change is in a folder, by its path, or by that of a folder that is held open."""
    texts = [os.fsdecode(one) for one in arguments if isinstance(one, str | bytes | os.PathLike)]
    relative = any(not os.path.isabs(text) for text in texts)
    return relative or any(text.startswith(f"{place}/") for text in texts)


def limited(kind: int, amount: int, beside: bool = False) -> Callable[[], None]:
    """Sets a limit of the system; `beside` what the process has already (of addresses)."""

    def begin() -> None:
        own = 0
        if beside:
            with open("/proc/self/statm", encoding="ascii") as file:
                own = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(kind, (own + amount, resource.getrlimit(kind)[1]))

    return begin


def as_anybody() -> None:
    """Gives up what root may beyond others (Linux's capabilities), so that modes of files mean something."""
    if os.geteuid() == 0:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None).capset(header, none):
            raise OSError("capabilities can't be given up")
