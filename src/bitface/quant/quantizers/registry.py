"""The quantizers that learn, by the names that recipes call them."""

from bitface.quant.quantizers.base import Quantizer
from bitface.registry import Registry

# Each is built as `Quantizer` is, and then begins with the numbers that calibration found.
QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer", "bitface.quantizers", package="bitface.quant.quantizers")
