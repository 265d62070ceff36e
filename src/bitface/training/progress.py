"""How a training tells where it is."""

from collections.abc import Callable

from bitface.progress import Progress, Steps
from bitface.training.trainee import Status


def both(first: Callable[[Status], None], second: Callable[[Status], None] | None) -> Callable[[Status], None]:
    """Tells two of a training, where there are two."""
    if second is None:
        return first

    def tell(status: Status) -> None:
        first(status)
        second(status)

    return tell


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
