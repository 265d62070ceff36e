"""Quantization-aware training: a calibrated student learns to give its teacher's embeddings."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitface.graph import Network, passes
from bitface.losses import build_sum
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.plan import PlannedLayer
from bitface.quant.post_training import calibrated, finished, placed
from bitface.quant.student import Student
from bitface.train.faces import Teach, TrainingFaces, digest
from bitface.train.loop import History, Status, Trainee, fit
from bitface.train.settings import Training
from bitface.train.teacher import cached_targets

# Faces that find the ranges before the first step.
_CALIBRATING = 512
_BATCH = 64


@dataclass(frozen=True)
class Method:
    """How a student is trained: the part of a recipe that isn't the bits.

    Attributes:
        weights, activations: names of `learn.QUANTIZERS`.
        calibration: how the ranges are found before the first step.
    """

    training: Training = field(default_factory=Training)
    weights: str = "lsq"
    activations: str = "lsq"
    calibration: Calibration = field(default_factory=Calibration)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Watch:
    """Who is told of what: (done, total) of the steps before training, and the status of training."""

    calibrating: Callable[[int, int], None] | None = None
    embedding: Callable[[int, int], None] | None = None
    training: Callable[[Status], None] | None = None


def train(
    network: Network,
    faces: TrainingFaces,
    held_out: np.ndarray,
    plan: BitPlan,
    method: Method,
    teach: Teach,
    teacher: str = "",
    cache: Path | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    watch: Watch = Watch(),
) -> tuple[Network, list[PlannedLayer], History]:
    """The integer network of a float one after training, the bits of every layer, and what the training did.

    Args:
        network: the teacher, with its preprocessing.
        faces: what is learned from; the first 512 find the ranges.
        held_out: faces on which the agreement with the teacher decides which state is the best, `[M, H, W, 3]`.
        teach: gives the teacher's embeddings of uint8 RGB faces.
        teacher: names the teacher's embeddings in the cache (its fingerprint and engine).
        cache: a folder that keeps the teacher's embeddings.
        checkpoint, resume, minutes: see `fit`.

    Raises:
        BitfaceError: see `fit`, `build_sum`, `calibrated`.
    """
    training, calibrating = method.training, faces.images[:_CALIBRATING]
    learn.check_plan(plan, method.weights)
    loss = build_sum(training.loss, network.embedding_size, faces.classes)
    if resume and checkpoint and checkpoint.exists():
        # Its numbers come from the checkpoint, those of biases that only correction brought among them.
        student = placed(network, passes.fold(network.graph), plan)
        for layer in student.quantized_layers().values() if method.calibration.bias_correction else ():
            layer.add_to_bias(torch.zeros(len(layer.weight)))
    else:
        student = calibrated(network, calibrating, plan, method.calibration, watch.calibrating)
    learn.make_learnable(student, method.weights, method.activations)
    targets = None
    if training.teacher == "cached":
        targets = cached_targets(faces.images, teach, teacher, cache, watch.embedding)
    if faces.labels is not None:
        known = teach(faces.images) if targets is None else targets[0]
        loss.begin(torch.from_numpy(known), torch.from_numpy(faces.labels))
    assert network.preprocess is not None
    trainee = Trainee(
        student.graph,
        loss,
        faces,
        network.preprocess,
        teach,
        targets,
        evaluate=lambda: (agreement if loss.keeps_direction else likeness)(
            embedded(network, student, held_out), torch.from_numpy(expected)
        ),
        run=fused(student.graph),
    )
    expected = teach(held_out)
    identity = {
        "network": network.fingerprint(),
        "plan": repr(plan),
        "settings": repr(method),
        "faces": digest(faces),
    }
    history = fit(trainee, training, identity, checkpoint, resume, minutes, watch.training)
    learn.settle(student)
    return finished(network, student, calibrating, method.calibration), student.layers, history


def embedded(network: Network, student: Student, images: np.ndarray) -> torch.Tensor:
    """The student's embeddings of uint8 faces, `[M, D]`."""
    assert network.preprocess is not None
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            inputs = torch.from_numpy(network.preprocess(images[start : start + _BATCH]))
            parts.append(student.graph(inputs.contiguous(memory_format=torch.channels_last)))
    return torch.cat(parts)


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
