"""How long work tells where it is: bars on a terminal, lines in a log, or silence."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bitface.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

errors = Terminal(stderr=True)

_LOG_SECONDS = 30.0


class Progress(Protocol):
    """Told of (done, total), and of a few words beside them."""

    def __call__(self, done: int, total: int, words: str = "") -> None: ...


# Called with the name of a step; gives what its progress is reported to.
Steps = Callable[[str], Progress]


def silent(name: str) -> Progress:
    """Tells nobody."""
    return lambda done, total, words="": None


class Voice:
    """How much is said beside results: `quiet`, neither progress nor notes; `verbose`, each step with its time."""

    quiet = False
    verbose = False


voice = Voice()


@contextmanager
def shown() -> Iterator[Steps]:
    """Gives a function that opens a named step: a bar with rate and remaining time, or lines where stderr is a file."""
    if voice.quiet:
        yield silent
        return
    if voice.verbose or not sys.stderr.isatty():
        yield _timed if voice.verbose else _logged
        return
    with _on_terminal() as bars:
        yield _Bars(bars).step


def _on_terminal() -> "Bars":
    from rich.progress import (  # whoever wants help doesn't wait for it
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")

    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate(),
        TimeRemainingColumn(), TextColumn("{task.fields[words]}", markup=False), console=errors, transient=True,
    )  # fmt: skip


class _Bars:
    """A bar for each step that isn't done; between steps one without an end, as something is done there, too."""

    def __init__(self, bars: "Bars") -> None:
        self._bars, self._running = bars, set["TaskID"]()
        self._between = bars.add_task("working", total=None, words="")

    def step(self, name: str) -> Progress:
        task = self._bars.add_task(name, total=None, words="")
        self._run(task, True)

        def tell(done: int, total: int, words: str = "") -> None:
            self._bars.update(task, completed=done, total=total, words=words, visible=done < total)
            self._run(task, done < total)

        return tell

    def _run(self, task: "TaskID", runs: bool) -> None:
        (self._running.add if runs else self._running.discard)(task)
        self._bars.update(self._between, visible=not self._running)


def _timed(name: str) -> Progress:
    """A line when a step begins, and one when it is done."""
    began = time.monotonic()
    errors.print(f"{name} ...", markup=False, soft_wrap=True, style="dim")

    def tell(done: int, total: int, words: str = "") -> None:
        if done == total:
            line = f"{name}: {total:,} in {time.monotonic() - began:.1f} s{', ' if words else ''}{words}"
            errors.print(line, markup=False, soft_wrap=True, style="dim")

    return tell


def _logged(name: str) -> Progress:
    """A line about every minute, and one at the end of a step that had one, so that short steps say nothing."""
    began = last = time.monotonic()
    origin = (began, 0)

    def tell(done: int, total: int, words: str = "") -> None:
        nonlocal last, origin
        now, since = time.monotonic(), origin
        if since[0] == began or done < since[1]:
            origin = (now, done)  # from here, as an earlier run may have done the first of them
        more = f"{', ' if words else ''}{words}"
        if done >= total:
            if last > began:
                errors.print(
                    f"{name} {total}/{total}, {(now - began) / 60:.1f} min{more}", markup=False, soft_wrap=True
                )
            return
        if now - last < _LOG_SECONDS:
            return
        last = now
        left = (now - since[0]) / max(done - since[1], 1) * (total - done)
        errors.print(f"{name} {done}/{total}, {left / 60:.1f} min left{more}", markup=False, soft_wrap=True)

    return tell
