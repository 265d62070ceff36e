"""Any loss between embeddings of different sizes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bitface.losses.base import Again, Block, Loss, TeacherBlock


class Projected(Loss):
    """A loss in the larger of two spaces of embeddings, where the student's and the teacher's have different sizes.

    A shorter student's embeddings are turned into the teacher's space by a matrix with orthonormal columns, which is
    learned with the student and thrown away with the loss. It changes no cosine, so that what the loss brings about
    holds for the student alone. A shorter teacher's embeddings get zeros appended, which changes none either.

    Args:
        inner: the loss, of embeddings `[B, max(student_size, teacher_size)]`.
    """

    name = "projected"

    def __init__(self, inner: Loss, student_size: int, teacher_size: int) -> None:
        super().__init__()
        self.inner = inner
        self.missing = max(0, student_size - teacher_size)
        self.turn: nn.Module = nn.Identity()
        if student_size < teacher_size:
            self.turn = nn.utils.parametrizations.orthogonal(nn.Linear(student_size, teacher_size, bias=False))
        self.needs_labels, self.uses_pairs = inner.needs_labels, inner.uses_pairs
        self.keeps_direction, self.wants_refresh = inner.keeps_direction, inner.wants_refresh

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        value: Tensor = self.inner(self.turn(student), self._padded(teacher), labels)
        return value

    def begin(self, faces: Iterable[TeacherBlock]) -> None:
        self.inner.begin(Again(lambda: ((self._padded(teacher), labels) for teacher, labels in faces)))

    @torch.no_grad()
    def refresh(self, faces: Iterable[Block]) -> None:
        turned = Again(lambda: ((self.turn(ours), self._padded(theirs), labels) for ours, theirs, labels in faces))
        self.inner.refresh(turned)

    def _padded(self, teacher: Tensor) -> Tensor:
        return nn.functional.pad(teacher, (0, self.missing))
