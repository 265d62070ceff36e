"""How long work tells where it is."""

from collections.abc import Callable
from typing import Protocol

from bitface.train import Status


class Progress(Protocol):
    """Told of (done, total), and of a few words beside them."""

    def __call__(self, done: int, total: int, words: str = "") -> None: ...


# Called with the name of a step; gives what its progress is reported to.
Steps = Callable[[str], Progress]


def silent(name: str) -> Progress:
    """Tells nobody."""
    return lambda done, total, words="": None


def training_line(steps: Steps, name: str = "training") -> Callable[[Status], None]:
    """Reports a training: steps, loss, images per second, agreement with the teacher."""
    progress: Progress | None = None

    def tell(status: Status) -> None:
        nonlocal progress
        # Opened by its first step, or the time of calibrating would count as that of training.
        progress = progress or steps(name)
        agreed = "" if status.agreement is None else f", agreement {status.agreement:.4f}"
        progress(status.step, status.steps, f"loss {status.loss:.4g}{agreed}, {status.per_second:.0f} images/s")

    return tell
