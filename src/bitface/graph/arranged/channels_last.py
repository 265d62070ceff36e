"""Images that a file holds as `[N, H, W, C]`: a graph computes on `[N, C, H, W]`, and transposes where it must.

An operator on single numbers does the same to both, so a transpose in front of it goes behind it, until it meets the
one that takes it back. What is left between two layers are operators on channels, which engines fuse and rounding
knows.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Integers, Value
from bitface.graph.op_spec import OnnxReader
from bitface.graph.operators.views import Transpose

CHANNELS_LAST = (0, 2, 3, 1)
_CHANNELS_FIRST = (0, 3, 1, 2)


def channels_first(context: Context, reader: OnnxReader, operands: Sequence[Value]) -> list[Value] | None:
    """The operands of the node at hand as `[N, C, H, W]`; None where it isn't one on single numbers of images
    `[N, H, W, C]` alone."""
    if not reader.elementwise:
        return None
    result = []
    for operand in operands:
        if isinstance(operand, np.ndarray) and operand.size > 1:
            if operand.ndim > len(CHANNELS_LAST):
                return None
            sides = (1,) * (len(CHANNELS_LAST) - operand.ndim) + operand.shape
            operand = operand.reshape(sides).transpose(_CHANNELS_FIRST)
        elif isinstance(operand, Node | Integers):
            numbers = operand.numbers if isinstance(operand, Integers) else operand
            transpose = context.builder.step(numbers, Transpose)
            if transpose is None or transpose[0].dims != CHANNELS_LAST:
                return None
            (numbers,) = transpose[1]
            operand = replace(operand, numbers=numbers) if isinstance(operand, Integers) else numbers
        elif not (operand is None or isinstance(operand, np.ndarray | np.generic)):
            return None  # arranged otherwise
        result.append(operand)
    return result


def channels_last(context: Context, result: Value) -> Value:
    """What the node at hand gives, back as `[N, H, W, C]`."""
    if isinstance(result, Integers):
        return replace(result, numbers=channels_last(context, result.numbers))
    return context.add(Transpose(CHANNELS_LAST), result, suffix="_channels_last")
