"""Operators that reduce: sums, means, norms, the weights of attention and products of matrices; all in float."""

from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.targets.litert.elementwise import Floats
from bitface.targets.litert.schema import SOFTMAX, Op, local_response, reduction
from bitface.targets.litert.writer import Operand, Value, Write, Writer

# As `torch.nn.functional.normalize`.
_SMALLEST_NORM = 1e-12


def reduced(writer: Writer, name: str, op: Op, x: Value, dims: tuple[int, ...], keep: bool = True) -> Value:
    """One number of all those along axes of the graph's shape."""
    # Of a map with its channels last, what is left lies in the graph's order where channels or whole maps leave.
    in_order = keep or 1 in dims or {2, 3} <= {*dims}
    if len(x.shape) != 4 or not in_order:
        x = writer.plain(x)
    shape = tuple(1 if axis in dims else side for axis, side in enumerate(x.shape) if keep or axis not in dims)
    image = (shape[1], shape[2], shape[3]) if keep and x.image is not None else None
    axes = writer.file.constant("axes", np.array([x.axis(axis) for axis in dims], np.int32))
    return writer.op(op, name, [x, axes], Value(-1, shape, image), options=reduction(keep))


def _reduction(op: Op, before: Any = None, after: Any = None) -> Write:
    def write(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
        step, x = Floats(writer, str(node.target)), writer.floats(inputs[0])
        x = before(step, x) if before else x
        total = reduced(writer, f"{node.target}_total", op, x, module.dims, module.keepdim)
        return after(step, total) if after else total

    return write


def _square(step: Floats, x: Value) -> Value:
    return step.two(Op.MUL, x, x)


def _absolute(step: Floats, x: Value) -> Value:
    return step.one(Op.ABS, x)


def _root(step: Floats, x: Value) -> Value:
    return step.one(Op.SQRT, x)


def _normalize(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    step, x = Floats(writer, str(node.target)), writer.floats(inputs[0])
    x = writer.plain(x) if len(x.shape) != 4 else x
    powers = _square(step, x) if module.p == 2 else _absolute(step, x)
    total = reduced(writer, f"{node.target}_total", Op.SUM, powers, (module.dim % len(x.shape),))
    norm = _root(step, total) if module.p == 2 else total
    return step.two(Op.DIV, x, step.two(Op.MAXIMUM, norm, _SMALLEST_NORM))


def _centred(writer: Writer, step: Floats, name: str, x: Value, dims: tuple[int, ...], eps: float) -> Value:
    """With mean 0 and variance 1 along axes."""
    apart = step.two(Op.SUB, x, reduced(writer, f"{name}_mean", Op.MEAN, x, dims))
    variance = reduced(writer, f"{name}_variance", Op.MEAN, _square(step, apart), dims)
    return step.two(Op.DIV, apart, _root(step, step.two(Op.ADD, variance, float(eps))))


def _layer_norm(writer: Writer, node: Node, module: nn.LayerNorm, inputs: list[Operand]) -> Value:
    name, x = str(node.target), writer.plain(writer.floats(inputs[0]))
    step, rank = Floats(writer, name), len(x.shape)
    x = _centred(writer, step, name, x, tuple(range(rank - len(module.normalized_shape), rank)), module.eps)
    scaled = step.two(Op.MUL, x, module.weight.detach().numpy())
    return step.two(Op.ADD, scaled, module.bias.detach().numpy()) if module.bias is not None else scaled


def _group_norm(writer: Writer, node: Node, module: nn.GroupNorm, inputs: list[Operand]) -> Value:
    name, x = str(node.target), writer.plain(writer.floats(inputs[0]))
    step, shape = Floats(writer, name), x.shape
    size = int(np.prod(shape[1:])) // module.num_groups
    grouped = writer.reshaped(x, Value(-1, (1, module.num_groups, size)))
    normed = writer.reshaped(_centred(writer, step, name, grouped, (2,), module.eps), Value(-1, shape))
    row = (1, -1) + (1,) * (len(shape) - 2)
    scaled = step.two(Op.MUL, normed, module.weight.detach().numpy().reshape(row))
    return step.two(Op.ADD, scaled, module.bias.detach().numpy().reshape(row))


def _local_response(writer: Writer, node: Node, module: nn.LocalResponseNorm, inputs: list[Operand]) -> Value:
    x = writer.channels_last(writer.floats(inputs[0]))
    if x.image is None:
        raise writer.obstacle(node, "which LiteRT has of maps alone")
    options = local_response((module.size - 1) // 2, float(module.k), module.alpha / module.size, module.beta)
    return writer.op(Op.LOCAL_RESPONSE_NORMALIZATION, str(node.target), [x], like=x, options=options)


def _softmax(writer: Writer, node: Node, module: nn.Softmax, inputs: list[Operand]) -> Value:
    """Along the last axis in memory."""
    x, name = writer.floats(inputs[0]), str(node.target)
    rank, dim = len(x.shape), int(module.dim or 0) % len(x.shape)
    if rank == 4 and dim == 1:
        x = writer.channels_last(x)
        return writer.op(Op.SOFTMAX, name, [x], like=x, options=SOFTMAX)
    x = writer.plain(x)
    if dim == rank - 1:
        return writer.op(Op.SOFTMAX, name, [x], like=x, options=SOFTMAX)
    order = tuple(axis if axis not in (dim, rank - 1) else dim + rank - 1 - axis for axis in range(rank))
    turned = writer.moved(x, Value(-1, tuple(x.shape[axis] for axis in order)), order)
    return writer.moved(writer.op(Op.SOFTMAX, name, [turned], like=turned, options=SOFTMAX), x, order)


def _matmul(writer: Writer, node: Node, module: nn.Module, inputs: list[Operand]) -> Value:
    parts = [writer.plain(writer.floats(x)) if isinstance(x, Value) else writer.constant(x) for x in inputs]
    rank = len(shape_of(node))
    parts = [one if len(one.shape) == rank else _ranked(writer, node, one, rank) for one in parts]
    return writer.op(Op.BATCH_MATMUL, str(node.target), parts, like=Value(-1, (1, *shape_of(node)[1:])))


def _ranked(writer: Writer, node: Node, x: Value, rank: int) -> Value:
    if len(x.shape) > rank:
        raise writer.obstacle(node, "of a matrix and a vector, which LiteRT hasn't")
    return writer.reshaped(x, Value(-1, (1,) * (rank - len(x.shape)) + x.shape))


WRITERS: dict[str, Write] = {
    "ReduceMean": _reduction(Op.MEAN),
    "ReduceSum": _reduction(Op.SUM),
    "ReduceMax": _reduction(Op.REDUCE_MAX),
    "ReduceMin": _reduction(Op.REDUCE_MIN),
    "ReduceL1": _reduction(Op.SUM, before=_absolute),
    "ReduceL2": _reduction(Op.SUM, before=_square, after=_root),
    "ReduceSumSquare": _reduction(Op.SUM, before=_square),
    "Normalize": _normalize,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
    "LRN": _local_response,
    "Softmax": _softmax,
    "MatMul": _matmul,
}
