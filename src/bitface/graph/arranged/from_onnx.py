"""Reads the nodes of an ONNX file whose tensors have the batch elsewhere than in front (`arranged`)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.fx import Node

from bitface.graph.arranged.form import POINTWISE, Arranged, arranged, binary, product, softmax
from bitface.graph.builder import ShapeError
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.op_spec import OnnxReader
from bitface.graph.operators.arithmetic import Add, Div, Mul, Sub
from bitface.graph.operators.linear import linear

_ARITHMETIC = {"Add": Add, "Sub": Sub, "Mul": Mul, "Div": Div}


def read(context: Context, reader: OnnxReader, operands: Sequence[Value]) -> Any:
    """What a node gives, where an operand is `Arranged` or the result would be; otherwise what its reader gives.

    Raises:
        BitfaceError: the node has a form that isn't supported.
    """
    kind = context.node.op_type
    moves_batch = kind == "Transpose" and next(iter(context.attribute("perm", [1]))) != 0
    if not moves_batch and not any(isinstance(operand, Arranged) for operand in operands):
        try:
            return reader.read(context, *operands)
        except ShapeError:
            if kind != "Reshape" or not isinstance(operands[0], Node):
                raise
            try:
                return _reshape(context, _form(context, operands[0]), *operands[1:])
            except ShapeError:
                pass
            raise
    if kind in _ARITHMETIC:
        return binary(context.builder, context.name, _ARITHMETIC[kind](), *operands)
    if kind in ("MatMul", "Gemm"):
        return _product(context, *operands)
    if not isinstance(operands[0], Node | Arranged):
        context.refuse("reads a tensor whose first axis isn't the batch")
    form = _form(context, operands[0])
    if kind in ("LayerNormalization", "ReduceMean") and _along_last(context, form, *operands[1:]):
        form = form.last_alone()
        return form.with_node(reader.read(context, form.node, *operands[1:]))
    if kind in POINTWISE:
        return form.with_node(reader.read(context, form.node, *operands[1:]))
    if kind not in _READERS:
        context.refuse("reads a tensor whose first axis isn't the batch")
    return _READERS[kind](context, form, *operands[1:])


def _form(context: Context, x: Node | Arranged) -> Arranged:
    return arranged(context.builder, context.name, x)


def _along_last(context: Context, form: Arranged, axes: Value = None, *_: Value) -> bool:
    """Whether a node normalises, or reduces, along the last axis alone and keeps it."""
    if context.node.op_type == "ReduceMean":
        return context.ints("axes", axes) == [-1] and context.attribute("keepdims", 1) == 1
    return axis_of(context.attribute("axis", -1), len(form.groups)) == len(form.groups) - 1


def _product(context: Context, a: Value, b: Value, bias: Value = None) -> Any:
    if context.node.op_type == "Gemm":
        weight = np.asarray(b).T if context.attribute("transB", 0) else np.asarray(b)
        plain = context.attribute("alpha", 1.0) == context.attribute("beta", 1.0) == 1.0
        if (
            isinstance(b, Node | Arranged)
            or isinstance(bias, Node | Arranged)
            or context.attribute("transA", 0)
            or not plain
        ):
            context.refuse("multiplies by something other than a constant matrix from the right")
        bias = None if bias is None else np.asarray(bias).reshape(-1)
        return product(context.builder, context.name, a, weight, lambda x, w: linear(context, x, w.T, bias))
    return product(context.builder, context.name, a, b, lambda x, w: linear(context, x, w.T, None))


def _transpose(context: Context, form: Arranged) -> Any:
    return form.transpose(context.attribute("perm", range(len(form.groups) - 1, -1, -1)))


def _reshape(context: Context, form: Arranged, shape: Value) -> Any:
    return form.reshape(context.ints("shape", shape) or [], context.batch or 1)


def _gather(context: Context, form: Arranged, indices: Value) -> Any:
    axis = axis_of(context.attribute("axis", 0), len(form.groups))
    if isinstance(indices, Node | Arranged) or np.size(indices) != 1:
        context.refuse("picks by computed indices, or several, from a tensor whose first axis isn't the batch")
    index = axis_of(int(np.asarray(indices).item()), form.shape[axis])
    return form.slice(axis, range(index, index + 1)).settled() if np.ndim(indices) else form.pick(axis, index)


def _split(context: Context, form: Arranged, sizes: Value = None) -> list[Any]:
    axis = axis_of(context.attribute("axis", 0), len(form.groups))
    count = len(context.node.output)
    lengths = context.ints("split", sizes) or [form.shape[axis] // count] * count
    ends = np.cumsum(lengths).tolist()
    if ends[-1] != form.shape[axis]:
        context.refuse(f"splits {form.shape[axis]} into {lengths}")
    parts = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    return [form.slice(axis, part).settled() for part in parts]


def _slice(
    context: Context, form: Arranged, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> Any:
    first, last = context.ints("starts", starts) or [], context.ints("ends", ends) or []
    dims = context.ints("axes", axes, range(len(first))) or []
    strides = context.ints("steps", steps, [1] * len(first)) or []
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        axis = axis_of(dim, len(form.groups))
        form = form.slice(axis, range(*slice(start, end, step).indices(form.shape[axis])))
    return form.settled()


def _squeeze(context: Context, form: Arranged, axes: Value = None) -> Any:
    shape = form.shape
    dims = context.ints("axes", axes) or [axis for axis, side in enumerate(shape) if side == 1]
    result: Any = form
    for axis in sorted((axis_of(axis, len(shape)) for axis in dims), reverse=True):
        result = _form(context, result).drop(axis)
    return result


def _unsqueeze(context: Context, form: Arranged, axes: Value = None) -> Any:
    dims = context.ints("axes", axes) or []
    result: Any = form
    for axis in sorted(axis_of(axis, len(form.groups) + len(dims)) for axis in dims):
        result = _form(context, result).insert(axis)
    return result


def _shape(context: Context, form: Arranged) -> np.ndarray:
    return np.array(form.shape[context.attribute("start", 0) : context.attribute("end")], dtype=np.int64)


def _softmax(context: Context, form: Arranged) -> Any:
    before = context.opset < 13
    axis = axis_of(context.attribute("axis", 1 if before else -1), len(form.groups))
    if before and axis != len(form.groups) - 1:
        context.refuse("compares along several axes of a tensor whose first axis isn't the batch")
    return softmax(context.builder, context.name, form, axis)


_READERS: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Gather": _gather,
    "Split": _split,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Shape": _shape,
    "Softmax": _softmax,
}
