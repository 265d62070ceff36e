"""Repeating: axes of length 1, by a product with ones, and longer ones, by joining them to themselves."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.builder import BATCH, Builder, check_numbers, shape_of, shape_text
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.op_spec import OnnxReader, OpSpec, register
from bitface.graph.operators.arithmetic import Mul
from bitface.graph.operators.concat import Concat
from bitface.graph.torch_context import TorchContext

# A repetition is a tensor that is joined to itself, part by part.
_MOST_PARTS = 64
_MOST_ONES = 1 << 24


def expand(builder: Builder, name: str, x: Node, shape: tuple[int, ...], fixed_batch: int | None = None) -> Node:
    """`x` in another shape; -1 keeps an axis. Raises BitfaceError for one with more axes, or another batch."""
    old_shape = shape_of(x)
    shape = (1,) * (len(old_shape) - len(shape)) + tuple(shape)
    if len(shape) > len(old_shape) or shape[0] not in (1, -1, BATCH, fixed_batch) or BATCH in shape[1:]:
        raise BitfaceError(f"{name}: expands {shape_text(x)} to {list(shape)}, which isn't supported")
    ones = [max(new, 1) if old == 1 else 1 for new, old in zip(shape[1:], old_shape[1:], strict=True)]
    if math.prod(ones) == 1:
        return x
    if math.prod(ones) > _MOST_ONES:
        raise BitfaceError(f"{name}: expands {shape_text(x)} to {list(shape)}; no face network is as large")
    check_numbers(name, "Expand", ones)
    return builder.add(name, Mul(), x, builder.constant(name + "_ones", torch.ones(1, *ones)))


def tile(builder: Builder, name: str, x: Node, repeats: Sequence[int]) -> Node:
    """`x` so many times along each axis. Raises BitfaceError for more axes, another batch, or very many times."""
    repeats = [int(times) for times in repeats]
    if len(repeats) != len(shape_of(x)) or repeats[0] != 1 or min(repeats) < 1:
        raise BitfaceError(f"{name}: repeats {shape_text(x)} {repeats} times, which isn't supported")
    single = [times if side == 1 else 1 for times, side in zip(repeats, shape_of(x), strict=True)]
    x = expand(builder, name, x, (-1, *[side * times for side, times in zip(shape_of(x), single, strict=True)][1:]))
    for axis, (times, expansion) in enumerate(zip(repeats, single, strict=True)):
        if times > _MOST_PARTS and expansion == 1:
            raise BitfaceError(f"{name}: repeats {shape_text(x)} {repeats} times, which isn't supported")
        if times > 1 and expansion == 1:
            x = builder.add(name, Concat(axis), *[x] * times)
    return x


def _read_tile(context: Context, x: Node, repeats: Value) -> Node:
    return tile(context.builder, context.name, x, context.ints("repeats", repeats) or [])


def _call_tile(context: TorchContext, x: Node, *repeats: Any) -> Node:
    times = repeats[0] if isinstance(repeats[0], tuple | list) else repeats
    return tile(context.builder, context.name, x, times)


def _read(context: Context, x: Node, shape: Value) -> Node:
    sides = context.ints("shape", shape) or []
    return expand(context.builder, context.name, x, tuple(sides), context.batch)


def _call(context: TorchContext, x: Node, *sides: Any) -> Node:
    size = shape_of(sides[0]) if isinstance(sides[0], Node) else sides
    shape = tuple(size[0] if isinstance(size[0], tuple | list) else size)
    return expand(context.builder, context.name, x, shape)


register(
    OpSpec(
        "Tile",
        onnx={"Tile": OnnxReader(_read_tile, moves_integers=True)},
        torch_calls=dict.fromkeys(("repeat", "tile", torch.tile), _call_tile),
    )
)
register(
    OpSpec("Expand", onnx={"Expand": OnnxReader(_read)}, torch_calls=dict.fromkeys(("expand", "expand_as"), _call))
)
