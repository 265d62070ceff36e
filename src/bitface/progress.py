"""How long work tells where it is."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Told of (done, total), and of a few words beside them."""

    def __call__(self, done: int, total: int, words: str = "") -> None: ...


# Called with the name of a step; gives what its progress is reported to.
Steps = Callable[[str], Progress]


def silent(name: str) -> Progress:
    """Tells nobody."""
    return lambda done, total, words="": None
