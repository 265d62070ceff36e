"""Rotations of residual streams that learn to be rounded with the least error.

A stream's tensors are seen at some of their places on calibration faces; `R = exp(A) · H` with a skew-symmetric A
begins as the Hadamard matrix H and learns, beside the range of each tensor, towards `Σ ‖Q(x·Rᵀ) - x·Rᵀ‖² / ‖x‖²` with
rounding passed over in the gradient (the idea of SpinQuant, Liu et al., ICLR 2025, whose rotations of language models
learn towards the task's loss; nobody has labels here).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.quant.basis import hadamard
from bitface.quant.batches import Batches, Progress, run_watched
from bitface.quant.rotate import Stream

_STEPS = 200
_RATE = 0.015
# Places of each tensor that are looked at, of all faces together.
_PLACES = 2048


def learned(
    graph: GraphModule, bits: Mapping[Stream, int], batches: Batches, count: int, progress: Progress | None = None
) -> dict[Stream, Tensor]:
    """The matrix of each stream, float64 `[channels, channels]`.

    Args:
        graph: folded; it isn't changed.
        bits: that each stream is rounded to.
        batches, count: calibration images, see `calibrate.activation_ranges`.
    """
    samples: dict[str, list[Tensor]] = {str(node.target): [] for stream in bits for node in stream.tensors}
    random = torch.Generator().manual_seed(0)

    def watch(name: str, value: Tensor) -> None:
        rows = value.movedim(1, -1).flatten(0, -2) if value.dim() == 4 else value.flatten(0, -2)
        places = -(-_PLACES * len(value) // count)
        samples[name].append(rows[torch.randint(len(rows), (places,), generator=random)])

    if bits:
        run_watched(graph, {name: graph.get_submodule(name) for name in samples}, watch, batches, count, progress)
    return {
        stream: _learn([torch.cat(samples[str(node.target)]) for node in stream.tensors], width)
        for stream, width in bits.items()
    }


def _learn(tensors: list[Tensor], bits: int) -> Tensor:
    """Args: tensors: `[places, channels]` each."""
    channels = tensors[0].shape[1]
    start, skew = hadamard(channels), nn.Parameter(torch.zeros(channels, channels))
    rows = torch.stack([tensor / tensor.norm() for tensor in tensors])
    turned = rows @ start.float().T
    low, high = (nn.Parameter(0.8 * end) for end in (turned.amin((1, 2)), turned.amax((1, 2))))
    optimizer = torch.optim.Adam([skew], _RATE)
    optimizer.add_param_group({"params": [low, high], "lr": 1e-4})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        loss = _error(turned @ torch.matrix_exp(skew - skew.T).T, low, high, bits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    exact = skew.detach().double()
    result: Tensor = torch.matrix_exp(exact - exact.T) @ start
    return result


def _error(x: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """Of tensors `[n, places, channels]` that are rounded to so many levels between their own ends."""
    low, high = low.view(-1, 1, 1), high.view(-1, 1, 1)
    scale = (high - low) / (2**bits - 1)
    steps = (torch.clamp(x, low, high) - low) / scale
    rounded = (steps + (steps.round() - steps).detach()) * scale + low
    error: Tensor = (rounded - x).square().sum()
    return error
