"""DSQ: differentiable soft quantization (Gong et al., ICCV 2019)."""

import math

from bitface.quant.quantizers.lsq import LsqQuantizer
from bitface.quant.quantizers.registry import QUANTIZERS


@QUANTIZERS.register("dsq")
class DsqQuantizer(LsqQuantizer):
    """Hard levels forward; backward the gradient passes through steps of tanh, steep at the edges between levels.

    `φ(x) = s · tanh(k (x - ⌊x⌋ - 1/2))` in units of a level, `s = 1 / (1 - α)`, `k = ln((s + 1) / (s - 1))`: the
    smaller α, the more like a staircase. Departures: α is fixed (0.4; the paper learns it), and the range learns as in
    LSQ (the paper learns its ends).
    """

    alpha = 0.4

    @property
    def sharpness(self) -> float:  # type: ignore[override]
        s = 1 / (1 - self.alpha)
        return math.log((s + 1) / (s - 1))
