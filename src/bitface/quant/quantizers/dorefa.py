"""DoReFa: weights bent by tanh, activations clipped to a fixed range (Zhou et al. 2016, equations 7 to 11)."""

import torch
from torch import Tensor

from bitface.quant.quantizers.base import Quantizer, mean_size
from bitface.quant.quantizers.registry import QUANTIZERS


@QUANTIZERS.register("dorefa")
class DoReFaQuantizer(Quantizer):
    """Weights become `tanh(w) / max |tanh(w)|`, in equal steps; nothing is learned but the weights themselves.

    Departures: the bent weights are scaled back to the largest of their own channel, so that a network whose
    BatchNorms are folded keeps its function (the paper takes the largest of the layer, and leaves it at 1); no gradient
    passes through the largest; levels are symmetric around 0, with 0 among them; activations are clipped to the range
    that calibration found instead of to [0, 1]. Weights of one bit are their sign times the mean size of their channel.
    """

    one_bit = True

    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels, dtype=torch.int32))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        self.scale.copy_(scale)
        self.zero_point.copy_(0 * zero_point if self.weights else zero_point)

    def transform(self, x: Tensor) -> Tensor:
        if not self.weights:
            return x
        rows = x.reshape(self.channels, -1)
        if self.bits == 1:
            self.scale = mean_size(rows.detach())
            return self.signs(x)
        bent = torch.tanh(rows)
        with torch.no_grad():
            size = rows.abs().amax(1, keepdim=True)
            largest = bent.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
            scale = (size / self.limits[1]).flatten()
            # A new tensor: an earlier pass may still need the old one for its gradient.
            self.scale = torch.where(scale > torch.finfo(torch.float32).tiny, scale, torch.ones_like(scale))
        return (bent / largest * size).reshape(x.shape)
