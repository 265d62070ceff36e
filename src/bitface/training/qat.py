"""Quantization-aware training: a calibrated student learns to give its teacher's embeddings."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from bitface.errors import UsageError
from bitface.graph import Network, passes
from bitface.losses import build_sum
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.plan import PlannedLayer
from bitface.quant.post_training import calibrated, finished, placed
from bitface.quant.quantizers import QUANTIZERS
from bitface.training.distil import Learner, Session, Teacher, distil, left
from bitface.training.faces import TrainingFaces, digest
from bitface.training.settings import Training
from bitface.training.trainee import History, check

# Faces that find the ranges before the first step.
_CALIBRATING = 512


@dataclass(frozen=True)
class Method:
    """How a student is trained: the part of a recipe that isn't the bits.

    Attributes:
        weights, activations: names of `quantizers.QUANTIZERS`.
        calibration: how the ranges are found before the first step.
    """

    training: Training = field(default_factory=Training)
    weights: str = "lsq"
    activations: str = "lsq"
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        """Raises UsageError where ranges of activations follow whole batches, and no quantizer would see one."""
        training = self.training
        if training.accumulate > 1 and not training.freeze_ranges and QUANTIZERS[self.activations].watches:
            raise UsageError(
                f"'accumulate' is {training.accumulate}, and the ranges of '{self.activations}' follow whole batches: "
                "set it to 1 with a smaller 'batch', take activations that learn (lsq, pact), or 'freeze_ranges: true'"
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "training": self.training.to_json(),
            "weights": self.weights,
            "activations": self.activations,
            "calibration": asdict(self.calibration),
        }


def train(
    network: Network,
    faces: TrainingFaces,
    held_out: np.ndarray,
    plan: BitPlan,
    method: Method,
    teacher: Teacher,
    session: Session = Session(),
) -> tuple[Network, list[PlannedLayer], History]:
    """The integer network of a float one after training, the bits of every layer, and what the training did.

    Args:
        network: the teacher, with its preprocessing.
        faces: what is learned from; the first 512 find the ranges.
        held_out: faces on which the agreement with the teacher decides which state is the best, `[M, H, W, 3]`.
        teacher: gives the network's embeddings.
        session: its minutes count the calibration, too.

    Raises:
        BitfaceError: see `fit`, `build_sum`, `calibrated`; or the calibration takes all of `minutes`.
    """
    began, checkpoint, watch = session.clock(), session.checkpoint, session.watch
    training, calibrating = method.training, np.asarray(faces.images[:_CALIBRATING])
    learn.check_plan(plan, method.weights)
    loss = build_sum(training.loss, network.embedding_size, faces.classes)
    check(loss, faces, training)
    if session.resume and checkpoint and checkpoint.exists():
        # Its numbers come from the checkpoint, those of biases that only correction brought among them.
        student = placed(network, passes.fold(network.graph), plan)
        for layer in student.quantized_layers().values() if method.calibration.bias_correction else ():
            layer.add_to_bias(torch.zeros(len(layer.weight)))
    else:
        student = calibrated(network, calibrating, plan, method.calibration, watch.calibrating, watch.rebuilding)
    minutes = left(session.minutes, session.clock() - began, "the calibration")
    learn.make_learnable(student, method.weights, method.activations)
    identity = {
        "network": network.fingerprint(),
        "plan": repr(plan),
        "settings": repr(method),
        "faces": digest(faces),
        "minutes": repr(session.minutes),
    }
    assert network.preprocess is not None
    history = distil(
        Learner(student.graph, network.preprocess, fused(student.graph)), loss, faces, held_out, teacher, training,
        identity, replace(session, minutes=minutes),
    )  # fmt: skip
    learn.settle(student)
    return finished(network, student, calibrating, method.calibration), student.layers, history
