"""Evaluation-oriented distillation (Huang et al., CVPR 2022; Gazali et al. 2024): pairs, seen from FPR thresholds."""

import torch
from torch import Tensor

from bitface.losses.angular import unit
from bitface.losses.base import Loss, given, number, whole
from bitface.losses.memory import PairMemory
from bitface.losses.pairs import pair_cosines
from bitface.losses.registry import LOSSES
from bitface.losses.thresholds import Thresholds, highest


def rank_score(scores: Tensor, thresholds: Tensor, tau: float) -> Tensor:
    """How many of the thresholds `[K]` each score `[P]` is above, softly: `[P]`, sums of sigmoids over tau."""
    return torch.sigmoid(((scores[:, None] - thresholds) / tau).clamp(-50, 50)).sum(1)


def rank_gap(student: Tensor, teacher: Tensor, t_student: Tensor, t_teacher: Tensor, tau: float) -> Tensor:
    """Squared difference of the rank scores of each pair `[P]` (Huang et al.), each by its own thresholds `[K]`."""
    return (rank_score(student, t_student, tau) - rank_score(teacher, t_teacher, tau)).square()


def shift_gap(student: Tensor, teacher: Tensor, t_student: Tensor, t_teacher: Tensor) -> Tensor:
    """Squared length, over the thresholds, of the differences of each pair's distances from them, `[P]`.

    Equation 1 of Gazali et al. 2024; squared, as the length itself has no gradient where student and teacher agree.
    """
    return ((teacher[:, None] - t_teacher) - (student[:, None] - t_student)).square().sum(1)


def pair_kinds(labels: Tensor, past_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs `[B, F + B]` are positive, and which don't count because the batch holds them a second time."""
    size, past = len(labels), len(past_labels)
    ignored = torch.zeros(size, past + size, dtype=torch.bool, device=labels.device)
    ignored[:, past:] = torch.ones(size, size, dtype=torch.bool, device=labels.device).tril()
    return (labels[:, None] == torch.cat((past_labels, labels))) & ~ignored, ignored


def hardest_pairs(scores: Tensor, values: Tensor) -> Tensor:
    """Rows and columns of the highest of `[B, N]` scores, int64 `[2, P]`, given their values, descending `[P]`."""
    if not len(values):
        return torch.zeros(2, 0, dtype=torch.int64, device=scores.device)
    pairs = (scores >= values[-1]).nonzero().T
    if pairs.shape[1] > len(values):
        # Ties at the edge: as many as there are values.
        pairs = pairs[:, scores[pairs[0], pairs[1]].topk(len(values)).indices.sort().values]
    return pairs


@LOSSES.register("ekd")
class EKD(Loss):
    """Keeps each pair of faces where the teacher has it among the thresholds at FPR 1e-1 to 1e-6.

    All positive pairs and the student's hardest negative pairs count. Pairs are those in the batch, and of the batch
    with a memory of past embeddings; the gradient goes through the batch's rows alone. One label makes a positive
    pair, also across the memory, so no face is its own negative. Without identities, labels are numbers of source
    images, and the positives are views of one image; two images of one person then count as a negative pair.

    A threshold is left out until a step had as many negatives as it needs: for FPR 1e-6 a million, which takes 128 rows
    beside a memory of 8192. Before the first threshold the loss is 0. In eval mode neither thresholds nor memory move.

    Args:
        embedding_size: D, of student and teacher.
        memory: rows remembered; 0: the batch alone, as published.
        hardest: negative pairs that count.
        tau: temperature of the rank score, 0.0001 to 10.
        decay: of the thresholds' moving average, 0 to 0.9999.
        positive_weight, negative_weight: of the two means in the sum, 0 to 1e6.

    Raises:
        UsageError: an option is out of range. From `forward`: no labels.
    """

    name = "ekd"
    uses_pairs = True

    def __init__(
        self,
        embedding_size: int,
        memory: int = 8192,
        hardest: int = 2000,
        tau: float = 0.01,
        decay: float = 0.99,
        positive_weight: float = 0.02,
        negative_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.memory = PairMemory(embedding_size, whole(self.name, "memory", memory, 0, 1_000_000))
        self.thresholds = Thresholds(number(self.name, "decay", decay, 0, 0.9999))
        self.hardest = whole(self.name, "hardest", hardest, 1, 1_000_000)
        self.tau = number(self.name, "tau", tau, 1e-4, 10)
        self.positive_weight = number(self.name, "positive_weight", positive_weight, 0, 1e6)
        self.negative_weight = number(self.name, "negative_weight", negative_weight, 0, 1e6)

    def gap(self, student: Tensor, teacher: Tensor, t_student: Tensor, t_teacher: Tensor) -> Tensor:
        """What student and teacher differ in, of each pair: `[P]` of scores `[P]` and thresholds `[K]`."""
        return rank_gap(student, teacher, t_student, t_teacher, self.tau)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        labels = given(self.name, labels)
        student, teacher = unit(student), unit(teacher.detach())
        past_student, past_teacher, past_labels = self.memory.rows()
        with torch.no_grad():
            s_all = torch.cat((student @ past_student.T, student @ student.T), 1)
            t_all = torch.cat((teacher @ past_teacher.T, teacher @ teacher.T), 1)
            positive, ignored = pair_kinds(labels, past_labels)
            positives = positive.nonzero().T
            s_positive, t_positive = s_all[positives[0], positives[1]], t_all[positives[0], positives[1]]
            # What isn't a negative pair sinks below all negatives.
            other = positive | ignored
            negatives = other.numel() - int(other.sum())
            s_all.masked_fill_(other, -torch.inf)
            t_all.masked_fill_(other, -torch.inf)
            for_thresholds = min(negatives // 10 + 1, negatives)
            s_top = highest(s_all.flatten(), min(max(for_thresholds, self.hardest), negatives))
            if self.training:
                self.thresholds.update(s_top, highest(t_all.flatten(), for_thresholds), negatives)
            hard = hardest_pairs(s_all, s_top[: self.hardest])
            s_hard, t_hard = s_all[hard[0], hard[1]], t_all[hard[0], hard[1]]
        t_student, t_teacher = self.thresholds.values()
        # Both kinds of pair at once: one pass through the gradient.
        cosines, pairs = torch.cat((s_positive, s_hard)), torch.cat((positives, hard), 1)
        scores = pair_cosines(student, past_student, cosines, pairs)
        gaps = self.gap(scores, torch.cat((t_positive, t_hard)), t_student, t_teacher)
        if self.training:
            self.memory.push(student, teacher, labels)
        # A sum over no pairs, or no thresholds, is 0 with a gradient of 0, where a mean would be NaN.
        of_positives = gaps[: len(t_positive)].sum() / max(len(t_positive), 1)
        of_negatives = gaps[len(t_positive) :].sum() / max(len(t_hard), 1)
        return self.positive_weight * of_positives + self.negative_weight * of_negatives


@LOSSES.register("ekd-shift")
class EKDShift(EKD):
    """EKD by the plain distances of the scores from the thresholds; see `shift_gap`. `tau` has no part in it."""

    name = "ekd-shift"

    def __init__(
        self,
        embedding_size: int,
        memory: int = 8192,
        hardest: int = 2000,
        decay: float = 0.99,
        positive_weight: float = 0.02,
        negative_weight: float = 0.01,
    ) -> None:
        super().__init__(
            embedding_size,
            memory,
            hardest,
            decay=decay,
            positive_weight=positive_weight,
            negative_weight=negative_weight,
        )

    def gap(self, student: Tensor, teacher: Tensor, t_student: Tensor, t_teacher: Tensor) -> Tensor:
        return shift_gap(student, teacher, t_student, t_teacher)
