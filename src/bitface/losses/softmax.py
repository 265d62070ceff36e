"""Softmax over the identities: plain, and with embeddings of one length."""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bitface import ranks
from bitface.errors import UsageError
from bitface.losses.angular import unit
from bitface.losses.base import Loss, TeacherBlock, given, number, switch
from bitface.losses.registry import LOSSES


def class_weights(embedding_size: int, classes: int, generator: Generator | None) -> nn.Parameter:
    """One vector for each class, `[C, D]`, of random direction and a length of about 1."""
    return nn.Parameter(torch.randn(classes, embedding_size, generator=generator) / embedding_size**0.5)


def cross_entropy(logits: Tensor, columns: Tensor) -> Tensor:
    """The mean cross-entropy of `[B, K]` logits, of which each rank has columns of its own.

    Args:
        columns: the true class of each row in this rank's columns, int64 `[B]`; -1: another rank has it.
    """
    if ranks.count() == 1:
        return F.cross_entropy(logits, columns)
    if not logits.shape[1]:  # a rank without a class
        logits = F.pad(logits, (0, 1), value=-torch.inf)
    top = ranks.reduced(logits.detach().amax(1), "max")
    logits = logits - top[:, None]
    everything = ranks.summed(logits.exp().sum(1))
    own = logits.gather(1, columns.clamp(min=0)[:, None])[:, 0]
    true = ranks.summed(torch.where(columns >= 0, own, torch.zeros_like(own)))
    return (everything.log() - true).mean()


@LOSSES.register("softmax")
class Softmax(Loss):
    """Cross-entropy of `W f + b`: nothing is normalised (equation 1 of Wu et al., CVPR 2020).

    The template of all losses with classes: they override `logits`. Where a training has several ranks, each has a part
    of the classes (`split`), as even millions of them then fit (Partial FC, An et al., CVPR 2022).

    Args:
        embedding_size, classes: D and C.
        bias: learns `b`, one number for each class.
        generator: where the first weights come from; None: torch's own.

    Attributes:
        weight: the classes' vectors, `[C, D]`, to be trained with the student; once split, those of this rank.
        sample: share of the classes that a step compares with: those of its faces, and others by chance. A class that
            a step leaves out has no gradient there; only its momentum moves it.

    Raises:
        UsageError: there are no classes; an option is out of range. From `forward`: no labels.
    """

    name = "softmax"
    needs_labels = True
    sample = 1.0
    bias: nn.Parameter | None

    def __init__(
        self, embedding_size: int, classes: int, bias: bool = False, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if classes < 1:
            raise UsageError(f"{self.name} needs labelled faces: there are no classes")
        self._classes, self._own = classes, slice(0, classes)
        self._chosen: slice | Tensor = slice(None)
        self.weight = class_weights(embedding_size, classes, generator)
        self.bias = nn.Parameter(torch.zeros(classes)) if switch(self.name, "bias", bias) else None

    @torch.no_grad()
    def begin(self, faces: Iterable[TeacherBlock]) -> None:
        """Each class's vector becomes the mean of its faces' unit embeddings, so that a student which already embeds
        like its teacher isn't torn away from it by random classes.
        """
        sums, present = torch.zeros_like(self.weight), torch.zeros(len(self.weight), dtype=torch.bool)
        for teacher, labels in faces:
            sums.index_add_(0, labels, unit(teacher.to(sums.dtype)))
            present[labels] = True
        self.weight[present] = unit(sums[present])

    def split(self) -> int:
        """Leaves this rank its part of the classes; gives how many there are in all."""
        self._own = ranks.part(self._classes)
        self.weight = nn.Parameter(self.weight.detach()[self._own].clone())
        self.bias = None if self.bias is None else nn.Parameter(self.bias.detach()[self._own].clone())
        return self._classes

    def columns(self, labels: Tensor) -> Tensor:
        """Chooses the classes of a step; gives where among this rank's each label stands, int64 `[B]`; -1: nowhere."""
        first, held = self._own.start, self._own.stop - self._own.start
        if self.sample < 1 and self.training:
            # Drawn alike by every rank, whatever part of the classes it has.
            scores = torch.rand(self._classes, device=labels.device)
            scores[labels] = 2.0
            count = max(int(self.sample * self._classes), len(labels.unique()))
            chosen = scores.topk(count).indices.sort().values - first
            chosen = chosen[(chosen >= 0) & (chosen < held)]
            places = torch.full((held + 1,), -1, device=labels.device)
            places[chosen] = torch.arange(len(chosen), device=labels.device)
            self._chosen = chosen
        else:
            places = torch.arange(-1, held, device=labels.device).roll(-1)
            self._chosen = slice(None)
        own = labels - first
        return places[torch.where((own >= 0) & (own < held), own, held)]

    def vectors(self) -> Tensor:
        """The classes' vectors that a step compares with, `[K, D]`; see `columns`."""
        return self.weight[self._chosen]

    def logits(self, student: Tensor, labels: Tensor) -> Tensor:
        """Scores of the step's classes, `[B, K]`, for embeddings `[B, D]` and the columns of their classes, `[B]`."""
        bias = None if self.bias is None else self.bias[self._chosen]
        return F.linear(student.to(self.weight.dtype), self.vectors(), bias)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        columns = self.columns(given(self.name, labels))
        return cross_entropy(self.logits(ranks.shared(student), columns), columns)


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
