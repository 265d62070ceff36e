"""The loss of a step over the whole batch, whichever ranks and parts its images are computed in, and its gradients.

Each rank computes the embeddings of its part of the batch, at once or, where memory is short, in several parts one
after the other. The loss sees all of them, so that a batch of any division gives one gradient.
"""

import torch
from torch import Tensor, nn

from bitface import ranks
from bitface.losses import Loss


class WholeBatch:
    """The gradients of one batch after another.

    Args:
        run: images float32 `[B, 3, H, W]` → embeddings `[B, D]`.
        loss: of the whole batch's embeddings.
        half: `run` computes in bfloat16.
        parts: in which a rank computes its images. Of several, the embeddings come first, without anything kept for a
            gradient, then each part once more with the gradient of the loss by its embeddings (GradCache, Gao et al.
            2021): a third more time, and the memory of one part.
    """

    def __init__(self, run: nn.Module, loss: Loss, half: bool, parts: int = 1) -> None:
        self.run, self.loss, self.half, self.parts = run, loss, half, parts
        self._again: list[Tensor] = []
        self._embeddings = self._value = torch.zeros(())
        self._seed = 0

    def forward(self, inputs: Tensor, targets: Tensor, labels: Tensor, total: int, seed: int) -> Tensor:
        """The loss of a batch.

        Args:
            inputs, targets, labels: this rank's part of the images, the teacher's embeddings of them and who they show.
            total: images in the whole batch.
            seed: of whatever draws random numbers inside the model or the loss.
        """
        torch.manual_seed(seed)
        self._seed, self._again = seed, []
        if self.parts > 1:
            self._again = list(inputs.chunk(self.parts))
            with torch.no_grad(), _kept(self.run):
                embeddings = torch.cat([self._embedded(part, number) for number, part in enumerate(self._again)])
            embeddings.requires_grad_(True)
        else:
            embeddings = self._embedded(inputs)
        self._embeddings = embeddings
        if ranks.count() > 1:
            embeddings = ranks.gathered(embeddings, total)
            targets, labels = ranks.gathered(targets, total), ranks.gathered(labels, total)
        self._value = self.loss(embeddings, targets, labels)
        return self._value.detach()

    def backward(self) -> None:
        """Adds the gradients of the loss that `forward` gave, of this rank's part of the batch."""
        self._value.backward()
        gradients = self._embeddings.grad if self._again else None
        self._value = self._embeddings = torch.zeros(())  # lets the graph go
        if gradients is not None:
            for number, (part, gradient) in enumerate(zip(self._again, gradients.chunk(self.parts), strict=True)):
                self._embedded(part, number).backward(gradient)

    def _embedded(self, inputs: Tensor, part: int = 0) -> Tensor:
        if part:  # what a model draws for one part must be the same when it is computed again
            torch.manual_seed(self._seed + part * 7_919)
        elif self._again:
            torch.manual_seed(self._seed)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half):
            embeddings: Tensor = self.run(inputs)
        return embeddings.float()


class _kept:
    """Leaves a module's buffers as they were: running statistics move once in a step."""

    def __init__(self, module: nn.Module) -> None:
        self.before = [(buffer, buffer.clone()) for buffer in module.buffers()] if module.training else []

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for buffer, value in self.before:
            buffer.copy_(value)
