"""Uniform affine quantization with fixed ranges."""

import torch
from torch import Tensor, nn

from bitface.graph.integer import limits


class UniformQuantizer(nn.Module):
    """`q = clip(round(x / scale) + zero_point)` and back, for a tensor or for each channel of its axis 0.

    Zero is always one of the levels, so that padding stays exact. Switched off (`enabled`), it changes nothing.

    Args:
        bits: 2 to 8.
        signed: integers from -2^(bits-1), otherwise from 0.
        symmetric: the zero point stays 0.
        channels: how many scales; 1 for one per tensor.
        narrow: leaves the lowest integer out, so that every value has its negative.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__()
        self.bits, self.signed, self.symmetric, self.channels = bits, signed, symmetric, channels
        smallest, largest = limits(bits, signed)
        self.limits = (smallest + 1 if narrow else smallest, largest)
        self.enabled = True
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels, dtype=torch.int32))

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Takes the range `[low, high]` (float `[channels]`), widened to hold 0; an empty one gets scale 1."""
        self.scale, self.zero_point = affine(low, high, self.limits, self.symmetric)

    def integers(self, x: Tensor) -> Tensor:
        """The integers of `x`, as floats."""
        scale, zero_point = self._like(x)
        return (torch.round(x / scale) + zero_point).clamp(*self.limits)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        scale, zero_point = self._like(x)
        return (self.integers(x) - zero_point) * scale

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1,) + (1,) * (x.dim() - 1) if self.channels > 1 else (1,)
        return self.scale.view(shape), self.zero_point.view(shape)


def affine(low: Tensor, high: Tensor, levels: tuple[int, int], symmetric: bool) -> tuple[Tensor, Tensor]:
    """The scale (float32) and the zero point (int32) that fit ranges `[low, high]` to integers."""
    smallest, largest = levels
    low, high = low.double().clamp(max=0), high.double().clamp(min=0)
    if symmetric:
        # The shorter negative side decides too: -2^(b-1) reaches one step further than 2^(b-1)-1.
        scale = torch.maximum(high / largest, low / smallest) if smallest < 0 else high / largest
    else:
        scale = (high - low) / (largest - smallest)
    empty = ~(scale > torch.finfo(torch.float32).tiny)
    scale = torch.where(empty, torch.ones_like(scale), scale).float()
    zero_point = torch.zeros_like(scale) if symmetric else torch.round(smallest - low / scale.double())
    return scale, zero_point.clamp(smallest, largest).int()
