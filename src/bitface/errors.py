"""What can go wrong, said in one line: what, where, and what to do."""

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


class BitfaceError(Exception):
    """A failure the user can act on. The command line prints its message alone and exits 1."""

    exit_code = 1


class BitfaceWarning(UserWarning):
    """What there is to say beside a result. Other libraries' warnings have other classes; the program hides those."""


class Interrupted(BitfaceError):
    """Stopped from outside, with everything kept; the message says where to go on."""


class UsageError(BitfaceError):
    """The request itself is wrong (unknown bits, unknown preset, impossible option). Exits 2."""

    exit_code = 2


# What libraries say where there is no memory, in whatever kind of error they say it.
_NO_MEMORY = re.compile(
    "allocate memory|bad.alloc|bad allocation|failed to allocate|unable to allocate|out of memory|not enough memory|"
    "can't alloc|alloc_cpu|can't start new thread|failed to map segment|(thread: |^)resource temporarily unavailable|"
    # Python's own words where it had no memory to say so.
    "error return without exception set|without setting an exception",
    re.IGNORECASE,
)
# With what OpenVINO begins: where in its own source it noticed.
_PLACE = re.compile(r"(Exception from|Check '.*' failed at) \S+:\d+:?$")
# The options of the command that runs; None: none does, the reader writes Python.
_typed: frozenset[str] | None = None


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or the one that it was made of, comes from a lack of memory (or of threads)."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM:
            return True
        if not isinstance(cause, BitfaceError) and _NO_MEMORY.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def lacks_files(error: BaseException) -> bool:
    """Whether an error, or the one that it was made of, comes from too many open files: in a moment it may be gone."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


@contextmanager
def on_command_line(options: Iterable[str]) -> Iterator[None]:
    """Until it ends, messages call options as the command line does.

    Args:
        options: those of the command, such as `max-images`: what messages may tell the reader to type.
    """
    global _typed
    before, _typed = _typed, frozenset(options)
    try:
        yield
    finally:
        _typed = before


def takes(name: str) -> bool:
    """Whether a command runs that has an option of this name."""
    return _typed is not None and name in _typed


def option(name: str, value: object = None, field: str | None = None) -> str:
    """An option as the reader types it: `--max-images` or `--size 160`; in Python `max_images=` or `size=160`.

    Of a command that hasn't got it, as a file has it that the command reads: 'max_images', or 'size: 160'.

    Args:
        field: what Python calls it, where that is another name.
    """
    if takes(name):
        return f"--{name}" if value is None else f"--{name} {value}"
    if _typed is not None:
        key = name.replace("-", "_")
        return f"'{key}'" if value is None else f"'{key}: {value}'"
    text = "" if value is None else repr(value) if isinstance(value, str) else str(value)
    return f"{field or name.replace('-', '_')}={text}"


def flag(name: str) -> str:
    """A switch as the reader of a message types it: `--force`; in Python `force=True`."""
    return f"--{name}" if takes(name) else option(name, "true" if _typed is not None else True)


def setting(name: str) -> str:
    """A setting of a recipe as the reader changes it: `--batch` where the command takes it, else 'batch'."""
    return f"--{name}" if takes(name) else f"'{name}'"


def missing(error: ModuleNotFoundError) -> BitfaceError | None:
    """What to say where a package isn't there that only making networks needs, not running them; None: it is another
    one.
    """
    package = (error.name or "").partition(".")[0]
    if package == __package__ or find_spec("torch") is not None:  # it is what all of them come with
        return None
    return BitfaceError(f"this needs {package}, which isn't installed: pip install 'bitface[quantize]'")


def one_line(error: BaseException | str) -> str:
    """The first line of a message that says more than a place in a source; the error's kind where none does."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not _PLACE.match(line)), type(error).__name__)


def nearest(word: object, words: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown word: the known one that looks most like it, or nothing."""
    near = difflib.get_close_matches(str(word), list(words), 1, cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""
