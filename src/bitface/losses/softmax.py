"""Softmax over the identities: plain, and with embeddings of one length."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bitface.errors import UsageError
from bitface.losses.angular import unit
from bitface.losses.base import Loss, given, number, switch
from bitface.losses.registry import LOSSES


def class_weights(embedding_size: int, classes: int, generator: Generator | None) -> nn.Parameter:
    """One vector for each class, `[C, D]`, of random direction and a length of about 1."""
    return nn.Parameter(torch.randn(classes, embedding_size, generator=generator) / embedding_size**0.5)


@LOSSES.register("softmax")
class Softmax(Loss):
    """Cross-entropy of `W f + b`: nothing is normalised (equation 1 of Wu et al., CVPR 2020).

    The template of all losses with classes: they override `logits`.

    Args:
        embedding_size, classes: D and C.
        bias: learns `b`, one number for each class.
        generator: where the first weights come from; None: torch's own.

    Attributes:
        weight: the classes' vectors, `[C, D]`, to be trained with the student.

    Raises:
        UsageError: there are no classes; an option is out of range. From `forward`: no labels.
    """

    name = "softmax"
    needs_labels = True
    bias: nn.Parameter | None

    def __init__(
        self, embedding_size: int, classes: int, bias: bool = False, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if classes < 1:
            raise UsageError(f"{self.name} needs labelled faces: there are no classes")
        self.weight = class_weights(embedding_size, classes, generator)
        self.bias = nn.Parameter(torch.zeros(classes)) if switch(self.name, "bias", bias) else None

    def begin(self, teacher: Tensor, labels: Tensor) -> None:
        """Each class's vector becomes the mean of its faces' unit embeddings, so that a student which already embeds
        like its teacher isn't torn away from it by random classes.
        """
        with torch.no_grad():
            sums = torch.zeros_like(self.weight).index_add_(0, labels, unit(teacher.to(self.weight.dtype)))
            present = torch.bincount(labels, minlength=len(self.weight)) > 0
            self.weight[present] = unit(sums[present])

    def logits(self, student: Tensor, labels: Tensor) -> Tensor:
        """Scores of all classes, `[B, C]`, for embeddings `[B, D]` and their classes, int64 `[B]`."""
        return F.linear(student.to(self.weight.dtype), self.weight, self.bias)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        labels = given(self.name, labels)
        return F.cross_entropy(self.logits(student, labels), labels)


@LOSSES.register("l2-softmax")
class L2Softmax(Softmax):
    """Softmax of embeddings scaled to the length `s`; the weights stay free (Ranjan et al. 2017).

    Args:
        s: the length, 1 to 1000.
    """

    name = "l2-softmax"

    def __init__(
        self,
        embedding_size: int,
        classes: int,
        s: float = 64.0,
        bias: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(embedding_size, classes, bias, generator)
        self.s = number(self.name, "s", s, 1, 1000)

    def logits(self, student: Tensor, labels: Tensor) -> Tensor:
        return super().logits(self.s * unit(student), labels)
