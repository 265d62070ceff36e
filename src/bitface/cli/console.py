"""What the commands share: two consoles and a progress bar with rate and remaining time."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bitface import files
from bitface.errors import UsageError
from bitface.evaluation.figures.operating import check_fars
from bitface.progress import Progress as StepProgress
from bitface.progress import Steps
from bitface.targets.registry import started, title_of

output = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

# What `--json` takes for standard output.
STDOUT = (Path("-"), Path("/dev/stdout"))
_LOG_SECONDS = 30.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def progress() -> Iterator[Steps]:
    """Gives a function that opens a named step; see `progress`. Lines in a log where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _logged
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=errors, transient=True) as bars:

        def step(name: str) -> StepProgress:
            task = bars.add_task(name, total=None, words="")
            return lambda done, total, words="": bars.update(task, completed=done, total=total, words=words)

        yield step


def _logged(name: str) -> StepProgress:
    """A line about every minute, so that short steps say nothing."""
    began = last = time.monotonic()
    origin = (began, 0)

    def tell(done: int, total: int, words: str = "") -> None:
        nonlocal last, origin
        now, since = time.monotonic(), origin
        if since[0] == began or done < since[1]:
            origin = (now, done)  # from here, as an earlier run may have done the first of them
        if now - last < _LOG_SECONDS:
            return
        last = now
        left = (now - since[0]) / max(done - since[1], 1) * (total - done)
        line = f"{name} {done}/{total}, {left / 60:.1f} min left{', ' if words else ''}{words}"
        errors.print(line, markup=False, soft_wrap=True)

    return tell


def fars_of(text: str | None, default: Sequence[float]) -> tuple[float, ...]:
    """The false accept rates of an option such as 1e-3,1e-4. Raises UsageError where they aren't numbers."""
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


def engine_of(word: str | None) -> str | None:
    """The engine of an option. Raises UsageError for an unknown one, and for one that doesn't run here."""
    if word is not None:
        started(word)
    return word


def engine_line(engine: str) -> str:
    """What computed a result, for the terminal."""
    return f"computed in {title_of(engine)}"


def remarks(notes: list[str], warnings: list[str]) -> None:
    """Prints notes and warnings to stderr."""
    for text in notes:
        errors.print(f"note: {text}", markup=False, style="dim", soft_wrap=True)
    for text in warnings:
        errors.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)


def write_json(path: Path | None, content: Any) -> None:
    """Writes a result where `--json` says: to a file, to standard output, or nowhere.

    Raises:
        BitfaceError: the file can't be written.
        OSError: standard output can't.
    """
    if path in STDOUT:
        sys.stdout.write(files.json_text(content))
        sys.stdout.flush()
    elif path is not None:
        files.write_json(path, content)
