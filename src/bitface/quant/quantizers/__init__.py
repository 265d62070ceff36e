"""The quantizers, one file each: from float tensors to integers and back, differentiable where they learn."""

from bitface.quant.quantizers.base import Quantizer, mean_size
from bitface.quant.quantizers.dorefa import DoReFaQuantizer
from bitface.quant.quantizers.dsq import DsqQuantizer
from bitface.quant.quantizers.lsq import LsqQuantizer
from bitface.quant.quantizers.minmax import EmaQuantizer, MinMaxQuantizer, PercentileQuantizer
from bitface.quant.quantizers.pact import PactQuantizer
from bitface.quant.quantizers.registry import QUANTIZERS
from bitface.quant.quantizers.rounding import RoundingQuantizer
from bitface.quant.quantizers.uniform import UniformQuantizer

__all__ = [
    "QUANTIZERS",
    "DoReFaQuantizer",
    "DsqQuantizer",
    "EmaQuantizer",
    "LsqQuantizer",
    "MinMaxQuantizer",
    "PactQuantizer",
    "PercentileQuantizer",
    "Quantizer",
    "RoundingQuantizer",
    "UniformQuantizer",
    "mean_size",
]
