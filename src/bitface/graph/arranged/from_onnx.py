"""Reads the nodes of an ONNX file whose tensors have the batch elsewhere than in front (`arranged`)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.fx import Node

from bitface.graph.arranged.channels_last import channels_first, channels_last
from bitface.graph.arranged.form import Arranged, arranged, binary, product, softmax
from bitface.graph.builder import BATCH, ShapeError, shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Integers, Value
from bitface.graph.op_spec import OnnxReader
from bitface.graph.operators.arithmetic import Add, Mul
from bitface.graph.operators.linear import linear
from bitface.graph.operators.views import places_of


def read(context: Context, reader: OnnxReader, operands: Sequence[Value]) -> Any:
    """What a node gives, where an operand is `Arranged` or the result would be; otherwise what its reader gives.

    Raises:
        BitfaceError: the node has a form that isn't supported.
    """
    if (turned := channels_first(context, reader, operands)) is not None:
        return channels_last(context, read(context, reader, turned))
    kind = context.node.op_type
    if not _moves_batch(context, operands) and not any(isinstance(_numbers(operand), Arranged) for operand in operands):
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
    if reader.elementwise:
        return _elementwise(context, reader, operands)
    if reader.on_integers:
        return reader.read(context, *operands)
    if kind in _PRODUCTS:
        return _PRODUCTS[kind](context, *operands)
    if not isinstance(operands[0], Node | Arranged):
        context.refuse("reads a tensor whose first axis isn't the batch")
    form = _form(context, operands[0])
    if not form.has_batch() and (kind == "Expand" or kind.startswith("Reduce")):
        return _beside_the_batch(context, reader, form, *operands[1:])
    if kind in ("LayerNormalization", "LpNormalization", "ReduceMean") and _along_last(context, form, *operands[1:]):
        form = form.last_alone()
        return form.with_node(reader.read(context, form.node, *operands[1:]))
    if kind not in _READERS:
        context.refuse("reads a tensor whose first axis isn't the batch")
    return _READERS[kind](context, form, *operands[1:])


def _beside_the_batch(context: Context, reader: OnnxReader, form: Arranged, numbers: Value = None) -> Any:
    """What a reduction or an Expand of a tensor gives whose batch was squeezed away."""
    image, rank = form.with_batch(), len(form.groups)
    if context.node.op_type == "Expand":
        fits = np.size(numbers) <= rank
    else:
        axes = context.ints("axes", numbers)
        fits, numbers = bool(axes), np.array([axis_of(axis, rank) + 1 for axis in axes or []])
    if not fits:
        context.refuse("changes the axes of a tensor without a batch")
    return _form(context, reader.read(context, image, numbers)).drop(0, context.batch)


def _moves_batch(context: Context, operands: Sequence[Value]) -> bool:
    """Whether a node takes the batch elsewhere than in front, or away."""
    kind = context.node.op_type
    if kind == "Squeeze" and context.batch == 1 and isinstance(operands[0], Node):
        axes = context.ints("axes", *operands[1:2] or [None])
        return not axes or 0 in {axis_of(axis, len(shape_of(operands[0]))) for axis in axes}
    return kind == "Transpose" and next(iter(context.attribute("perm", [1]))) != 0


def _numbers(operand: Value) -> Value:
    return operand.numbers if isinstance(operand, Integers) else operand


def _elementwise(context: Context, reader: OnnxReader, operands: Sequence[Value]) -> Any:
    """What a node gives that computes number by number: the same on the graph's tensors, where all have one form."""
    values = [_numbers(operand) for operand in operands]
    forms = [_form(context, value) if isinstance(value, Node | Arranged) else None for value in values]
    images = list(filter(None, forms))
    forms = [form and (form.merged() if len(images) > 1 else form.in_order()) for form in forms]
    form = next(filter(None, forms))
    if any(other and other.groups != form.groups for other in forms):
        raise ShapeError(f"{context.name}: computes on tensors with the batch at two places, which isn't supported")
    own: list[Value] = []
    for operand, other in zip(operands, forms, strict=True):
        if other:
            own.append(replace(operand, numbers=other.node) if isinstance(operand, Integers) else other.node)
        else:
            own.append(operand if operand is None or np.size(operand) == 1 else form.constant(operand))
    result = reader.read(context, *own)
    numbers = form.with_node(_numbers(result)).settled()
    return replace(result, numbers=numbers) if isinstance(result, Integers) else numbers


def _form(context: Context, x: Node | Arranged) -> Arranged:
    return arranged(context.builder, context.name, x)


def _along_last(context: Context, form: Arranged, axes: Value = None, *_: Value) -> bool:
    """Whether a node normalises, or reduces, along the last axis alone and keeps it."""
    if context.node.op_type == "ReduceMean":
        return context.ints("axes", axes) == [-1] and context.attribute("keepdims", 1) == 1
    return axis_of(context.attribute("axis", -1), len(form.groups)) == len(form.groups) - 1


def _matmul(context: Context, a: Value, b: Value) -> Any:
    return product(context.builder, context.name, a, b, lambda x, w: linear(context, x, w.T, None))


def _gemm(context: Context, a: Value, b: Value, bias: Value = None) -> Any:
    """`alpha · a b + beta · bias`, where the images lie one behind the other in `a`."""
    if isinstance(b, Node | Arranged) or not isinstance(a, Node | Arranged) or context.attribute("transA", 0):
        context.refuse("multiplies by something other than a constant matrix from the right")
    alpha, beta = (np.float32(context.attribute(name, 1.0)) for name in ("alpha", "beta"))
    weight = alpha * (np.asarray(b).T if context.attribute("transB", 0) else np.asarray(b))
    image = isinstance(bias, Node | Arranged)
    if bias is not None and beta != 1:
        bias = binary(context.builder, context.name + "_bias", Mul(), bias, beta) if image else beta * np.asarray(bias)
    if image or (np.ndim(bias) == 2 and len(bias) != 1):
        return binary(context.builder, context.name + "_sum", Add(), _matmul(context, a, weight), bias)
    shift = None if bias is None else np.asarray(bias).reshape(-1)
    return product(context.builder, context.name, a, weight, lambda x, w: linear(context, x, w.T, shift))


def _transpose(context: Context, form: Arranged) -> Any:
    return form.transpose(context.attribute("perm", range(len(form.groups) - 1, -1, -1)))


def _reshape(context: Context, form: Arranged, shape: Value) -> Any:
    return form.reshape(context.ints("shape", shape) or [], context.batch or 1)


def _gather(context: Context, form: Arranged, indices: Value) -> Any:
    axis = axis_of(context.attribute("axis", 0), len(form.groups))
    if not isinstance(indices, np.ndarray | np.generic):
        context.refuse("picks by computed indices")
    if np.ndim(indices) == 0:
        return form.pick(axis, axis_of(int(indices), form.shape[axis]))
    result = form.pick_behind(axis, np.asarray(indices), context.batch)
    if result is None and indices.shape[:1] == (BATCH,):
        context.refuse("picks by the batch")
    return form.pick_several(axis, np.asarray(indices)) if result is None else result


def _gather_nd(context: Context, form: Arranged, indices: Value) -> Any:
    """Along axes that aren't the batch, taken together."""
    if not isinstance(indices, np.ndarray):
        context.refuse("picks by computed indices")
    if context.attribute("batch_dims", 0):
        context.refuse("picks other places for every index of a first axis that isn't the batch")
    depth = indices.shape[-1]
    ends, rest = form.shape[:depth], form.shape[depth:]
    flat = _form(context, form.reshape((math.prod(ends), *rest))).merged()
    return flat.pick_several(0, places_of(indices, ends))


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
    """Without axes all of length 1, of which a batch that the file fixes to 1 is one."""
    sides = form.sides(context.batch)
    dims = context.ints("axes", axes) or [axis for axis, side in enumerate(sides) if side == 1]
    result: Any = form
    for axis in sorted((axis_of(axis, len(sides)) for axis in dims), reverse=True):
        result = _form(context, result).drop(axis, context.batch)
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


_PRODUCTS: dict[str, Callable[..., Any]] = {"MatMul": _matmul, "Gemm": _gemm}
_READERS: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Split": _split,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Shape": _shape,
    "Softmax": _softmax,
}
