"""Several losses as one."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bitface.errors import UsageError
from bitface.losses.base import Block, Loss, TeacherBlock, number


class Sum(Loss):
    """A weighted sum of losses.

    Args:
        losses: by name.
        weights: of each of them, above 0.

    Raises:
        UsageError: there is no loss; a weight is missing or out of range.
    """

    name = "sum"

    def __init__(self, losses: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not losses:
            raise UsageError("a training needs at least one loss")
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: number(name, "weight", weights.get(name), 1e-12, 1e12) for name in losses}
        self.needs_labels = any(loss.needs_labels for loss in losses.values())
        self.uses_pairs = any(loss.uses_pairs for loss in losses.values())
        self.keeps_direction = any(loss.keeps_direction for loss in losses.values())
        self.wants_refresh = any(loss.wants_refresh for loss in losses.values())

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        values = [self.weights[name] * loss(student, teacher, labels) for name, loss in self.losses.items()]
        return torch.stack(values).sum()

    def begin(self, faces: Iterable[TeacherBlock]) -> None:
        for loss in self.losses.values():
            assert isinstance(loss, Loss)
            loss.begin(faces)

    def refresh(self, faces: Iterable[Block]) -> None:
        """Passes the embeddings on to every loss that wants them."""
        for loss in self.losses.values():
            assert isinstance(loss, Loss)
            if loss.wants_refresh:
                loss.refresh(faces)
