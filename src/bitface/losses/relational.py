"""Distillation of the relations in a batch: how alike each two faces are (Park et al., CVPR 2019, with cosines)."""

import torch
from torch import Tensor

from bitface.losses.angular import unit
from bitface.losses.base import Loss, choice
from bitface.losses.registry import LOSSES


def similarity_gaps(student: Tensor, teacher: Tensor) -> Tensor:
    """Differences of the two networks' cosines, of every two faces of a batch: `[B (B-1) / 2]`.

    Both sets of embeddings may have widths of their own. A face beside itself always has cosine 1 and isn't counted.
    """
    first, second = torch.triu_indices(len(student), len(student), 1, device=student.device)
    student, teacher = unit(student), unit(teacher)
    return (student @ student.T - teacher @ teacher.T)[first, second]


@LOSSES.register("relational")
class RelationalLoss(Loss):
    """Mean over the pairs of a batch of how far the student's cosine is from the teacher's. Labels aren't looked at.

    A batch of one face has no pairs: 0, with a gradient of 0.

    Args:
        distance: squared, or absolute (which gives outliers less weight).

    Raises:
        UsageError: the distance is unknown.
    """

    name = "relational"

    def __init__(self, distance: str = "squared") -> None:
        super().__init__()
        self.distance = choice(self.name, "distance", distance, ("squared", "absolute"))

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        gaps = similarity_gaps(student, teacher.detach())
        return (gaps.square() if self.distance == "squared" else gaps.abs()).sum() / max(len(gaps), 1)
