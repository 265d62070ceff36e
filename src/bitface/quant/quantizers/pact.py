"""PACT: clipping ends that learn (Choi et al. 2018), two-sided where a tensor has negative values."""

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.base import Quantizer, round_through


class PactQuantizer(Quantizer):
    """The ends of the range learn from what is clipped: the upper one's gradient is 1 above it, the lower one's 1
    below it, and nothing inside counts (equation 3 of the paper).

    The paper's L2 term on the ends is the optimizer's business. Departures: the lower end (0 in the paper) learns too
    where values are negative; scale and zero point follow from the ends, the zero point rounded, so that zero stays a
    level.
    """

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
        high = self.high.clamp(min=torch.finfo(torch.float32).eps)
        if self.low is None:
            return high / self.limits[1]
        return (high - self.low.clamp(max=0)) / (self.limits[1] - self.limits[0])

    @property
    def zero_point(self) -> Tensor:  # type: ignore[override]
        if self.low is None:
            return torch.zeros_like(self.high)
        return round_through((self.limits[0] - self.low.clamp(max=0) / self.scale).clamp(*self.limits))
