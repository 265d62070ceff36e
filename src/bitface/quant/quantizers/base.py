"""What every quantizer is: an integer grid on a tensor, or one on each channel of its axis 0."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bitface.graph.integer import limits
from bitface.quant.kernels import Grid, fake_quantize

if TYPE_CHECKING:
    from bitface.quant.quantizers.uniform import UniformQuantizer


class Quantizer(nn.Module):
    """`q = clip(round(x / scale) + zero_point)` and back; how scale and zero point come about is each method's own.

    Zero is always one of the levels, so that padding stays exact; only weights of one bit are `-scale` or `scale`, by
    their sign. Switched off (`enabled`), it changes nothing.

    Args:
        bits: 2 to 8; of weights also 1.
        signed: integers from -2^(bits-1), otherwise from 0.
        symmetric: the zero point stays 0.
        channels: how many scales; 1 for one per tensor.
        narrow: leaves the lowest integer out, so that every value has its negative.

    Attributes:
        weights: it quantizes a layer's weights, not an activation.
        activations_only: it can't quantize weights.
        one_bit: it can train weights of 1 bit.
        watches: an activation's range follows the batches that pass through; a part of one would count as a whole.
        fixed_range: the range stays as it is, whatever passes through.
        scale, zero_point: float32 and whole numbers, `[channels]`: what is exported.
    """

    scale: Tensor
    zero_point: Tensor
    activations_only = False
    one_bit = False
    watches = False
    fixed_range = False
    # See `kernels.Grid`.
    inner = 1.0
    sharpness = 0.0

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__()
        self.bits, self.signed, self.symmetric, self.channels = bits, signed, symmetric, channels
        self.narrow = narrow
        smallest, largest = limits(bits, signed)
        self.limits = (smallest + 1 if narrow else smallest, largest)
        self.enabled, self.weights = True, False

    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Takes the range `[low, high]` (float `[channels]`), widened to hold 0; an empty one gets scale 1."""
        self.set_numbers(*affine(low, high, self.limits, self.symmetric))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        """Begins with this scale and zero point, `[channels]` each."""
        raise NotImplementedError

    def transform(self, x: Tensor) -> Tensor:
        """What is rounded in place of `x`: itself, except where a method, or a single bit, bends weights first."""
        return x if self.bits > 1 else self.signs(x)

    def signs(self, x: Tensor) -> Tensor:
        """`x` as its sign times the scale, with the gradient of `x`."""
        return through(torch.where(x < 0, -1.0, 1.0) * self.beside(self.scale, x), x)

    def integers(self, x: Tensor) -> Tensor:
        """The integers of `x`, as floats."""
        x = self.transform(x)
        scale, zero_point = self.beside(self.scale, x), self.beside(self.zero_point, x)
        return (torch.round(x / scale) + zero_point).clamp(*self.limits)

    def forward(self, x: Tensor) -> Tensor:
        return self.quantize(x) if self.enabled else x

    def numbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point for `x`, float32 `[channels]`, with whatever gradient the method gives them."""
        return self.scale, self.zero_point.float()

    def quantize(self, x: Tensor, slope: Tensor | None = None, cap: float = float("inf")) -> Tensor:
        """The nearest levels of `x`, or of what an activation in front makes of it (see `kernels.fake_quantize`)."""
        x = self.transform(x)
        return fake_quantize(x, *self.numbers(x), Grid(self.limits, self.inner, self.sharpness), slope, cap)

    def settled(self) -> "UniformQuantizer":
        """The fixed quantizer with these numbers; it quantizes `transform(x)` to what this one makes of `x`."""
        from bitface.quant.quantizers.uniform import UniformQuantizer

        quantizer = UniformQuantizer(self.bits, self.signed, self.symmetric, self.channels, self.narrow)
        quantizer.set_numbers(self.scale.detach().clone(), self.zero_point.detach().clone())
        return quantizer

    def beside(self, values: Tensor, x: Tensor) -> Tensor:
        """One value per channel, shaped so that it meets axis 0 of `x`."""
        return values.view((-1,) + (1,) * (x.dim() - 1) if self.channels > 1 else (1,))


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


def mean_size(rows: Tensor) -> Tensor:
    """The scale that brings signs nearest to the weights of each row, `[channels, n]` → `[channels]`, above 0.

    That is the mean of their sizes (Rastegari et al. 2016). There is no level 0, so weights that all are 0 get a scale
    so small that they stay without effect.
    """
    return rows.abs().mean(1).clamp(min=_SMALLEST)


# Small beside any weight, yet a normal float32 even when it is multiplied by an activation's scale.
_SMALLEST = 1e-12


def round_through(x: Tensor) -> Tensor:
    """Rounds, and passes the gradient on as if it hadn't."""
    return through(torch.round(x), x)


def through(value: Tensor, x: Tensor) -> Tensor:
    """Exactly `value`, with the gradient of `x`."""
    return value.detach() + (x - x.detach())
