"""Where a training's progress is kept: lines of JSON without anything else, or what people watch trainings with."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from bitface import ranks
from bitface.errors import BitfaceError, one_line
from bitface.registry import Registry
from bitface.telemetry import silenced
from bitface.training.trainee import Status

# Told of a step and the figures there: loss, images a second, agreement with the teacher where it was measured.
Tell = Callable[[int, Mapping[str, float]], None]
# Opens a tracker for a folder of results and what there is to say of the training.
Open = Callable[[Path, Mapping[str, Any], ExitStack], Tell]

TRACKERS: Registry[Open] = Registry("tracker", "bitface.trackers")


@contextmanager
def tracked(word: str | None, folder: Path, about: Mapping[str, Any]) -> Iterator[Callable[[Status], None] | None]:
    """Gives what is told of every step of a training; None: nobody listens, or another rank is the first.

    Args:
        word: a name of `TRACKERS`, or None.
        folder: of the training's results.
        about: the settings, as plain data.

    Raises:
        UsageError: no such tracker.
        BitfaceError: its package isn't installed, or it can't be opened; from a step: it can't be told of it.
    """
    if word is None:
        yield None
        return
    opened = TRACKERS[word]
    if not ranks.is_first():
        yield None
        return
    with ExitStack() as stack:
        with _failing(f"{word} can't be opened"):
            tell = opened(folder, about, stack)

        def watch(status: Status) -> None:
            figures = {"loss": status.loss, "images_per_second": status.per_second}
            if status.agreement is not None:
                figures["agreement"] = status.agreement
            with _failing(f"{word} can't be told of step {status.step}"):
                tell(status.step, figures)

        yield watch


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Says in one line what a tracker raises, whose packages have errors of their own."""
    try:
        yield
    except BitfaceError:
        raise
    except Exception as error:
        raise BitfaceError(f"{what}: {one_line(error)}") from error


@TRACKERS.register("jsonl")
def _jsonl(folder: Path, about: Mapping[str, Any], stack: ExitStack) -> Tell:
    """`OUT/log.jsonl`: a line for each step; a resumed training adds to it."""
    path = folder / "log.jsonl"
    try:
        file = stack.enter_context(path.open("ab", buffering=0))
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror}); choose another folder") from error

    def tell(step: int, figures: Mapping[str, float]) -> None:
        try:
            file.write(json.dumps({"step": step, **figures}).encode() + b"\n")
        except OSError as error:
            raise BitfaceError(f"{path}: can't be written ({error.strerror})") from error

    return tell


@TRACKERS.register("tensorboard")
def _tensorboard(folder: Path, about: Mapping[str, Any], stack: ExitStack) -> Tell:
    """`OUT/tensorboard/`, for `tensorboard --logdir OUT`."""
    _package("tensorboard")
    writer = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))
    stack.callback(writer.close)
    writer.add_text("settings", f"```json\n{json.dumps(about, indent=2, default=str)}\n```")

    def tell(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    return tell


@TRACKERS.register("wandb")
def _wandb(folder: Path, about: Mapping[str, Any], stack: ExitStack) -> Tell:
    """A run of Weights & Biases, by its own environment variables (WANDB_PROJECT, WANDB_MODE)."""
    run = _package("wandb").init(dir=str(folder), config=dict(about), name=folder.name)
    stack.callback(run.finish)
    return lambda step, figures: run.log(dict(figures), step=step)


@TRACKERS.register("mlflow")
def _mlflow(folder: Path, about: Mapping[str, Any], stack: ExitStack) -> Tell:
    """A run of MLflow, where MLFLOW_TRACKING_URI says."""
    mlflow = _package("mlflow")
    stack.enter_context(mlflow.start_run(run_name=folder.name))
    mlflow.log_dict(dict(about), "settings.json")
    return lambda step, figures: mlflow.log_metrics(dict(figures), step=step)


def _package(name: str) -> Any:
    try:
        with silenced():
            return import_module(name)
    except ImportError as error:
        raise BitfaceError(f"{name} isn't installed here: pip install 'bitface[{name}]', or log to jsonl") from error
