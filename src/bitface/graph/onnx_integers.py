"""Integers of an ONNX file: pairs of QuantizeLinear and DequantizeLinear, and roundings written as arithmetic.

Between a QuantizeLinear and its DequantizeLinear the file computes in integers, the graph in the numbers that these
stand for. `Integers` keeps the two apart: few operators take them, and every other one is refused there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto
from torch.fx import Node

from bitface.graph import ops
from bitface.graph.integer import QuantizeDequantize

if TYPE_CHECKING:
    from bitface.graph.onnx_ops import Context

# Where the value depends on the image a Node (floats) or Integers, otherwise a numpy array or None.
Value = Any


@dataclass(frozen=True)
class Integers:
    """Integers `q` of an image, held as the numbers `(q - zero_point) · scale` that they stand for."""

    numbers: Node
    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    def number(self, integer: float) -> float:
        return (integer - self.zero_point) * self.scale


IMAGE_VALUES = (Node, Integers)


def quantize_linear(context: "Context", x: Node, scale: Value, zero_point: Value = None) -> Integers:
    """The first half of a pair, which does all that the pair does."""
    named = context.attribute("output_dtype", 0) or TensorProto.UINT8
    dtype = onnx.helper.tensor_dtype_to_np_dtype(named) if zero_point is None else np.asarray(zero_point).dtype
    if isinstance(scale, Node) or np.size(scale) != 1 or dtype not in (np.int8, np.uint8):
        context.refuse("quantizes an activation per channel, or to other integers than int8 and uint8")
    numbers = _scale_and_zero_point(scale, zero_point)
    return Integers(context.add(QuantizeDequantize(*numbers, 8, dtype == np.int8), x), *numbers, dtype)


def dequantize_linear(context: "Context", x: Node | Integers, scale: Value, zero_point: Value = None) -> Node:
    if not isinstance(x, Integers) or (x.scale, x.zero_point) != _scale_and_zero_point(scale, zero_point):
        context.refuse("doesn't give back what was quantized just before")
    return x.numbers


def _scale_and_zero_point(scale: Value, zero_point: Value) -> tuple[float, int]:
    return np.asarray(scale).item(), 0 if zero_point is None else np.asarray(zero_point).item()


def rounded(context: "Context", x: Value, scale: Value) -> tuple[QuantizeDequantize, Node] | None:
    """The quantizer in `clip(round(x / scale), low, high) * scale`, and what it rounds."""
    build = context.builder
    clipping = build.step(x, ops.Clip)
    rounding = build.step(clipping[1][0], ops.Round) if clipping else None
    division = build.step(rounding[1][0], ops.Div) if rounding else None
    if clipping is None or division is None or np.size(scale) != 1:
        return None
    clip, (source, divisor) = clipping[0], division[1]
    size, low, known = np.asarray(scale).item(), int(clip.low), build.value(divisor)
    bits = int(clip.high - clip.low + 1).bit_length() - 1
    if known.numel() != 1 or known.item() != size or (clip.low, clip.high) != (low, low + 2**bits - 1):
        return None
    return (QuantizeDequantize(size, -low, bits, False), source) if 2 <= bits <= 8 and -(2**bits) < low <= 0 else None
