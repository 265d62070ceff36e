"""The kernels of training, compiled where there is a C++ compiler, and the same mathematics without one.

A kernel is compiled at its first use (some seconds) and kept in the cache folder for this source, compiler and CPU.
`BITFACE_KERNELS=0` switches compilation off.
"""

from bitface.quant.kernels.depthwise import depthwise
from bitface.quant.kernels.depthwise import fits as depthwise_fits
from bitface.quant.kernels.fake_quantize import Grid, fake_quantize
from bitface.quant.kernels.native import compiled, missing

__all__ = ["Grid", "compiled", "depthwise", "depthwise_fits", "fake_quantize", "missing"]
