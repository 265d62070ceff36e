"""How long a training would take and how much memory, by a few of its steps."""

import sys
from dataclasses import dataclass

import torch

from bitface.device import computing, title_of
from bitface.training.loop import _Run
from bitface.training.memory import within_memory
from bitface.training.settings import Training
from bitface.training.trainee import Trainee

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Trial:
    """What a few steps tell of a training.

    Attributes:
        steps: it would take; step_seconds: for each of them.
        bytes: of the device's memory, or of this process's, at the peak so far; 0: nobody knows.
        device, precision: see `History`.
    """

    steps: int
    step_seconds: float
    bytes: int
    device: str
    precision: str


def trial(trainee: Trainee, training: Training, minutes: float | None = None) -> Trial:
    """Takes a few steps of a training and throws them away; arguments and errors as in `fit`."""
    run = _Run(trainee, training, {}, None)
    shape = (trainee.preprocess.channels, *trainee.preprocess.size)
    memory = within_memory(run.batch.run, shape, run.precision == "bf16", training)
    with computing(run.device, run.precision), memory:
        seconds = run._seconds_per_step()
        run.begin(None)
    steps = run.steps if minutes is None else max(1, int(minutes * 60 / seconds))
    if run.device.type == "cuda":
        taken = torch.cuda.max_memory_allocated(run.device)
    else:
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    run.loader.close()
    return Trial(steps, seconds, taken, title_of(run.device), run.precision)
