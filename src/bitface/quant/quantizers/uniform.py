"""Uniform affine quantization with fixed ranges."""

import torch
from torch import Tensor

from bitface.quant.quantizers.base import Quantizer


class UniformQuantizer(Quantizer):
    """Scale and zero point as they were set: what calibration finds, and what every other quantizer settles to."""

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels, dtype=torch.int32))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        self.scale, self.zero_point = scale, zero_point.int()
