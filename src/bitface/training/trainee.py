"""What is trained on what, and what the training says of itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from bitface import ranks
from bitface.errors import UsageError, option
from bitface.losses import Loss
from bitface.preprocess import Preprocess
from bitface.training.faces import Teach, TrainingFaces
from bitface.training.sampler import Sampler
from bitface.training.settings import Training
from bitface.training.teacher import Targets


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
    """What a training did: one row for each look at the held-out faces, how fast it was, and by what it was computed.

    Attributes:
        devices: of the ranks, see `device.title_of`.
        precision: f32, tf32 or bf16.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    images: int = 0
    devices: list[str] = field(default_factory=list)
    precision: str = "f32"

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
        teach_images: the teacher on a step's images as the student reads them, on the same device: `[B, 3, H, W]` →
            `[B, D]`; None: `teach` on views.
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
    teach_images: Callable[[Tensor], Tensor] | None = None


def check(loss: Loss, faces: TrainingFaces, training: Training) -> None:
    """Refuses faces, loss and settings that don't go together: before a calibration, or a teacher, takes minutes.

    Raises:
        UsageError: labels or pairs of a person are missing, faces are too few for a batch, or `mix` has labels.
    """
    labels = faces.labels
    if training.batch < ranks.count():
        raise UsageError(
            f"'batch' is {training.batch}, and {ranks.count()} ranks share it; set it to {ranks.count()} or more"
        )
    if loss.needs_labels and labels is None:
        raise UsageError(f"the loss needs to know who is on each image; say it with {option('labels')}")
    if loss.uses_pairs and training.per_identity < 2:
        raise UsageError("the loss learns from several images of a person: set 'per_identity' to 2 or more")
    if loss.uses_pairs and labels is not None and np.bincount(labels).max() < 2:
        raise UsageError("the loss learns from several images of a person, and every person has one image only")
    if loss.needs_labels and training.mix:
        raise UsageError("'mix' blends people, and the loss needs to know who is on each image; set 'mix' to 0")
    Sampler(faces, training)
