"""PACT: clipping ends that learn (Choi et al. 2018), two-sided where a tensor has negative values."""

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.base import Quantizer, through
from bitface.quant.quantizers.registry import QUANTIZERS


@QUANTIZERS.register("pact")
class PactQuantizer(Quantizer):
    """The ends of the range learn from what is clipped: the upper one's gradient is 1 above it, the lower one's 1
    below it, and nothing inside counts (equation 3 of the paper).

    Departures: there is no L2 term on the ends (ranges are never decayed); the lower end (0 in the paper) learns
    too where values are negative (symmetric ones have a single end, which the lower levels mirror); scale and zero
    point follow from the ends, the zero point rounded, so that zero stays a level. An end that crosses zero stops
    there, but keeps its gradient, so that it can return.
    """

    activations_only = True

    inner = 0.0

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.high = nn.Parameter(torch.ones(channels))
        self.low = None if symmetric else nn.Parameter(-torch.ones(channels))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        with torch.no_grad():
            self.high.copy_((self.limits[1] - zero_point) * scale)
            if self.low is not None:
                self.low.copy_((self.limits[0] - zero_point) * scale)

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        high = through(self.high.clamp(min=torch.finfo(torch.float32).eps), self.high)
        if self.low is None:
            return high / self.limits[1]
        return (high - through(self.low.clamp(max=0), self.low)) / (self.limits[1] - self.limits[0])

    @property
    def zero_point(self) -> Tensor:  # type: ignore[override]
        if self.low is None:
            return torch.zeros_like(self.high)
        smallest, scale = self.limits[0], self.scale
        low = through(self.low.clamp(max=0), self.low)
        zero = torch.round(smallest - low / scale).clamp(*self.limits).detach()
        # The gradient is that of a lower end which the rounded zero point has moved onto a level: with it, what is
        # clipped below moves with the lower end alone, and what is clipped above with the upper end alone.
        return through(zero, ((smallest - zero) * scale - low) / scale.detach())
