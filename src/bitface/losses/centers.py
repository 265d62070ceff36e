"""The centres of classes before and after quantization (equations 7 and 8 of Wu et al., CVPR 2020)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bitface.losses.base import Block


def class_means(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean rows of `[N, D]` by class, `[C, D]` with zeros for a class without rows, and the counts, int64 `[C]`."""
    counts = torch.bincount(labels, minlength=classes)
    sums = x.new_zeros(classes, x.shape[1]).index_add_(0, labels, x)
    return sums / counts.clamp(min=1)[:, None], counts


class ClassCenters(nn.Module):
    """Centres of the same faces' classes for both networks; no gradient goes through them.

    Attributes:
        student, teacher: `[C, D]`.
        known: bool `[C]`, the classes that have centres.
    """

    student: Tensor
    teacher: Tensor
    known: Tensor

    def __init__(self, embedding_size: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("student", torch.zeros(classes, embedding_size))
        self.register_buffer("teacher", torch.zeros(classes, embedding_size))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def set(self, faces: Iterable[Block]) -> None:
        """Centres of exactly these embeddings, which are summed up as they come; other classes have none."""
        self.student.zero_()
        self.teacher.zero_()
        counts = torch.zeros(len(self.known), dtype=torch.int64, device=self.known.device)
        for student, teacher, labels in faces:
            own = labels.to(counts.device)
            self.student.index_add_(0, own, student.to(self.student))
            self.teacher.index_add_(0, own, teacher.to(self.teacher))
            counts += torch.bincount(own, minlength=len(counts))
        self.student /= counts.clamp(min=1)[:, None]
        self.teacher /= counts.clamp(min=1)[:, None]
        self.known.copy_(counts > 0)

    @torch.no_grad()
    def move(self, student: Tensor, teacher: Tensor, labels: Tensor, momentum: float) -> None:
        """Moves the centres of a batch's classes towards its means; a new class begins with its mean."""
        # Only the batch's classes: of all C, most aren't here.
        present, local = labels.unique(return_inverse=True)
        keep = momentum * self.known[present, None].to(self.student)
        for center, rows in ((self.student, student), (self.teacher, teacher)):
            means, _ = class_means(rows.to(center), local, len(present))
            center[present] = keep * center[present] + (1 - keep) * means
        self.known[present] = True
