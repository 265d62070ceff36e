"""From a teacher's graph, a bit plan and some faces to an integer student.

`BitPlan` says which layer gets how many bits; `student` places the quantizers; `observers` find the ranges on
calibration faces; `freeze` turns the result into the integer modules of `graph`. `post_training` is the whole way.
"""

from bitface.quant.plan import BitPlan, LayerBits
from bitface.quant.post_training import Calibration, quantize
from bitface.quant.reconstruct import Reconstruction

__all__ = ["BitPlan", "Calibration", "LayerBits", "Reconstruction", "quantize"]
