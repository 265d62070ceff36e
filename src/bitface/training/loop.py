"""The loop: one for full-precision training and for quantization-aware training.

    sampler → views → student → loss (with the teacher's embeddings, and labels where there are) → step

Everything that a step draws depends on the seed and the step's number alone, and the rest of the state is in the
checkpoint, so that a resumed training ends with the same weights, bit for bit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitface import ranks, signals
from bitface.cpu import keep_memory
from bitface.data.crops import Crops
from bitface.device import computing, device_of, precision_of, title_of
from bitface.errors import BitfaceError, Interrupted, flag, takes
from bitface.losses.base import Again, Block
from bitface.training.batchwide import over_ranks
from bitface.training.checkpoint import Checkpoint, copied
from bitface.training.faces import blocks
from bitface.training.heads import SplitHeads
from bitface.training.loader import Loader
from bitface.training.memory import within_memory
from bitface.training.optimizer import clip, optimizer_of, sum_gradients
from bitface.training.schedule import share_of_rate
from bitface.training.settings import Training
from bitface.training.trainee import History, Status, Trainee, check
from bitface.training.whole_batch import WholeBatch

# Seconds that have gone by since whenever.
Clock = Callable[[], float]

# Seconds between two checkpoints; a step more or less is never lost work worth a slower training.
CHECKPOINT_SECONDS = 60.0
_LOOKS = 10
_PROBED = 4
# Steps from one look at the loss to the next where a look would let a GPU wait for the next step's commands.
_UNSEEN = 16


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

    Where torchrun started several processes, each is a rank of the same training: what it does depends on the whole
    batch, not on their number, and the first writes.

    Args:
        identity: names what the checkpoint is of, see `Checkpoint`.
        checkpoint: where the state is kept, about once a minute and at the end.
        resume: goes on from there, if there is a checkpoint.
        minutes: as many epochs as fit into this time, at the rate measured at the beginning.
        clock: tells the time; another one than the machine's makes `minutes` independent of its speed.

    Raises:
        BitfaceError: the loss is NaN or infinite (the step is named; the best state is in the checkpoint), the
            checkpoint is of something else, the ranks aren't about the same, or a GPU's memory is full.
        Interrupted: Ctrl-C, or a request to end; the state is in the checkpoint.
    """
    keep_memory()
    begun = bool(resume and checkpoint and checkpoint.exists())
    ranks.agree({**(identity or {}), "checkpoint": str(begun)})
    run = _Run(trainee, training, identity or {}, checkpoint, clock)
    batchwide = over_ranks(run.model if trainee.train_statistics else nn.Identity(), training.batch)
    shape = (trainee.preprocess.channels, *trainee.preprocess.size)
    memory = within_memory(run.batch.run, shape, run.precision == "bf16", training)
    with batchwide, computing(run.device, run.precision), memory, _recoverable(checkpoint):
        if begun and checkpoint:
            run.restore(Checkpoint.read(checkpoint, run.identity))
        else:
            run.begin(minutes)
            run.write()  # a calibration, or rebuilt blocks, may have taken longer than what follows
        with signals.asking() as stopped, closing(run.loader):
            while run.step < run.steps:
                run.advance(stopped())
                if watch:
                    watch(run.status())
                if run.stop if ranks.count() > 1 else stopped():
                    run.write()
                    where = f"; {_way_on(checkpoint)}" if checkpoint else ""
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
        self.device = device_of(training.device)
        self.precision = precision_of(training.precision, self.device)
        self.loader = Loader(trainee.faces, training, ranks.part(training.batch))
        self.sampler = self.loader.sampler
        self.model = trainee.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.requires_grad_(True)
        runs = (trainee.run or self.model).to(self.device)
        trainee.loss.to(self.device)
        ranks.as_the_first([*self.model.state_dict().values(), *trainee.loss.state_dict().values()])
        self.heads = SplitHeads(trainee.loss)
        self.optimizer = optimizer_of(self.model, trainee.loss, training)
        self.batch = WholeBatch(runs, trainee.loss, self.precision == "bf16", training.accumulate)
        self.step, self.steps = 0, 0
        self.average: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.best_figure = -float("inf")
        self.history = History()
        self.stop = self._due = False
        self._written = clock()
        self._loss = float("nan")
        self._unseen: list[tuple[int, Tensor]] = []

    def begin(self, minutes: float | None) -> None:
        if minutes is None:
            self.steps = max(1, round(self.training.epochs * self.sampler.steps_per_epoch), self.training.min_steps)
        else:
            self.steps = max(1, int(minutes * 60 / self._seconds_per_step()))
            self.steps = int(ranks.reduced(torch.tensor(self.steps, device=self.device), "min"))
        if self.training.average:
            self.average = copied(self.model)

    def restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.groups["model"])
        self.heads.load_state(checkpoint.groups.get("loss", {}))
        self.heads.load_optimizer_state(self.optimizer, checkpoint.groups.get("optimizer", {}))
        self.average, self.best = (
            {key: value.to(self.device) for key, value in checkpoint.groups.get(name, {}).items()}
            for name in ("average", "best")
        )
        self.step, numbers = checkpoint.step, checkpoint.numbers
        self.steps, self.best_figure = numbers["steps"], numbers["best"] if self.best else -float("inf")
        self.history = History(**numbers["history"])

    def write(self) -> None:
        """Keeps the state; every rank must be here, and the first one writes."""
        self._check()
        if isinstance(self.trainee.faces.images, Crops):
            self.trainee.faces.images.damage.share()
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
            "loss": self.heads.state(),
            "optimizer": self.heads.optimizer_state(self.optimizer),
            "average": self.average,
            "best": self.best,
        }
        if ranks.is_first():
            Checkpoint(self.identity, self.step, groups, numbers).write(self.path)

    def advance(self, stop: bool = False) -> None:
        """One step, and what follows from it.

        Args:
            stop: this rank is asked to stop; `self.stop` says afterwards whether any of several is.
        """
        if self.trainee.loss.wants_refresh and self.step % self.sampler.steps_per_epoch == 0:
            self._refresh()
        began = self.clock()
        share = share_of_rate(self.training, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * share
        self._unseen.append((self.step, self._loss_of(self.step)))
        if self.device.type == "cpu":
            self._check()
        self.optimizer.zero_grad(set_to_none=True)
        self.batch.backward()
        due = ranks.is_first() and began - self._written > CHECKPOINT_SECONDS
        flags = torch.tensor([stop, due], dtype=torch.float32, device=self.device)
        loss_parameters = [p for p in self.trainee.loss.parameters() if id(p) not in self.heads.parameters]
        sum_gradients(self.model.parameters(), loss_parameters, flags)
        if self.training.clip:
            parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
            clip(parameters, self.heads.parameters, self.training.clip)
        self.optimizer.step()
        self.step += 1
        self._follow()
        last = self.step == self.steps
        if last or self.device.type == "cpu" or self.step % _UNSEEN == 0:
            self._check()
            self.stop, self._due = (flags > 0).tolist() if ranks.count() > 1 else (stop, False)
        self.history.seconds += self.clock() - began
        self.history.images += self.training.batch
        if last or self.step % max(1, self.steps // _LOOKS) == 0:
            self._look()
        if ranks.count() == 1:
            self._due = self.clock() - self._written > CHECKPOINT_SECONDS
        if last or self._due:
            self._due = False
            self.write()

    def _check(self) -> None:
        """Looks at the losses of the steps since the last look.

        Raises:
            BitfaceError: one is NaN or infinite.
        """
        seen, self._unseen = self._unseen, []
        losses = torch.stack([loss for _, loss in seen]).tolist() if seen else []
        for (step, _), self._loss in zip(seen, losses, strict=True):
            if not np.isfinite(self._loss):
                there = self.path and self.path.exists()
                raise BitfaceError(
                    f"the loss is {self._loss} at step {step + 1} of {self.steps}; lower 'rate' (or 'clip'). "
                    + (f"The last good state is in {self.path}" if there else "Nothing is kept")
                )

    def status(self) -> Status:
        agreement = self.history.rows[-1].get("agreement") if self.history.rows else None
        return Status(self.step, self.steps, self._loss, self.history.per_second, agreement)

    def finish(self) -> History:
        self.model.load_state_dict(self.best or self.average or self.model.state_dict())
        for module in (self.model, self.batch.run, self.trainee.loss):
            module.to("cpu")
        self.model.eval()
        self.history.steps, self.history.precision = self.steps, self.precision
        self.history.devices = ranks.told(title_of(self.device))
        return self.history

    def _loss_of(self, number: int) -> Tensor:
        """The loss of a step; `self.batch.backward` goes on from there."""
        trainee, total = self.trainee, self.training.batch
        here = trainee.teach_images if trainee.targets is None else None
        step = self.loader.take(number, (not here and trainee.teach) or _no_teacher, trainee.targets)
        inputs = self._inputs(step.images)
        targets = here(inputs) if here else torch.from_numpy(step.targets).to(self.device)
        labels = torch.from_numpy(step.labels.astype(np.int64)).to(self.device)
        self.model.train(trainee.train_statistics)
        return self.batch.forward(inputs, targets, labels, total, self.training.seed * 1_000_003 + number)

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

    def _refresh(self, count: int | None = None) -> None:
        """Shows the loss the embeddings of all faces, or of the first so many (see `Loss.refresh`)."""
        self.model.eval()
        with torch.no_grad():
            self.trainee.loss.refresh(Again(lambda: self._embedded(count)))

    def _embedded(self, count: int | None) -> Iterator[Block]:
        """The embeddings of student and teacher, and the labels, of all ranks' faces."""
        trainee = self.trainee
        teach, names = trainee.teach or _no_teacher, trainee.faces.labels
        for block in blocks(trainee.faces, max(1, self.training.batch // ranks.count()), 0, count):
            student = self.model(self._inputs(block.images)).float()
            known = teach(block.images) if trainee.targets is None else trainee.targets[0, block.rows]
            labels = block.rows if names is None else names[block.rows]  # as in a step
            own = student, *(torch.from_numpy(one).to(self.device) for one in (known, labels.astype(np.int64)))
            student, known, labels = map(block.joined, own)
            yield student, known, labels

    def _inputs(self, images: np.ndarray) -> Tensor:
        inputs = torch.from_numpy(self.trainee.preprocess(images)).to(self.device)
        return inputs.contiguous(memory_format=torch.channels_last)

    def _seconds_per_step(self) -> float:
        """Measured on steps whose gradients are thrown away."""
        states = [(module, copied(module)) for module in (self.model, self.trainee.loss)]
        refreshing, times = 0.0, []
        if self.trainee.loss.wants_refresh:  # a batch of faces for each step of an epoch
            began = self.clock()
            self._refresh(min(self.training.batch, len(self.trainee.faces.images)))
            refreshing = self.clock() - began
        for number in range(_PROBED):
            began = self.clock()
            self._loss_of(number)
            self.batch.backward()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(self.clock() - began)
        self.optimizer.zero_grad(set_to_none=True)
        for module, state in states:
            module.load_state_dict(state)
        return float(np.median(times[1:])) + refreshing


@contextmanager
def _recoverable(checkpoint: Path | None) -> Iterator[None]:
    """Says where to go on from where another rank has ended."""
    try:
        yield
    except ranks.Lost as error:
        there = checkpoint is not None and checkpoint.exists()
        raise ranks.Lost(f"{error}; {_way_on(checkpoint) if there else 'begin again'}") from None


def _way_on(checkpoint: Path | None) -> str:
    return f"go on with {flag('resume') if takes('resume') else 'the same again'} ({checkpoint})"


def _no_teacher(images: np.ndarray) -> np.ndarray:
    return np.zeros((len(images), 1), np.float32)
