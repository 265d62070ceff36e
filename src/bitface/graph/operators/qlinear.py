"""The operator form of quantized files: QLinearConv and its like read integers and give integers, each with its scale.

They become what they compute in floats, between quantizers: `QLinearX` is X of dequantized numbers, rounded. Where a
file rounds activations by scales that it finds anew in each batch (DynamicQuantizeLinear), that rounding is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from torch.fx import Node

from bitface.graph.arranged import from_onnx as arranged_onnx
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Integers, Value
from bitface.graph.op_spec import OnnxReader, OpSpec, onnx_reader, register
from bitface.graph.operators.arithmetic import Add, Mul
from bitface.graph.operators.quantized import dequantized

_MICROSOFT = "com.microsoft."


def _float_operator(context: Context, kind: str, *operands: Value, suffix: str = "") -> Any:
    """What the node at hand gives as another operator, whose attributes it has."""
    reader = onnx_reader(kind)
    assert reader is not None
    node = onnx.NodeProto()
    node.CopyFrom(context.node)
    node.op_type, node.domain = kind, ""
    return arranged_onnx.read(replace(context, node=node, name=context.name + suffix), reader, operands)


def _quantized(context: Context, x: Any, scale: Value, zero_point: Value = None) -> Integers:
    """What the node at hand rounds, as integers: behind the operator that has its name."""
    result: Integers = _float_operator(context, "QuantizeLinear", x, scale, zero_point, suffix="_quantized")
    return result


def _numbers(context: Context, operand: Sequence[Value], axis: int = 0) -> Value:
    """Floats of an operand: integers, their scale and their zero point; `axis`: of a constant's several scales."""
    x, scale, zero_point = operand
    if isinstance(x, Integers):
        return dequantized(context, x, scale, zero_point)
    if not isinstance(x, np.ndarray) or isinstance(scale, Node) or isinstance(zero_point, Node):
        context.refuse("computes with integers whose scale depends on the image")
    zeros = np.zeros(1) if zero_point is None else zero_point
    return ((x - _along(zeros, x, axis)) * _along(scale, x, axis)).astype(np.float32)


def _along(numbers: Value, x: np.ndarray, axis: int) -> np.ndarray:
    """One number, or one for each place of an axis, as float64 that broadcasts to `x`."""
    flat = np.asarray(numbers, np.float64).reshape(-1)
    return flat if flat.size == 1 else flat.reshape([-1 if place == axis else 1 for place in range(x.ndim)])


def _shift(bias: Value, x_scale: Value, scale: Value, factor: float = 1.0) -> Value:
    """The numbers of a bias in integers, whose scale is that of the products."""
    if bias is None:
        return None
    scales = np.asarray(x_scale, np.float64).item() * _along(scale, bias, bias.ndim - 1)
    return bias * factor * scales


def _read_conv(context: Context, *operands: Value) -> Integers:
    x, weight, y, bias = operands[:3], operands[3:6], operands[6:8], operands[8:]
    shift = _shift(bias[0], x[1], weight[1]) if bias else None
    sums = _float_operator(context, "Conv", _numbers(context, x), _numbers(context, weight), shift)
    return _quantized(context, sums, *y)


def _read_gemm(context: Context, *operands: Value) -> Node | Integers:
    """Without a scale of its own, the result is in floats."""
    x, weight, y = operands[:3], operands[3:6], operands[7:]
    shift = _shift(operands[6], x[1], weight[1], context.attribute("alpha", 1.0)) if operands[6:] else None
    weights = _numbers(context, weight, 0 if context.attribute("transB", 0) else 1)
    sums: Node = _float_operator(context, "Gemm", _numbers(context, x), weights, shift)
    return _quantized(context, sums, *y) if y else sums


def _read_matmul(context: Context, *operands: Value) -> Integers:
    sums = _float_operator(context, "MatMul", _numbers(context, operands[:3]), _numbers(context, operands[3:6], 1))
    return _quantized(context, sums, *operands[6:])


def _binary(kind: str) -> OnnxReader:
    def read(context: Context, *operands: Value) -> Integers:
        result = _float_operator(context, kind, _numbers(context, operands[:3]), _numbers(context, operands[3:6]))
        return _quantized(context, result, *operands[6:])

    return OnnxReader(read, on_integers=True)


def _unary(kind: str) -> OnnxReader:
    def read(
        context: Context, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value = None
    ) -> Integers:
        if context.attribute("channels_last", 0):
            context.refuse("computes on images with the channels last")
        result = _float_operator(context, kind, _numbers(context, (x, x_scale, x_zero)))
        return _quantized(context, result, y_scale, y_zero)

    return OnnxReader(read, on_integers=True)


def _read_concat(context: Context, y_scale: Value, y_zero: Value, *parts: Value) -> Integers:
    operands = [_numbers(context, parts[place : place + 3]) for place in range(0, len(parts), 3)]
    return _quantized(context, _float_operator(context, "Concat", *operands), y_scale, y_zero)


def _read_softmax(context: Context, *operands: Value) -> Integers:
    """The newer or the older Softmax, as an attribute says."""
    context = replace(context, opset=context.attribute("opset", context.opset))
    return _quantized(context, _float_operator(context, "Softmax", _numbers(context, operands[:3])), *operands[3:])


def _read_where(context: Context, condition: Value, *operands: Value) -> Integers:
    choices = _numbers(context, operands[:3]), _numbers(context, operands[3:6])
    return _quantized(context, _float_operator(context, "Where", condition, *choices), *operands[6:])


def _read_matmul_to_float(
    context: Context, x: Value, weight: Value, x_scale: Value, scale: Value, x_zero: Value = None, zero: Value = None,
    bias: Value = None,
) -> Any:  # fmt: skip
    numbers = _numbers(context, (x, x_scale, x_zero)), _numbers(context, (weight, scale, zero), 1)
    return _with_bias(context, _float_operator(context, "MatMul", *numbers), bias)


def _read_dynamic_matmul(
    context: Context, x: Node, weight: Value, scale: Value, zero: Value = None, bias: Value = None
) -> Any:
    return _with_bias(context, _float_operator(context, "MatMul", x, _numbers(context, (weight, scale, zero), 1)), bias)


def _with_bias(context: Context, x: Any, bias: Value) -> Any:
    return x if bias is None else _float_operator(context, "Add", x, bias, suffix="_shifted")


def _read_dynamic(context: Context, x: Node) -> list[Value]:
    """The numbers themselves, which are integers of scale 1 to what reads them."""
    return [Integers(x, 1.0, 0, np.dtype(np.uint8)), np.float32(1), np.uint8(0)]


def _integer_layer(kind: str, axis: int) -> OnnxReader:
    """A layer of integers whose sums stay integers, for a cast and a scale to follow; `axis`: of the outputs."""

    def read(context: Context, x: Value, weight: Value, x_zero: Value = None, zero: Value = None) -> Integers:
        if not isinstance(x, Integers):
            context.refuse("multiplies constants by an image")
        numbers = dequantized(context, x, np.float32(x.scale), np.uint8(0) if x_zero is None else x_zero)
        weights = _numbers(context, (weight, np.float64(1 / x.scale), zero), axis)
        return Integers(_float_operator(context, kind, numbers, weights), 1.0, 0, np.dtype(np.int32))

    return OnnxReader(read, on_integers=True)


def _on_integers(read: Callable[..., Any]) -> OnnxReader:
    return OnnxReader(read, on_integers=True)


register(
    OpSpec(
        "QLinear",
        onnx={
            "QLinearConv": _on_integers(_read_conv),
            "QLinearMatMul": _on_integers(_read_matmul),
            _MICROSOFT + "QGemm": _on_integers(_read_gemm),
            **{f"{_MICROSOFT}QLinear{kind.__name__}": _binary(kind.__name__) for kind in (Add, Mul)},
            **{
                f"{_MICROSOFT}QLinear{kind}": _unary(kind)
                for kind in ("LeakyRelu", "Sigmoid", "GlobalAveragePool", "AveragePool", "ReduceMean")
            },
            _MICROSOFT + "QLinearConcat": _on_integers(_read_concat),
            _MICROSOFT + "QLinearSoftmax": _on_integers(_read_softmax),
            _MICROSOFT + "QLinearWhere": _on_integers(_read_where),
            _MICROSOFT + "MatMulIntegerToFloat": _on_integers(_read_matmul_to_float),
            _MICROSOFT + "DynamicQuantizeMatMul": OnnxReader(_read_dynamic_matmul),
            "DynamicQuantizeLinear": OnnxReader(_read_dynamic),
            "ConvInteger": _integer_layer("Conv", 0),
            "MatMulInteger": _integer_layer("MatMul", 1),
        },
    )
)
