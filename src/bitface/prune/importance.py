"""What a channel is worth: the size of its weights, or how far the embedding would move without it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.preprocess import Preprocess
from bitface.prune.dependency import Group, library

_BATCH = 32


def magnitude(groups: Sequence[Group]) -> list[Tensor]:
    """The squares of each channel's weights, summed over its group, as multiples of the group's mean, `[C]` each.

    It needs no faces. As torch-pruning computes it: what writes a channel and what reads it counts, depthwise layers
    and biases don't.
    """
    scores = library().importance.GroupMagnitudeImportance(p=2)
    with torch.no_grad():
        return [scores(group.handle).detach() for group in groups]


def taylor(
    graph: GraphModule, groups: Sequence[Group], preprocess: Preprocess, images: np.ndarray, seed: int = 0
) -> list[Tensor]:
    """How far each channel's removal would turn the embedding, to first order, `[C]` each.

    The teacher is the network itself, where `1 - cos` is at its minimum and has no gradient; what has one is the
    direction u(x) of the embedding. Without channel c it moves by du = -sum of w · du/dw, over the weights and biases
    that write the channel in all layers of its group (their outputs are added up, so these are too). |du|² is twice the
    `1 - cos` that the removal costs, and E[(v · du)²] = |du|² for v drawn from a normal distribution. So one backward
    pass of the sum over a batch of v(x) · u(x), each face with a v of its own, gives an unbiased draw of the sum of
    |du|² over the batch, for all channels at once. (Molchanov et al., CVPR 2019, square the gradient of a loss on
    labels in the same way.)

    Args:
        graph: whose groups these are.
        images: uint8 RGB `[N, H, W, 3]`.
        seed: of the directions.
    """
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.zeros(group.channels) for group in groups]
    graph.requires_grad_(True)
    for start in range(0, len(images), _BATCH):
        graph.zero_grad(set_to_none=True)
        inputs = torch.from_numpy(preprocess(images[start : start + _BATCH]))
        directions = nn.functional.normalize(graph(inputs))
        (directions * torch.randn(directions.shape, generator=generator)).sum().backward()
        with torch.no_grad():
            for score, group in zip(scores, groups, strict=True):
                score += _moved(group).square()
    graph.zero_grad(set_to_none=True)
    return [score / len(images) for score in scores]


def _moved(group: Group) -> Tensor:
    """Sum of weight times gradient over everything that writes each channel, `[C]`."""
    shifts = torch.zeros(group.channels)
    for part in group.parts:
        module = part.module
        # A depthwise convolution passes on what is counted already.
        if not part.out or not isinstance(module, nn.Conv2d | nn.Linear) or getattr(module, "groups", 1) > 1:
            continue
        own = torch.zeros(len(module.weight))
        for value in (module.weight, module.bias):
            if value is not None and value.grad is not None:
                own += (value * value.grad).flatten(1).sum(1) if value.dim() > 1 else value * value.grad
        shifts.index_add_(0, part.channel, own[part.index])
    return shifts
