"""The loop: one for full-precision training and for quantization-aware training.

    sampler → views → student → loss (with the teacher's embeddings, and labels where there are) → step

Everything that a step draws depends on the seed and the step's number alone, and the rest of the state is in the
checkpoint, so that a resumed training ends with the same weights, bit for bit.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitface.cpu import keep_memory
from bitface.errors import BitfaceError, UsageError, flag, option
from bitface.losses import Loss
from bitface.preprocess import Preprocess
from bitface.quant.quantizers import Quantizer
from bitface.training.checkpoint import Checkpoint, copied, load_optimizer, optimizer_tensors
from bitface.training.faces import Teach, TrainingFaces
from bitface.training.loader import Loader
from bitface.training.sampler import Sampler
from bitface.training.schedule import share_of_rate
from bitface.training.settings import Training
from bitface.training.teacher import Targets

# Seconds that have gone by since whenever.
Clock = Callable[[], float]

# Seconds between two checkpoints; a step more or less is never lost work worth a slower training.
CHECKPOINT_SECONDS = 60.0
_LOOKS = 10
_PROBED = 4


class Interrupted(BitfaceError):
    """Stopped by Ctrl-C, with everything kept."""


@dataclass
class Status:
    """Where a training is, for whoever watches."""

    step: int
    steps: int
    loss: float
    per_second: float
    agreement: float | None


@dataclass
class History:
    """What a training did: one row for each look at the held-out faces, and how fast it was."""

    rows: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    images: int = 0

    @property
    def per_second(self) -> float:
        return self.images / max(self.seconds, 1e-9)


@dataclass
class Trainee:
    """What is trained, on what, and against what.

    Attributes:
        model: images float32 `[B, 3, H, W]` → embeddings `[B, D]`.
        loss: see `bitface.losses`; its parameters (class weights) are trained too.
        teach: the teacher on views, or None where the loss needs no teacher.
        targets: cached teacher embeddings `[2, N, D]`, or None where the teacher is live or absent.
        evaluate: a figure of merit of the model as it is, the higher the better.
        run: what computes the embeddings in a step with the model's own parameters; None: the model.
        train_statistics: BatchNorm takes its statistics from the batch (full-precision training).
    """

    model: nn.Module
    loss: Loss
    faces: TrainingFaces
    preprocess: Preprocess
    teach: Teach | None = None
    targets: Targets | None = None
    evaluate: Callable[[], float] | None = None
    train_statistics: bool = False
    run: nn.Module | None = None


def fit(
    trainee: Trainee,
    training: Training,
    identity: dict[str, str] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    watch: Callable[[Status], None] | None = None,
    clock: Clock = time.perf_counter,
) -> History:
    """Trains, and leaves the best state (by `evaluate`, else the last one) in the model.

    Args:
        identity: names what the checkpoint is of, see `Checkpoint`.
        checkpoint: where the state is kept, about once a minute and at the end.
        resume: goes on from there, if there is a checkpoint.
        minutes: as many epochs as fit into this time, at the rate measured at the beginning.
        clock: tells the time; another one than the machine's makes `minutes` independent of its speed.

    Raises:
        BitfaceError: the loss is NaN or infinite (the step is named; the best state is in the checkpoint), or the
            checkpoint is of something else.
        Interrupted: Ctrl-C; the state is in the checkpoint.
    """
    keep_memory()
    run = _Run(trainee, training, identity or {}, checkpoint, clock)
    if resume and checkpoint and checkpoint.exists():
        run.restore(Checkpoint.read(checkpoint, run.identity))
    else:
        run.begin(minutes)
        run.write()  # a calibration, or rebuilt blocks, may have taken longer than what follows
    with _interruptible() as stopped, closing(run.loader):
        while run.step < run.steps:
            run.advance()
            if watch:
                watch(run.status())
            if stopped():
                run.write()
                where = f"; go on with {flag('resume')} ({checkpoint})" if checkpoint else ""
                raise Interrupted(f"stopped after step {run.step} of {run.steps}{where}")
    return run.finish()


class _Run:
    """The state of one training."""

    def __init__(
        self,
        trainee: Trainee,
        training: Training,
        identity: dict[str, str],
        path: Path | None,
        clock: Clock = time.perf_counter,
    ) -> None:
        check(trainee.loss, trainee.faces, training)
        self.trainee, self.training, self.identity, self.path, self.clock = trainee, training, identity, path, clock
        self.loader = Loader(trainee.faces, training)
        self.sampler = self.loader.sampler
        self.model = trainee.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.requires_grad_(True)
        self.optimizer = _optimizer(self.model, trainee.loss, training)
        self.half = training.half
        self.step, self.steps = 0, 0
        self.average: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.best_figure = -float("inf")
        self.history = History()
        self._written = clock()
        self._loss = float("nan")

    def begin(self, minutes: float | None) -> None:
        if minutes is None:
            self.steps = max(1, round(self.training.epochs * self.sampler.steps_per_epoch), self.training.min_steps)
        else:
            self.steps = max(1, int(minutes * 60 / self._seconds_per_step()))
        if self.training.average:
            self.average = copied(self.model)

    def restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.groups["model"])
        self.trainee.loss.load_state_dict(checkpoint.groups.get("loss", {}))
        load_optimizer(self.optimizer, checkpoint.groups.get("optimizer", {}))
        self.average, self.best = checkpoint.groups.get("average", {}), checkpoint.groups.get("best", {})
        self.step, numbers = checkpoint.step, checkpoint.numbers
        self.steps, self.best_figure = numbers["steps"], numbers["best"] if self.best else -float("inf")
        self.history = History(**numbers["history"])

    def write(self) -> None:
        self._written = self.clock()
        if self.path is None:
            return
        numbers = {
            "steps": self.steps,
            "best": self.best_figure if self.best else None,
            "history": vars(self.history),
        }
        groups = {
            "model": self.model.state_dict(),
            "loss": self.trainee.loss.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "average": self.average,
            "best": self.best,
        }
        Checkpoint(self.identity, self.step, groups, numbers).write(self.path)

    def advance(self) -> None:
        """One step, and what follows from it."""
        if self.trainee.loss.wants_refresh and self.step % self.sampler.steps_per_epoch == 0:
            self._refresh()
        began = self.clock()
        share = share_of_rate(self.training, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * share
        # Whatever draws random numbers inside the model (dropout) draws them by the step too.
        torch.manual_seed(self.training.seed * 1_000_003 + self.step)
        loss = self._loss_of(self.step)
        self._loss = float(loss.detach())
        if not np.isfinite(self._loss):
            raise BitfaceError(
                f"the loss is {self._loss} at step {self.step + 1} of {self.steps}; lower 'rate' (or 'clip'). "
                + (f"The last good state is in {self.path}" if self.path and self.path.exists() else "Nothing is kept")
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.training.clip:
            nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], self.training.clip)
        self.optimizer.step()
        self.step += 1
        self._follow()
        self.history.seconds += self.clock() - began
        self.history.images += self.training.batch
        last = self.step == self.steps
        if last or self.step % max(1, self.steps // _LOOKS) == 0:
            self._look()
        if last or self.clock() - self._written > CHECKPOINT_SECONDS:
            self.write()

    def status(self) -> Status:
        agreement = self.history.rows[-1].get("agreement") if self.history.rows else None
        return Status(self.step, self.steps, self._loss, self.history.per_second, agreement)

    def finish(self) -> History:
        self.model.load_state_dict(self.best or self.average or self.model.state_dict())
        self.model.eval()
        self.history.steps = self.steps
        return self.history

    def _loss_of(self, number: int) -> Tensor:
        trainee = self.trainee
        step = self.loader.take(number, trainee.teach or _no_teacher, trainee.targets)
        inputs = self._inputs(step.images)
        self.model.train(trainee.train_statistics)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            embeddings = (trainee.run or self.model)(inputs)
        loss: Tensor = trainee.loss(
            embeddings.float(), torch.from_numpy(step.targets), torch.from_numpy(step.labels.astype(np.int64))
        )
        return loss

    def _follow(self) -> None:
        """Moves the average after the weights."""
        decay = min(self.training.average, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items() if self.average else ():
            if value.is_floating_point():
                self.average[key].lerp_(value.detach(), 1 - decay)
            else:
                self.average[key].copy_(value)

    def _look(self) -> None:
        """Evaluates what would be the result now, and keeps it if it is the best so far."""
        row: dict[str, float] = {"step": self.step, "loss": self._loss}
        if self.trainee.evaluate:
            live = copied(self.model) if self.average else {}
            if self.average:
                self.model.load_state_dict(self.average)
            self.model.eval()
            with torch.no_grad():
                figure = self.trainee.evaluate()
            row["agreement"] = figure
            if figure >= self.best_figure:
                self.best_figure, self.best = figure, copied(self.model)
            if live:
                self.model.load_state_dict(live)
        self.history.rows.append(row)

    def _refresh(self) -> None:
        """Shows the loss the embeddings of all faces (see `Loss.refresh`)."""
        trainee = self.trainee
        images, size = trainee.faces.images, self.training.batch
        labels = np.arange(len(images)) if trainee.faces.labels is None else trainee.faces.labels  # as in a step
        self.model.eval()
        student, expected = [], []
        with torch.no_grad():
            for start in range(0, len(images), size):
                block = np.asarray(images[start : start + size])
                student.append(self.model(self._inputs(block)).float())
                teach = trainee.teach or _no_teacher
                expected.append(teach(block) if trainee.targets is None else trainee.targets[0, start : start + size])
        teacher = torch.from_numpy(np.concatenate(expected))
        trainee.loss.refresh(torch.cat(student), teacher, torch.from_numpy(labels))

    def _inputs(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(self.trainee.preprocess(images)).contiguous(memory_format=torch.channels_last)

    def _seconds_per_step(self) -> float:
        """Measured on steps whose gradients are thrown away."""
        states = [(module, copied(module)) for module in (self.model, self.trainee.loss)]
        if self.trainee.loss.wants_refresh:
            self._refresh()
        times = []
        for number in range(_PROBED):
            began = self.clock()
            self._loss_of(number).backward()
            times.append(self.clock() - began)
        self.optimizer.zero_grad(set_to_none=True)
        for module, state in states:
            module.load_state_dict(state)
        return float(np.median(times[1:]))


def check(loss: Loss, faces: TrainingFaces, training: Training) -> None:
    """Refuses faces, loss and settings that don't go together: before a calibration, or a teacher, takes minutes.

    Raises:
        UsageError: labels or pairs of a person are missing, faces are too few for a batch, or `mix` has labels.
    """
    labels = faces.labels
    if loss.needs_labels and labels is None:
        raise UsageError(f"the loss needs to know who is on each image; say it with {option('labels')}")
    if loss.uses_pairs and training.per_identity < 2:
        raise UsageError("the loss learns from several images of a person: set 'per_identity' to 2 or more")
    if loss.uses_pairs and labels is not None and np.bincount(labels).max() < 2:
        raise UsageError("the loss learns from several images of a person, and every person has one image only")
    if loss.needs_labels and training.mix:
        raise UsageError("'mix' blends people, and the loss needs to know who is on each image; set 'mix' to 0")
    Sampler(faces, training)


def _optimizer(model: nn.Module, loss: Loss, training: Training) -> torch.optim.Optimizer:
    """Three groups: weights, everything one-dimensional (never decayed), and the quantizers' own numbers."""
    quantizer_parameters = {
        id(p) for m in model.modules() if isinstance(m, Quantizer) for p in m.parameters(recurse=False)
    }
    if training.freeze_ranges:
        for parameter in model.parameters():
            if id(parameter) in quantizer_parameters:
                parameter.requires_grad_(False)
    parameters = [p for p in [*model.parameters(), *loss.parameters()] if p.requires_grad]
    weights = [p for p in parameters if id(p) not in quantizer_parameters and p.dim() > 1]
    others = [p for p in parameters if id(p) not in quantizer_parameters and p.dim() <= 1]
    ranges = [p for p in parameters if id(p) in quantizer_parameters]
    groups: list[dict[str, Any]] = [
        {"params": weights, "highest": training.rate, "weight_decay": training.weight_decay},
        {"params": others, "highest": training.rate, "weight_decay": 0.0},
        {"params": ranges, "highest": training.rate * training.quantizer_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=training.rate)


def _no_teacher(images: np.ndarray) -> np.ndarray:
    return np.zeros((len(images), 1), np.float32)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C into a question that is asked after each step (in the main thread, where signals arrive)."""
    stop = False

    def ask(*_: object) -> None:
        nonlocal stop
        stop = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: stop
    finally:
        signal.signal(signal.SIGINT, before)
