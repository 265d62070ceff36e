"""Windows along one axis or three, as windows along two: what engines have kernels for, and rounding knows."""

from collections.abc import Callable
from dataclasses import replace

import onnx
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context
from bitface.graph.operators.views import Reshape
from bitface.graph.torch_context import TorchContext

# Attributes with a number for each axis; of `pads` the first ones are those before each axis.
_BY_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}

Window = Callable[[Context, Node], Node]


def along_line(context: Context | TorchContext, x: Node, window: Callable[[Node], Node]) -> Node:
    """`[N, C, L]` as images of height 1, what a window along their width gives, and back."""
    channels, length = shape_of(x)[1:]
    result = window(context.add(Reshape((channels, 1, length)), x, suffix="_plane"))
    return context.add(Reshape((shape_of(result)[1], shape_of(result)[3])), result, suffix="_line")


def line(context: Context) -> Context:
    """A node of windows along one axis as one along the second of two."""
    return _along(context, None, 0)


def separable(window: Window) -> Window:
    """A reader of pooling along two axes as one of pooling along one, two or three.

    The mean of a box is the mean of its rows' means, padding counted or not, and so is its maximum.
    """

    def read(context: Context, x: Node) -> Node:
        rank = len(shape_of(x)) - 2
        if rank == 1:
            return along_line(context, x, lambda plane: window(line(context), plane))
        if rank != 3:
            return window(context, x)
        channels, depth, *sides = shape_of(x)[1:]
        if _computes(plane := _along(context, 1, 2)):
            x = window(plane, context.add(Reshape((channels * depth, *sides)), x, suffix="_planes"))
            sides = list(shape_of(x)[2:])
        x = context.add(Reshape((channels, depth, sides[0] * sides[1])), x, suffix="_depths")
        if _computes(depths := _along(context, 0, None)):
            x = window(depths, x)
        return context.add(Reshape((channels, shape_of(x)[2], *sides)), x, suffix="_box")

    return read


def _along(context: Context, *axes: int | None) -> Context:
    """The node at hand with its windows along these axes alone; None: an axis that it leaves as it is."""
    node = onnx.NodeProto()
    node.CopyFrom(context.node)
    for attribute in node.attribute:
        if attribute.name in _BY_AXIS:
            numbers = list(attribute.ints)
            half = len(numbers) // 2
            parts = (numbers[:half], numbers[half:]) if attribute.name == "pads" else (numbers,)
            rest = _BY_AXIS[attribute.name]
            attribute.ints[:] = [rest if axis is None else part[axis] for part in parts for axis in axes]
    return replace(context, node=node)


def _computes(context: Context) -> bool:
    """Whether windows do anything."""
    sizes = [size for name in ("kernel_shape", "strides") for size in context.attribute(name, [1])]
    return any(size != 1 for size in sizes) or any(context.attribute("pads", [0]))
