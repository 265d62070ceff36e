"""Operators that pool, move, pick, join and enlarge."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.operators.resizing import Resize
from bitface.targets.litert.elementwise import Floats
from bitface.targets.litert.layers import Pair, Window, padded
from bitface.targets.litert.schema import Op, Padding, part, picks, pool
from bitface.targets.litert.writer import Operand, Value, Write, Writer

_LOWEST = float(np.finfo(np.float32).min)


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _like(node: Node, x: Value) -> Value:
    """A result in the shape of a node that lies as `x` does."""
    shape = (1, *shape_of(node)[1:])
    return Value(-1, shape, (shape[1], shape[2], shape[3]) if x.image is not None and len(shape) == 4 else None)


def _max_pool(writer: Writer, node: Node, module: nn.MaxPool2d, inputs: list[Operand]) -> Value:
    x, kernel, stride = writer.channels_last(inputs[0]), _pair(module.kernel_size), _pair(module.stride)
    if _pair(module.dilation) != (1, 1):
        raise writer.obstacle(node, "whose window is dilated, which LiteRT's can't be")
    like = _like(node, x)
    x, padding = Window(kernel, stride, _pair(module.padding)).applied(writer, x, like, border=_LOWEST)
    return writer.op(Op.MAX_POOL_2D, str(node.target), [x], like, x.levels, pool(padding, kernel, stride))


def _average_pool(writer: Writer, node: Node, module: nn.AvgPool2d, inputs: list[Operand]) -> Value:
    """Sums by the window's size; where it reaches beyond the map, divided by what it counts."""
    x, kernel, stride = writer.channels_last(writer.floats(inputs[0])), _pair(module.kernel_size), _pair(module.stride)
    like, name = _like(node, x), str(node.target)
    height, width = x.shape[2:]
    source, _ = _Beyond(kernel, stride, _pair(module.padding)).applied(writer, x, like)
    mean = writer.op(Op.AVERAGE_POOL_2D, name, [source], like, options=pool(Padding.VALID, kernel, stride))
    if source is x:
        return mean
    ones = torch.ones(1, 1, height, width)
    top, left = _pair(module.padding)
    around = nn.functional.pad(ones, (left, source.shape[3] - width - left, top, source.shape[2] - height - top))
    parts = nn.functional.avg_pool2d(around, kernel, stride)
    factor = torch.where(parts > 0, module(ones) / parts, torch.zeros(1))
    if bool((factor == 1).all()):
        return mean
    return Floats(writer, name).two(Op.MUL, mean, factor.numpy())


class _Beyond(Window):
    """A window whose padding is always written, as SAME would leave it out of the count."""

    def _same(self, x: Value, like: Value) -> bool:
        return False


def _pad(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    x: Value = inputs[0]
    pairs = [(module.pads[place], module.pads[place + 1]) for place in range(0, len(module.pads), 2)][::-1]
    pads = [(0, 0)] * (len(x.shape) - 1 - len(pairs)) + pairs[max(0, len(pairs) - len(x.shape) + 1) :]
    if len(x.shape) == 2:
        x = writer.plain(x)
    for axis, (before, after) in enumerate(pads, start=1):
        places = np.arange(max(-before, 0), x.shape[axis] + min(after, 0))  # padding below zero takes away
        if module.mode != "constant":
            places = _mirrored(np.arange(-before, x.shape[axis] + after), x.shape[axis], module.mode)
        x = _picked(writer, f"{node.target}_{axis}", x, axis, places)
    if module.mode != "constant":
        return x
    around = tuple((max(before, 0), max(after, 0)) for before, after in pads)
    return padded(writer, writer.floats(x) if module.value else x, around, max(module.value, _LOWEST))


def _mirrored(places: np.ndarray, side: int, mode: str) -> np.ndarray:
    """The places inside a map that stand for those around it."""
    last = side - 1
    result: np.ndarray = places.clip(0, last) if mode == "edge" else last - np.abs(last - np.abs(places))
    return result


def _picked(writer: Writer, name: str, x: Value, axis: int, places: Any) -> Value:
    """Places along an axis, in any order."""
    places = np.asarray(places, np.int32)
    if np.array_equal(places, np.arange(x.shape[axis])):
        return x
    x = writer.plain(x) if len(x.shape) == 2 else x
    like = _with_side(x, axis, len(places))
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    end = int(places[-1]) + 1
    if step > 0 and np.array_equal(places, np.arange(places[0], end, step)):
        place = x.axis(axis)
        numbers = np.zeros((3, len(x.shape)), np.int32)
        numbers[2] = 1
        numbers[:, place] = places[0], end, step
        bounds = [writer.file.constant(word, row) for word, row in zip(("begin", "end", "step"), numbers, strict=True)]
        whole = (1 << len(x.shape)) - 1 - (1 << place)
        return writer.op(Op.STRIDED_SLICE, name, [x, *bounds], like, x.levels, part(whole))
    indices = writer.file.constant("indices", places)
    return writer.op(Op.GATHER, name, [x, indices], like, x.levels, picks(x.axis(axis)))


def _with_side(x: Value, axis: int, side: int) -> Value:
    shape = (*x.shape[:axis], side, *x.shape[axis + 1 :])
    return Value(-1, shape, (shape[1], shape[2], shape[3]) if x.image is not None else None)


def _slice(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    places = range(*slice(module.start, module.end, module.step).indices(inputs[0].shape[module.dim]))
    return _picked(writer, str(node.target), inputs[0], module.dim, list(places))


def _gather(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    return _picked(writer, str(node.target), inputs[0], module.dim, module.indices)


def _concat(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    first = next(one for one in inputs if isinstance(one, Value))
    if any(not isinstance(one, Value) for one in inputs):
        inputs = [writer.floats(one) if isinstance(one, Value) else one for one in inputs]
    elif len(first.shape) == 2:
        inputs = [writer.plain(one) for one in inputs]
    parts = writer.alike(*inputs)
    return writer.joined(str(node.target), parts, module.dim, _like(node, parts[0]))


def _reshape(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    x, shape = inputs[0], (1, *module.tail)
    if x.image is not None:
        flat, unflat = len(x.shape) == 4 and len(shape) == 2, len(x.shape) == 2 and shape[1:] == x.image
        if flat or unflat or shape == x.shape:
            return writer.reshaped(x, Value(-1, shape, x.image))
    return writer.reshaped(writer.plain(x), Value(-1, shape))


def _transpose(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    x, shape = inputs[0], (1, *shape_of(node)[1:])
    x = writer.plain(x) if len(x.shape) != 4 else x
    order = [x.axis(axis) for axis in module.dims]  # which axis in memory comes where
    if len(shape) == 4:
        last = (order[0], order[2], order[3], order[1])
        if x.image is not None or last == (0, 1, 2, 3):
            image = (shape[1], shape[2], shape[3])
            if last == (0, 1, 2, 3) or order != [0, 1, 2, 3]:
                return writer.moved(x, Value(-1, shape, image), last)
    return writer.moved(x, Value(-1, shape), tuple(order))


def _resize(writer: Writer, node: Node, module: Resize, inputs: list[Operand]) -> Value:
    """Axis by axis: of each new pixel the two old ones that it lies between, and their shares."""
    x: Value = inputs[0]
    for axis, (size, scale) in enumerate(zip(module.sizes, module.scales, strict=True), start=1):
        if scale == 1:
            continue
        old = x.shape[axis]
        along = Resize((size,), (scale,), module.mode, module.coordinates, module.rounding)
        shares = along(torch.eye(old)).numpy().T  # [new, old]
        first, second = (shares != 0).argmax(1), old - 1 - (shares != 0)[:, ::-1].argmax(1)
        name = f"{node.target}_{axis}"
        share = shares[np.arange(size), second].astype(np.float32)
        if np.array_equal(first, second):
            x = _picked(writer, name, x, axis, first)
            continue
        x = writer.floats(x)
        row = [1] * len(x.shape)
        row[axis] = size
        share[first == second] = 1.0
        step = Floats(writer, name)
        below = step.two(Op.MUL, _picked(writer, f"{name}_below", x, axis, first), (1 - share).reshape(row))
        above = step.two(Op.MUL, _picked(writer, f"{name}_above", x, axis, second), share.reshape(row))
        x = step.two(Op.ADD, below, above)
    return x


WRITERS: dict[str, Write] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Resize": _resize,
}
