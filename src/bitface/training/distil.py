"""Learning from a teacher: what every student goes through, quantized, pruned or another network altogether."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bitface import ranks
from bitface.errors import BitfaceError
from bitface.losses import Loss
from bitface.losses.base import Again
from bitface.preprocess import Preprocess
from bitface.store import Store
from bitface.training.faces import Teach, TrainingFaces
from bitface.training.loop import Clock, fit
from bitface.training.settings import Training
from bitface.training.teacher import cached_targets, taught
from bitface.training.trainee import History, Status, Trainee, check

_BATCH = 64


@dataclass(frozen=True)
class Teacher:
    """What a student learns from.

    Attributes:
        embed: uint8 RGB faces `[N, H, W, 3]` → embeddings `[N, D]`.
        name: of its embeddings in the store (its fingerprint and engine).
        store: where they are kept; None: nowhere.
        embed_images: embeddings of images on the training's device, see `Trainee.teach_images`; None: by `embed`.
    """

    embed: Teach
    name: str = ""
    store: Store | None = None
    embed_images: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True)
class Watch:
    """Who is told of what: (done, total) of the steps before training, and the status of training."""

    calibrating: Callable[[int, int], None] | None = None
    rebuilding: Callable[[int, int], None] | None = None
    embedding: Callable[[int, int], None] | None = None
    training: Callable[[Status], None] | None = None


@dataclass(frozen=True)
class Session:
    """How a training is kept, limited and told of.

    Attributes:
        checkpoint, resume, clock: see `fit`.
        minutes: as many epochs as fit into this time, what comes before the first step among it; None: no limit.
        watch: who is told of what.
    """

    checkpoint: Path | None = None
    resume: bool = False
    minutes: float | None = None
    watch: Watch = Watch()
    clock: Clock = time.perf_counter


@dataclass(frozen=True, eq=False)
class Learner:
    """A student as it is trained.

    Attributes:
        model: images float32 `[B, 3, H, W]` → embeddings `[B, D]`.
        preprocess: from faces to images.
        run, train_statistics: see `Trainee`.
    """

    model: nn.Module
    preprocess: Preprocess
    run: nn.Module | None = None
    train_statistics: bool = False


def distil(
    student: Learner,
    loss: Loss,
    faces: TrainingFaces,
    held_out: np.ndarray,
    teacher: Teacher,
    training: Training,
    identity: dict[str, str] | None = None,
    session: Session = Session(),
) -> History:
    """Trains a student in place, and leaves its best state in it.

    The best is the one that agrees most with the teacher on held-out faces: by the cosine of their embeddings where the
    loss brings these together, else, or where their sizes differ, by how alike both find each two faces.

    Args:
        held_out: uint8 RGB `[M, H, W, 3]`.
        identity: see `fit`.
        session: its minutes count the teacher's embeddings, too.

    Raises:
        BitfaceError: see `fit`; or the teacher's embeddings take all of `minutes`.
    """
    check(loss, faces, training)
    begun = session.resume and session.checkpoint is not None and session.checkpoint.exists()
    ranks.agree({**(identity or {}), "checkpoint": str(begun)})
    began, targets = session.clock(), None
    if training.teacher == "cached":
        targets = cached_targets(faces, teacher.embed, teacher.name, teacher.store, session.watch.embedding)
    if faces.labels is not None and not begun:
        loss.begin(Again(lambda: taught(faces, teacher.embed, targets)))
    expected = torch.from_numpy(teacher.embed(held_out))

    def evaluate() -> float:
        embeddings = embedded(student.run or student.model, student.preprocess, held_out)
        comparable = loss.keeps_direction and embeddings.shape == expected.shape
        return (agreement if comparable else likeness)(embeddings, expected)

    trainee = Trainee(
        student.model, loss, faces, student.preprocess, teacher.embed, targets, evaluate,
        train_statistics=student.train_statistics, run=student.run, teach_images=teacher.embed_images,
    )  # fmt: skip
    minutes = left(session.minutes, session.clock() - began, "the teacher's embeddings")
    return fit(
        trainee, training, identity, session.checkpoint, session.resume, minutes, session.watch.training, session.clock
    )


def left(minutes: float | None, seconds: float, what: str) -> float | None:
    """What is left of the minutes after so many seconds of something; None: there is no limit.

    Raises:
        BitfaceError: nothing is: an untrained student must not pass for a trained one.
    """
    if minutes is None:
        return None
    duration = seconds / 60
    if duration >= minutes:
        raise BitfaceError(
            f"{what} took {duration:.2g} minutes and left nothing of {minutes:.2g} to train in; give more"
        )
    return minutes - duration


def embedded(student: nn.Module, preprocess: Preprocess, images: np.ndarray) -> torch.Tensor:
    """A student's embeddings of uint8 faces, `[M, D]`, wherever its parameters are; each rank computes a part."""
    device = next((parameter.device for parameter in student.parameters()), torch.device("cpu"))
    own, parts = ranks.share(len(images)), []
    with torch.no_grad():
        for start in range(own.start, own.stop, _BATCH):
            inputs = torch.from_numpy(preprocess(images[start : min(start + _BATCH, own.stop)])).to(device)
            parts.append(student(inputs.contiguous(memory_format=torch.channels_last)))
    return ranks.joined(torch.cat(parts), len(images)).cpu()


def agreement(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """The mean cosine between a student's embeddings and its teacher's, `[M, D]` both."""
    return float(torch.nn.functional.cosine_similarity(student, teacher).mean())


def likeness(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """How alike student and teacher find each two faces: the correlation of their cosines, -1 to 1.

    Turning all embeddings together changes nothing. 0 for fewer than three faces, or where all cosines are equal.
    """
    first, second = torch.triu_indices(len(student), len(student), 1)
    cosines = [(rows @ rows.T)[first, second] for rows in map(torch.nn.functional.normalize, (student, teacher))]
    table = torch.stack(cosines).double()
    return float(torch.corrcoef(table)[0, 1].nan_to_num()) if table.shape[1] > 1 else 0.0
