"""Several ONNX operators that together are one of the vocabulary's, told by the last of them.

A pattern is called with what the reader of that last operator is; it gives the module and what this reads, or None
where the nodes before it are others.
"""

from collections.abc import Callable

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph.integer import QuantizeDequantize
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.operators.arithmetic import Div, Round
from bitface.graph.operators.rectifiers import Clip


def rounded(context: Context, x: Value, scale: Value) -> tuple[QuantizeDequantize, Node] | None:
    """The quantizer in `clip(round(x / scale), low, high) * scale`, and what it rounds."""
    build = context.builder
    clipping = build.step(x, Clip)
    rounding = build.step(clipping[1][0], Round) if clipping else None
    division = build.step(rounding[1][0], Div) if rounding else None
    if clipping is None or division is None or np.size(scale) != 1:
        return None
    clip, (source, divisor) = clipping[0], division[1]
    size, low, divisor_value = np.asarray(scale).item(), int(clip.low), build.value(divisor)
    bits = int(clip.high - clip.low + 1).bit_length() - 1
    if divisor_value.numel() != 1 or divisor_value.item() != size or (clip.low, clip.high) != (low, low + 2**bits - 1):
        return None
    return (QuantizeDequantize(size, -low, bits, False), source) if 2 <= bits <= 8 and -(2**bits) < low <= 0 else None


PATTERNS: dict[str, Callable[..., tuple[nn.Module, Node] | None]] = {"Mul": rounded}
