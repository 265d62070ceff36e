"""The quantizers, one file each: from float tensors to integers and back, differentiable where they learn."""

from bitface.quant.quantizers.uniform import UniformQuantizer

__all__ = ["UniformQuantizer"]
