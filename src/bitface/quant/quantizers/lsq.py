"""Learned step sizes: LSQ (Esser et al., ICLR 2020); with a learned zero point LSQ+ (Bhalgat et al., CVPRW 2020)."""

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.base import Quantizer, round_through
from bitface.quant.quantizers.registry import QUANTIZERS


@QUANTIZERS.register("lsq")
class LsqQuantizer(Quantizer):
    """Scales that learn from the task's own gradient; asymmetric ones learn their zero point too.

    Two departures: the logarithm of the scale is the parameter, so that it stays positive and one learning rate fits
    tensors of all sizes; and LSQ+'s offset is a zero point, kept whole (straight-through), so that zero stays a level
    and integers can hold it.
    """

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.offset = None if symmetric else nn.Parameter(torch.zeros(channels))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        with torch.no_grad():
            self.log_scale.copy_(scale.log())
            if self.offset is not None:
                self.offset.copy_(zero_point)

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        return self.log_scale.exp()

    @property
    def zero_point(self) -> Tensor:  # type: ignore[override]
        if self.offset is None:
            return torch.zeros_like(self.log_scale)
        return round_through(self.offset.clamp(*self.limits))

    def numbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # g = 1 / sqrt(N · Qp) of the paper: steps of scales in proportion to those of weights.
        # N are the weights that share a scale, or the features of one sample.
        count = x.numel() / (self.channels if self.weights or self.channels > 1 else max(len(x), 1))
        share = (count * self.limits[1]) ** -0.5
        return _slowed(self.scale, share), _slowed(self.zero_point, share)


def _slowed(x: Tensor, share: float) -> Tensor:
    """The same numbers with a smaller gradient."""
    return x.detach() + (x - x.detach()) * share
