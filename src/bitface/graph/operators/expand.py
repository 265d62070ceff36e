"""Repeating axes of length 1, which a product with ones does as well."""

import math
from typing import Any

import torch
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.builder import BATCH, Builder, check_numbers, shape_of, shape_text
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.op_spec import OnnxReader, OpSpec, register
from bitface.graph.operators.arithmetic import Mul
from bitface.graph.torch_context import TorchContext


def expand(builder: Builder, name: str, x: Node, shape: tuple[int, ...], fixed_batch: int | None = None) -> Node:
    """`x` in another shape; -1 keeps an axis. Raises BitfaceError for one with more axes, or another batch."""
    known = shape_of(x)
    shape = (1,) * (len(known) - len(shape)) + tuple(shape)
    if len(shape) > len(known) or shape[0] not in (1, -1, BATCH, fixed_batch):
        raise BitfaceError(f"{name}: expands {shape_text(x)} to {list(shape)}, which isn't supported")
    ones = [max(new, 1) if old == 1 else 1 for new, old in zip(shape[1:], known[1:], strict=True)]
    if math.prod(ones) == 1:
        return x
    check_numbers(name, "Expand", ones)
    return builder.add(name, Mul(), x, builder.constant(name + "_ones", torch.ones(1, *ones)))


def _read(context: Context, x: Node, shape: Value) -> Node:
    sides = context.ints("shape", shape) or []
    return expand(context.builder, context.name, x, tuple(sides), context.batch)


def _call(context: TorchContext, x: Node, *sides: Any) -> Node:
    wanted = shape_of(sides[0]) if isinstance(sides[0], Node) else sides
    shape = tuple(wanted[0] if isinstance(wanted[0], tuple | list) else wanted)
    return expand(context.builder, context.name, x, shape)


register(
    OpSpec("Expand", onnx={"Expand": OnnxReader(_read)}, torch_calls=dict.fromkeys(("expand", "expand_as"), _call))
)
