"""The quantizers, one file each: from float tensors to integers and back, differentiable where they learn."""

from bitface.quant.quantizers.base import Quantizer
from bitface.quant.quantizers.lsq import LsqQuantizer
from bitface.quant.quantizers.uniform import UniformQuantizer

__all__ = ["LsqQuantizer", "Quantizer", "UniformQuantizer"]
