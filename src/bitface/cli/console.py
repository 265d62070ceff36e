"""What the commands share: standard output, and words that several options take."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bitface.errors import UsageError
from bitface.limits import LARGEST_SEED
from bitface.progress import Progress, Steps, errors, shown, voice
from bitface.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

output = Terminal()
# What a dry run does, since it takes seconds and says what is damaged; it ends where any other step would begin.
_READING = "reading faces"


class _Rehearsed(BaseException):
    """A dry run has come to the first step that would take long. No error, so that nobody takes it for one."""


@contextmanager
def progress(dry_run: bool = False) -> Iterator[Steps]:
    """As `progress.shown`. A dry run ends where the first step would begin: whatever is checked before that has been
    checked, by the same code as ever, and nothing is written.
    """
    if not dry_run:
        with shown() as steps:
            yield steps
        return
    counts: list[int] = []

    def rehearse(name: str) -> Progress:
        if name.rpartition(": ")[2] != _READING:
            raise _Rehearsed(name)
        return lambda done, total, words="": counts.append(total)

    try:
        yield rehearse
    except _Rehearsed as reached:
        faces = f"{counts[-1]:,} faces were read; " if counts else ""
        output.print(f"all that is given can be used; {faces}'{reached}' would come next", markup=False, soft_wrap=True)
    raise typer.Exit


class Exits:
    """With which code a command ends that fails; `verify` needs 1 for an answer."""

    failure = 1


exits = Exits()

# Whether this process writes results: of several ranks the first alone does.
writes = True
# What a file was when `--json` named it.
_expected: dict[Path, tuple[int, int, int] | None] = {}
# What `--json` takes for standard output.
STDOUT = (Path("-"), Path("/dev/stdout"))


def fars_of(text: str | None, default: Sequence[float]) -> tuple[float, ...]:
    """The false accept rates of an option such as 1e-3,1e-4. Raises UsageError where they aren't numbers."""
    from bitface.evaluation.figures.operating import check_fars

    if text is None:
        return tuple(default)
    try:
        return check_fars([float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(f"--far takes numbers such as 1e-3,1e-4, not '{text}'") from None


def bits_of(text: str, option: str, least: int) -> tuple[int, ...]:
    """The widths of an option such as 8,4,2, the widest first. Raises UsageError where they aren't `least` to 8."""
    try:
        widths = sorted({int(part) for part in text.split(",")}, reverse=True)
    except ValueError:
        widths = [0]
    if not least <= min(widths) <= max(widths) <= 8:
        raise UsageError(f"{option} takes widths of {least} to 8 bits such as 8,4,2, not '{text}'")
    return tuple(widths)


def seeds_of(text: str) -> list[int]:
    """The seeds of an option such as 0,1,2. Raises UsageError where they aren't two or more different whole numbers."""
    numbers = [int(part) for part in text.split(",") if part.strip().isdigit()]
    if not 1 < len(set(numbers)) == len(text.split(",")) or max(numbers) > LARGEST_SEED:
        raise UsageError(f"--seeds takes two or more different whole numbers such as 0,1,2, not '{text}'")
    return numbers


def engine_of(word: str | None) -> str | None:
    """The engine of an option. Raises UsageError for an unknown one, and for one that doesn't run here."""
    from bitface.targets.registry import started

    if word is not None:
        started(word)
    return word


def table_of(*columns: str, **options: Any) -> "Table":
    """A table that wraps what is wider than a terminal, and cuts nothing."""
    from rich.table import Column, Table  # whoever wants help doesn't wait for it

    return Table(*(Column(name, overflow="fold") for name in columns), **options)


def engine_line(engine: str) -> str:
    """What computed a result, for the terminal."""
    from bitface.targets.registry import title_of

    return f"computed in {title_of(engine)}"


def remarks(notes: list[str], warnings: list[str]) -> None:
    """Prints notes, unless it is to be quiet, and warnings to stderr."""
    for text in () if voice.quiet else notes:
        errors.print(f"note: {text}", markup=False, style="dim", soft_wrap=True)
    for text in warnings:
        errors.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)


def expect_json(path: Path) -> None:
    """Notes what is where `--json` writes, so that nothing is written over what comes there meanwhile."""
    _expected.clear()
    _expected[path] = _state(path)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells one content of a file from another; None: it is no file."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def write_json(path: Path | None, content: Any) -> None:
    """Writes a result where `--json` says: to a file, to standard output, or nowhere.

    Raises:
        BitfaceError: the file can't be written.
        UsageError: it is a file of another content that the command itself has just written, such as its model.
        OSError: standard output can't.
    """
    from bitface import files

    if not writes:
        return
    if path in STDOUT:
        sys.stdout.write(files.json_text(content))
        sys.stdout.flush()
    elif path is not None:
        if (now := _state(path)) != _expected.get(path, now) and path.read_bytes() != files.json_text(content).encode():
            raise UsageError(
                f"--json {path}: was written while the command ran, and stays; all else is done: choose another name"
            )
        files.write_json(path, content)
