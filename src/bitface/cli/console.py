"""What the commands share: two consoles and a progress bar with rate and remaining time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

output = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Gives a function that opens a named step; a step takes (done, total). Silent where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not sys.stderr.isatty()) as bars:

        def step(name: str) -> Callable[[int, int], None]:
            task = bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield step


def remarks(notes: list[str], warnings: list[str]) -> None:
    """Prints notes and warnings to stderr."""
    for text in notes:
        errors.print(f"note: {text}", markup=False, style="dim", soft_wrap=True)
    for text in warnings:
        errors.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)
