"""Softmax over cosines, with a margin on the true class: SphereFace, CosFace, ArcFace."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bitface import ranks
from bitface.losses.angular import unit
from bitface.losses.base import number
from bitface.losses.registry import LOSSES
from bitface.losses.softmax import Softmax

# What stands in for the cosine of the true class, as a function of the angle to it: radians [B] → [B].
Target = Callable[[Tensor], Tensor]

# arccos has no finite slope at 1 and -1.
_COSINE_LIMIT = 1 - 1e-7


def falling_cosine(angle: Tensor) -> Tensor:
    """cos up to π, and on from there always downwards: `(-1)^k cos(angle) - 2k`, `k = floor(angle / π)`.

    ψ of SphereFace (Liu et al., CVPR 2017, section 3.2). The cosine itself would reward angles beyond π.
    """
    k = torch.floor(angle.detach() / math.pi)
    return (1 - 2 * (k % 2)) * torch.cos(angle) - 2 * k


def arc_target(angle: Tensor, m: float) -> Tensor:
    """cos(θ + m) while θ + m is at most π; beyond, cos(θ) - m·sin(m), as is usual: it still falls with θ."""
    return torch.where(angle + m <= math.pi, torch.cos(angle + m), falling_cosine(angle) - m * math.sin(m))


def margin_logits(cosines: Tensor, labels: Tensor, s: float, target: Target) -> Tensor:
    """Logits `s · cos`, with `s · target(angle)` at the true class.

    Args:
        cosines: of embeddings and class weights, `[B, C]`.
        labels: int64 `[B]`: columns of the true classes; -1: another rank has it.
    """
    if not cosines.shape[1]:
        return cosines
    column = labels.clamp(min=0)[:, None]
    true = cosines.gather(1, column)
    angle = torch.acos(true.clamp(-_COSINE_LIMIT, _COSINE_LIMIT))
    moved = target(angle[:, 0])[:, None]
    if ranks.count() > 1:
        moved = torch.where(labels[:, None] >= 0, moved, true)
    return s * cosines.scatter(1, column, moved)


class MarginSoftmax(Softmax):
    """The template: `target` is the one step that a margin loss overrides; unchanged, there is no margin.

    Args:
        embedding_size, classes: D and C.
        s: the scale of the cosines, 1 to 1000.
        m: the margin, in the loss's own unit; None: its usual value.
        generator: where the first class weights come from; None: torch's own.
        sample: see `Softmax`, 0.001 to 1.

    Raises:
        UsageError: there are no classes; an option is out of range. From `forward`: no labels.
    """

    usual_m: ClassVar[float] = 0.0
    m_range: ClassVar[tuple[float, float]] = (0, 0)

    def __init__(
        self,
        embedding_size: int,
        classes: int,
        s: float = 64.0,
        m: float | None = None,
        generator: Generator | None = None,
        sample: float = 1.0,
    ) -> None:
        super().__init__(embedding_size, classes, generator=generator)
        self.sample = number(self.name, "sample", sample, 1e-3, 1)
        self.s = number(self.name, "s", s, 1, 1000)
        self.m = number(self.name, "m", self.usual_m if m is None else m, *self.m_range)

    def target(self, angle: Tensor) -> Tensor:
        """What stands in for the cosine of the true class: `[B]` of angles `[B]`, radians from 0, also beyond π."""
        return falling_cosine(angle)

    def cosines(self, student: Tensor) -> Tensor:
        """Cosines of embeddings and the step's classes, `[B, K]`."""
        return unit(student) @ unit(self.vectors()).T

    def logits(self, student: Tensor, labels: Tensor) -> Tensor:
        return margin_logits(self.cosines(student), labels, self.s, self.target)


@LOSSES.register("sphereface")
class SphereFace(MarginSoftmax):
    """ψ(m·θ), m multiplying the angle, at least 1 (Liu et al., CVPR 2017).

    The length of the embedding is replaced by `s`; 1.35 is what trains at s = 64 (the paper's 4 is annealed to).
    """

    name, usual_m, m_range = "sphereface", 1.35, (1, 8)

    def target(self, angle: Tensor) -> Tensor:
        return falling_cosine(self.m * angle)


@LOSSES.register("cosface")
class CosFace(MarginSoftmax):
    """cos(θ) - m (Wang et al., CVPR 2018)."""

    name, usual_m, m_range = "cosface", 0.35, (0, 2)

    def target(self, angle: Tensor) -> Tensor:
        return falling_cosine(angle) - self.m


@LOSSES.register("arcface")
class ArcFace(MarginSoftmax):
    """cos(θ + m), m in radians (Deng et al., CVPR 2019); see `arc_target` for angles beyond π."""

    name, usual_m, m_range = "arcface", 0.5, (0, 1.5)

    def target(self, angle: Tensor) -> Tensor:
        return arc_target(angle, self.m)


MARGINS: dict[str, type[MarginSoftmax]] = {loss.name: loss for loss in (SphereFace, CosFace, ArcFace)}
