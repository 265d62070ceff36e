"""Learned step sizes: LSQ (Esser et al., ICLR 2020); with a learned zero point LSQ+ (Bhalgat et al., CVPRW 2020)."""

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.base import Quantizer, round_through
from bitface.quant.quantizers.registry import QUANTIZERS


@QUANTIZERS.register("lsq")
class LsqQuantizer(Quantizer):
    """Scales that learn from the task's own gradient; asymmetric ones learn their zero point too.

    Weights may be frozen at integers, from where their scale goes on learning: what they are is `scale · (integer -
    zero point)`, and their float values have no part in it any more.

    Two departures: the logarithm of the scale is the parameter, so that it stays positive and one learning rate fits
    tensors of all sizes; and LSQ+'s offset is a zero point, kept whole (straight-through), so that zero stays a level
    and integers can hold it.
    """

    freezes = True
    frozen: Tensor | None
    frozen_integers: Tensor | None

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.offset = None if symmetric else nn.Parameter(torch.zeros(channels))
        self.register_buffer("frozen", None)
        self.register_buffer("frozen_integers", None)

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

    def hold(self, weight: Tensor) -> None:
        """Makes room for the integers of these weights in the state; none is frozen yet."""
        self.frozen, self.frozen_integers = torch.zeros_like(weight, dtype=torch.bool), torch.zeros_like(weight)

    def freeze(self, where: Tensor, integers: Tensor) -> None:
        """Freezes weights at integers, of the weights' shape both; those that are frozen stay at theirs."""
        assert self.frozen is not None
        assert self.frozen_integers is not None
        self.frozen_integers = torch.where(where & ~self.frozen, integers, self.frozen_integers)
        self.frozen = self.frozen | where

    def transform(self, x: Tensor) -> Tensor:
        x = super().transform(x)
        if self.frozen is None or self.frozen_integers is None:
            return x
        scale, zero_point = (self.beside(one, x) for one in self.numbers(x))
        return torch.where(self.frozen, (self.frozen_integers - zero_point) * scale, x)

    def numbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # g = 1 / sqrt(N · Qp) of the paper: steps of scales in proportion to those of weights.
        # N are the weights that share a scale, or the features of one sample.
        count = x.numel() / (self.channels if self.weights or self.channels > 1 else max(len(x), 1))
        share = (count * self.limits[1]) ** -0.5
        return _slowed(self.scale, share), _slowed(self.zero_point, share)


def _slowed(x: Tensor, share: float) -> Tensor:
    """The same numbers with a smaller gradient."""
    return x.detach() + (x - x.detach()) * share
