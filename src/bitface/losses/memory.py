"""A queue of the embeddings of past steps, so that a small batch still meets many pairs."""

import torch
from torch import Tensor, nn

from bitface.losses.base import given


class PairMemory(nn.Module):
    """The last `size` rows of both networks with their labels; the oldest are overwritten first.

    Attributes:
        student, teacher: normalised embeddings, `[size, D]`.
        labels: int64 `[size]`.
        pushed: how many rows ever came, int64 scalar.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    pushed: Tensor

    def __init__(self, embedding_size: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("student", torch.zeros(size, embedding_size))
        self.register_buffer("teacher", torch.zeros(size, embedding_size))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Student `[F, D]`, teacher `[F, D]` and labels `[F]` of all rows held, in no particular order.

        They are views: read them before the next `push`.
        """
        count = min(int(self.pushed), self.size)
        return self.student[:count], self.teacher[:count], self.labels[:count]

    @torch.no_grad()
    def push(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> None:
        """Takes in a batch: `[B, D]`, `[B, D]`, int64 `[B]`."""
        labels = given("the memory of pairs", labels)
        count, start = len(labels), int(self.pushed)
        length = min(count, self.size)
        if length:
            places = torch.arange(start + count - length, start + count, device=self.labels.device) % self.size
            self.student[places] = student[count - length :].to(self.student)
            self.teacher[places] = teacher[count - length :].to(self.teacher)
            self.labels[places] = labels[count - length :].to(self.labels)
        self.pushed += count
