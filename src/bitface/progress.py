"""How long work tells where it is: bars on a terminal, lines in a log, or silence."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

errors = Console(stderr=True, highlight=False)

_LOG_SECONDS = 30.0


class Progress(Protocol):
    """Told of (done, total), and of a few words beside them."""

    def __call__(self, done: int, total: int, words: str = "") -> None: ...


# Called with the name of a step; gives what its progress is reported to.
Steps = Callable[[str], Progress]


def silent(name: str) -> Progress:
    """Tells nobody."""
    return lambda done, total, words="": None


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def shown() -> Iterator[Steps]:
    """Gives a function that opens a named step: a bar with rate and remaining time, or lines where stderr is a file."""
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
    with Bars(*columns, console=errors, transient=True) as bars:

        def step(name: str) -> Progress:
            task = bars.add_task(name, total=None, words="")
            return lambda done, total, words="": bars.update(task, completed=done, total=total, words=words)

        yield step


def _logged(name: str) -> Progress:
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
