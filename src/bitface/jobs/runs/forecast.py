"""`--dry-run`: what a quantization by training would do, how long it would take, and how much memory."""

import time
from dataclasses import dataclass

import numpy as np

from bitface.errors import UsageError
from bitface.graph import passes
from bitface.inputs import faces as job_faces
from bitface.inputs.training import needs_labels
from bitface.jobs.quantize import QuantizeRequest
from bitface.losses import build_sum
from bitface.progress import Steps, silent
from bitface.quant import learn
from bitface.quant.fused import fused
from bitface.quant.post_training import placed
from bitface.runtime.teacher import teacher_of
from bitface.targets.plans import for_targets
from bitface.training import Trainee, TrainingFaces
from bitface.training.trial import Trial, trial

# Faces that tell how fast a teacher is.
_TRIED = 64


@dataclass(frozen=True)
class Forecast:
    """What a training would do.

    Attributes:
        faces, identities: to learn from; 0 identities: nobody needs them.
        teacher_seconds: for what is embedded once, before the first step.
    """

    bits: str
    faces: int
    identities: int
    epochs: float
    batch: int
    teacher_seconds: float
    trial: Trial

    def __str__(self) -> str:
        trial, once = self.trial, self.teacher_seconds
        minutes = (once + trial.steps * trial.step_seconds) / 60
        people = f" of {self.identities:,} people" if self.identities else ""
        return (
            f"would train {self.bits} on {self.faces:,} faces{people}: {trial.steps:,} steps of {self.batch} images, "
            f"{self.epochs:.3g} epochs, on {trial.device} in {trial.precision}\n"
            f"about {minutes:.1f} minutes after the calibration: {once / 60:.1f} for what the teacher embeds once, "
            f"{trial.step_seconds:.3g} s for a step ({self.batch / trial.step_seconds:.0f} images/s)\n"
            f"{trial.bytes / 1e9:.1f} GB of memory at the peak of the trial"
        )


def forecast(request: QuantizeRequest, steps: Steps = silent) -> Forecast:
    """Reads the network and the faces, takes a few steps of the training, and writes nothing.

    Raises:
        UsageError: the request is no training.
        BitfaceError, UsageError: see `quantize_model`.
    """
    method = request.method
    if method is None:
        raise UsageError("a trial of steps is for trainings, and this quantization takes none")
    plan, _, _ = for_targets(request.plan, request.targets)
    network = job_faces.load_teacher(
        request.model, request.source, request.preprocess, request.size, output=request.output
    )
    faces = job_faces.gather(
        request.source, network.size, request.seed, None, steps, network, method.training.device
    )  # fmt: skip
    images = faces.learning[: max(1, round(request.share * len(faces.learning)))]
    network, _, _ = job_faces.settle_preprocess(network, images, request.preprocess)
    labels = job_faces.labels_of(faces, len(images), request.source.labels, needs_labels(method.training))
    learning = TrainingFaces(images, labels, faces.workers)
    teacher = teacher_of(request.model, network, method.training)
    some = np.asarray(images[:_TRIED])
    began = time.perf_counter()
    embeddings = teacher.embed(some)
    seconds = (time.perf_counter() - began) / len(some)
    cached = method.training.teacher == "cached"
    targets = np.broadcast_to(embeddings[0], (2, len(images), embeddings.shape[1])) if cached else None
    student = placed(network, passes.fold(network.graph), plan)  # its numbers don't change the time of a step
    learn.make_learnable(student, method.weights, method.activations)
    loss = build_sum(method.training.loss, network.embedding_size, learning.classes)
    assert network.preprocess is not None
    trainee = Trainee(
        student.graph, loss, learning, network.preprocess, teacher.embed, targets, run=fused(student.graph),
        teach_images=teacher.embed_images,
    )  # fmt: skip
    told = trial(trainee, method.training, request.minutes)
    epochs = told.steps * method.training.batch / len(images)
    once = seconds * len(images) * (2 if cached else 0)
    return Forecast(str(plan.bits), len(images), learning.classes, epochs, method.training.batch, once, told)
