"""Rotation consistent margin: the individual quantization error as a margin (Wu et al., CVPR 2020)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor

from bitface import ranks
from bitface.errors import UsageError
from bitface.losses.angular import ERROR_FORMS, individual_error
from bitface.losses.base import Block, Loss, TeacherBlock, choice, given, number
from bitface.losses.centers import ClassCenters
from bitface.losses.margin import MARGINS, Target, margin_logits
from bitface.losses.registry import LOSSES
from bitface.losses.softmax import cross_entropy

FORMS = ("A", "B", "C")
CENTERS = ("epoch", "ema")


def rcm_target(angle: Tensor, error: Tensor, lam: float, form: str, target: Target) -> Tensor:
    """What stands in for the cosine of the true class, `[B]`, with `target` = cos(θ + m) in the paper.

    A: target(θ + λe) (equation 11); B: target(θ) - λe; C: target((1 + λe) θ) (section 5.2).

    Args:
        angle: θ, to the weights of the true class, `[B]`, radians.
        error: e, the individual errors, `[B]`, radians.
    """
    if form == "A":
        return target(angle + lam * error)
    if form == "B":
        return target(angle) - lam * error
    return target((1 + lam * error) * angle)


@dataclass(frozen=True)
class RcmOptions:
    """The options of `RCM`.

    Attributes:
        margin: arcface, cosface or sphereface, with its `s`, `m` (None: its usual one) and `sample`.
        lam: λ, 0 to 100.
        form: A, B or C.
        error: scalar or vector; see `individual_error`.
        centers: epoch or ema.
        momentum: what `ema` keeps of the old centre, 0 to 0.9999.
    """

    margin: str = "arcface"
    lam: float = 5.0
    form: str = "A"
    error: str = "scalar"
    centers: str = "epoch"
    momentum: float = 0.9
    s: float = 64.0
    m: float | None = None
    sample: float = 1.0


@LOSSES.register("rcm")
class RCM(Loss):
    """A margin loss whose margin grows with each face's individual error.

    The error's gradient goes through the student's embedding alone, not through centres or the teacher. A face whose
    class has no centre yet gets the plain margin. With λ = 5, θ + m + λe easily passes π, where the paper's cosine
    would reward larger errors; here it goes on falling (see `margin`).

    The paper doesn't say when centres are computed again. `epoch`: exactly, by `refresh`, which the training loop calls
    before the first step and after each epoch; `ema`: from every step's batch, after the step has used the old ones.

    Args:
        embedding_size, classes: D and C.
        generator: where the first class weights come from; None: torch's own.
        options: the fields of `RcmOptions`.

    Raises:
        UsageError: there are no classes; an option is unknown or out of range. From `forward`: no labels.
        RuntimeError: from `forward`, where `refresh` was never called although centres are refreshed by epoch.
    """

    name = "rcm"
    needs_labels = True
    Options = RcmOptions

    def __init__(
        self,
        embedding_size: int,
        classes: int,
        generator: Generator | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        settings = RcmOptions(**options)
        if classes < 1:
            raise UsageError(f"{self.name} needs labelled faces: there are no classes")
        base = MARGINS[choice(self.name, "margin", settings.margin, tuple(MARGINS))]
        self.margin = base(embedding_size, classes, settings.s, settings.m, generator, settings.sample)
        self.lam = number(self.name, "lam", settings.lam, 0, 100)
        self.form = choice(self.name, "form", settings.form, FORMS)
        self.error = choice(self.name, "error", settings.error, ERROR_FORMS)
        self.rule = choice(self.name, "centers", settings.centers, CENTERS)
        self.wants_refresh = self.rule == "epoch"
        self.momentum = number(self.name, "momentum", settings.momentum, 0, 0.9999)
        self.centers = ClassCenters(embedding_size, classes)

    def begin(self, faces: Iterable[TeacherBlock]) -> None:
        self.margin.begin(faces)

    def refresh(self, faces: Iterable[Block]) -> None:
        """Sets the centres to those of exactly these embeddings; under both rules."""
        self.centers.set(faces)

    def errors(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The individual errors of a batch, `[B]`, radians; 0 where the class has no centre yet."""
        centers = self.centers
        # Cloned by indexing: what `ema` changes afterwards doesn't disturb the gradient.
        c, c_q = centers.teacher[labels], centers.student[labels]
        error = individual_error(teacher.detach(), student, c, c_q, self.error)
        return error.where(centers.known[labels], error.new_zeros(()))

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        labels = given(self.name, labels)
        if self.wants_refresh and not self.centers.known.any():
            raise RuntimeError("rcm with centers=epoch: call refresh() with all embeddings before the first step")
        student, columns = ranks.shared(student), self.margin.columns(labels)
        error = self.errors(student, teacher, labels)
        if self.rule == "ema" and self.training:
            self.centers.move(student.detach(), teacher.detach(), labels, self.momentum)
        logits = margin_logits(
            self.margin.cosines(student),
            columns,
            self.margin.s,
            lambda angle: rcm_target(angle, error, self.lam, self.form, self.margin.target),
        )
        return cross_entropy(logits, columns)
