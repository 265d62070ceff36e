"""The integer modules of `graph.integer`: quantizers of activations, and layers of integers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch.fx import Node

from bitface.graph import onnx_prelu
from bitface.graph.builder import shape_of
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize, limits
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Integers, Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators import convolution, linear
from bitface.graph.operators.arithmetic import Add, Mul, Sub

_ACTIVATIONS = (np.int8, np.uint8, np.int16, np.uint16)


def quantized(context: Context, x: Node, scale: Value, zero_point: Value = None) -> Integers:
    """What the node at hand rounds, as integers of this scale."""
    element_type = context.attribute("output_dtype", 0) or TensorProto.UINT8
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type) if zero_point is None else np.asarray(zero_point).dtype
    if isinstance(scale, Node) or np.size(scale) != 1 or dtype not in _ACTIVATIONS:
        context.refuse("quantizes an activation per channel, or to other integers than those of 8 and 16 bits")
    numbers = _scale_and_zero_point(scale, zero_point)
    quantizer = QuantizeDequantize(*numbers, 8 * dtype.itemsize, bool(np.issubdtype(dtype, np.signedinteger)))
    return Integers(context.add(quantizer, x), *numbers, dtype)


def dequantized(context: Context, x: Node | Integers, scale: Value, zero_point: Value = None) -> Node:
    """The floats of integers that the node at hand reads; the pixels of an image may mean what it says."""
    if not isinstance(x, Integers) or np.size(scale) != 1:
        context.refuse("doesn't give back what was quantized just before")
    factor, shift = _scale_and_zero_point(scale, zero_point)
    numbers: Node = x.numbers
    if (x.scale, x.zero_point) == (factor, shift):
        return numbers
    if not x.plain:
        context.refuse("doesn't give back what was quantized just before")
    if shift:
        numbers = context.add(Sub(), numbers, context.node_of(np.float32(shift)), suffix="_from_zero")
    return context.add(Mul(), numbers, context.node_of(np.float32(factor)), suffix="_scaled")


def _scale_and_zero_point(scale: Value, zero_point: Value) -> tuple[float, int]:
    return np.asarray(scale).item(), 0 if zero_point is None else np.asarray(zero_point).item()


def _write_quantizer(writer: Writer, node: Node, module: QuantizeDequantize, inputs: list[str]) -> str:
    name, x = str(node.target), inputs[0]
    dtype, zero_point = writer.integer_type(module)
    if module.bits in (8, 16):
        return writer.quantize(x, name, module.scale, zero_point, dtype)
    # The integers of the type are wider, so the limits must be said.
    bounds = [bound - module.zero_point for bound in limits(module.bits, module.signed)]
    if writer.form.sums_in_float and all(isinstance(writer.module_of(user), Add) for user in node.users):
        return _rounded(writer, x, name, module.scale, bounds)
    if writer.form.integer_limits:
        inside = [writer.number(bound + zero_point, dtype.type) for bound in bounds]
        return writer.quantize(x, name, module.scale, zero_point, dtype, inside)
    around = [writer.number(bound * module.scale) for bound in bounds]
    return writer.quantize(writer.op("Clip", [x, *around], name + "_clipped"), name, module.scale, zero_point, dtype)


def _rounded(writer: Writer, x: str, name: str, scale: float, bounds: Sequence[int]) -> str:
    """A quantizer as arithmetic in float, which `onnx_patterns` reads back.

    OpenVINO leaves the rounding of a pair out where an addition alone reads it. With 256 levels that hardly shows;
    of 16 levels it was half of what the embedding had lost. The addition is in float in any case.
    """
    by = writer.number(scale)
    levels = writer.op("Round", [writer.op("Div", [x, by], name + "_levels")], name + "_rounded")
    return writer.op("Mul", [writer.op("Clip", [levels, *map(writer.number, bounds)], name + "_limited"), by], name)


def _write_layer(writer: Writer, node: Node, module: Any, inputs: list[str]) -> str:
    if not writer.form.integer_prelu:
        return onnx_prelu.emit_layer(writer, node, module, inputs[0])
    return writer.layer(str(node.target), module, inputs[0], rank=len(shape_of(node)))


register(
    OpSpec(
        "QuantizeDequantize",
        QuantizeDequantize,
        onnx={
            "QuantizeLinear": OnnxReader(quantized, elementwise=True),
            "DequantizeLinear": OnnxReader(dequantized, on_integers=True, elementwise=True),
        },
        write=_write_quantizer,
        traits=Traits(channels="kept"),
    )
)
register(
    OpSpec(
        "IntegerConv",
        IntegerConv2d,
        write=_write_layer,
        multiply_adds=convolution.multiply_adds,
        largest_tensor=convolution.weight_shape,
        traits=convolution.traits,
    )
)
register(
    OpSpec(
        "IntegerLinear",
        IntegerLinear,
        write=_write_layer,
        multiply_adds=linear.multiply_adds,
        largest_tensor=linear.weight_shape,
        traits=Traits(channels="kept"),
    )
)
