"""Operators that only move or pick numbers, and the functions by which both readers form them.

Every form of a view becomes one of three modules; one that changes nothing becomes none.
"""

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.builder import BATCH, Builder, ShapeError, shape_of, shape_text
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer, one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.concat import Concat
from bitface.graph.torch_context import TorchContext


class Reshape(nn.Module):
    """`[N, …]` → `[N, *tail]`; the batch is never touched, so it stays free."""

    def __init__(self, tail: tuple[int, ...]) -> None:
        super().__init__()
        self.tail = tuple(tail)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.tail)


class Transpose(nn.Module):
    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class Slice(nn.Module):
    """`x[start:end:step]` along one axis; `end` None means to the end."""

    def __init__(self, dim: int, start: int, end: int | None, step: int = 1) -> None:
        super().__init__()
        self.dim, self.start, self.end, self.step = dim, start, end, step

    def forward(self, x: Tensor) -> Tensor:
        index = [slice(None)] * self.dim + [slice(self.start, self.end, self.step)]
        return x[tuple(index)]


def reshape(builder: Builder, name: str, x: Node, shape: tuple[int, ...], fixed_batch: int | None = None) -> Node:
    """Reshapes; a batch written as a number (0, -1, `fixed_batch` or `BATCH`) becomes free.

    Raises:
        ShapeError: the batch would be mixed with other dimensions.
    """
    known = shape_of(x)
    # ONNX: 0 keeps the side
    tail = [known[axis] if side == 0 and axis < len(known) else side for axis, side in enumerate(shape)][1:]
    size = math.prod(known[1:])
    rest = math.prod(side for side in tail if side != -1)
    if tail.count(-1) == 1 and rest and size % rest == 0:
        tail[tail.index(-1)] = size // rest
    if not shape or shape[0] not in (0, -1, BATCH, fixed_batch) or math.prod(tail) != size:
        raise ShapeError(
            f"{name}: reshapes {shape_text(x)} to {list(shape)}, which mixes the batch with other "
            "dimensions; export the network so that the first dimension stays the batch"
        )
    return x if tuple(tail) == known[1:] else builder.add(name, Reshape(tuple(tail)), x)


def take(builder: Builder, name: str, x: Node, dim: int, picked: slice) -> Node:
    """`x[start:end:step]` along an axis other than the batch; the whole axis is no operation.

    Args:
        picked: of known, positive start and end.
    """
    dim %= len(shape_of(x))
    side = shape_of(x)[dim]
    start, end, step = picked.start, picked.stop, 1 if picked.step is None else picked.step
    if (start, step) == (0, 1) and end >= side:
        return x
    if dim == 0 or step < 1:
        raise BitfaceError(f"{name}: slices the batch or runs backwards, which isn't supported")
    return builder.add(name, Slice(dim, start, None if end >= side else end, step), x)


def _read_flatten(context: Context, x: Node) -> Node:
    if axis_of(context.attribute("axis", 1), len(shape_of(x))) != 1:
        context.refuse("flattens into the batch, or not all of the image")
    return reshape(context.builder, context.name, x, (-1, -1))


def _read_reshape(context: Context, x: Node, shape: Value) -> Node:
    sides = context.ints("shape", shape) or []
    if context.attribute("allowzero", 0) and 0 in sides:
        context.refuse("reshapes to an empty tensor")
    return reshape(context.builder, context.name, x, tuple(sides), context.batch or 1)


def _read_squeeze(context: Context, x: Node, axes: Value = None) -> Node:
    known = shape_of(x)
    dims = context.ints("axes", axes)
    chosen = {axis_of(axis, len(known)) for axis in dims} if dims else {i for i, s in enumerate(known) if s == 1}
    if any(known[axis] != 1 for axis in chosen):
        context.refuse("squeezes an axis longer than 1")
    return reshape(context.builder, context.name, x, tuple(s for i, s in enumerate(known) if i not in chosen))


def _read_unsqueeze(context: Context, x: Node, axes: Value = None) -> Node:
    sides = list(shape_of(x))
    dims = context.ints("axes", axes) or []
    for axis in sorted(axis_of(axis, len(sides) + len(dims)) for axis in dims):
        sides.insert(axis, 1)
    return reshape(context.builder, context.name, x, tuple(sides))


def _read_transpose(context: Context, x: Node) -> Node:
    rank = len(shape_of(x))
    order = tuple(context.attribute("perm", range(rank - 1, -1, -1)))
    return x if order == tuple(range(rank)) else context.add(Transpose(order), x)


def _read_split(context: Context, x: Node, sizes: Value = None) -> list[Node]:
    axis = axis_of(context.attribute("axis", 0), len(shape_of(x)))
    side, count = shape_of(x)[axis], len(context.node.output)
    even = -(-side // count)
    lengths = context.ints("split", sizes) or [even] * (count - 1) + [side - even * (count - 1)]
    ends = np.cumsum(lengths).tolist()
    if len(ends) != count or ends[-1] != side:
        context.refuse(f"splits {side} into {lengths}")
    return [
        take(context.builder, f"{context.name}_{index}", x, axis, slice(end - length, end))
        for index, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def _read_slice(
    context: Context, x: Node, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> Node:
    first, last = context.ints("starts", starts) or [], context.ints("ends", ends) or []
    dims = context.ints("axes", axes, range(len(first))) or []
    strides = context.ints("steps", steps, [1] * len(first)) or []
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        axis = axis_of(dim, len(shape_of(x)))
        if axis == 0 and end == context.batch:
            end = BATCH
        start, end, _ = slice(start, end).indices(shape_of(x)[axis])
        x = take(context.builder, context.name, x, axis, slice(start, end, step))
    return x


def _read_gather(context: Context, x: Node, indices: Value) -> Node:
    axis = axis_of(context.attribute("axis", 0), len(shape_of(x)))
    if isinstance(indices, Node) or axis == 0 or np.ndim(indices) > 1:
        context.refuse("picks from the batch, or by computed indices")
    side = shape_of(x)[axis]
    wanted = [axis_of(int(index), side) for index in np.asarray(indices).reshape(-1)]
    parts = [take(context.builder, f"{context.name}_{index}", x, axis, slice(index, index + 1)) for index in wanted]
    if np.ndim(indices) == 1:
        return parts[0] if len(parts) == 1 else context.add(Concat(axis), *parts)
    rest = tuple(side for i, side in enumerate(shape_of(x)) if i != axis)
    return reshape(context.builder, context.name + "_picked", parts[0], rest)


def _call_reshape(context: TorchContext, x: Node, *shape: Any) -> Node:
    sides = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else shape
    return reshape(context.builder, context.name, x, tuple(sides))


def _call_flatten(context: TorchContext, x: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    shape = shape_of(x)
    first, last = start_dim % len(shape), end_dim % len(shape)
    return reshape(context.builder, context.name, x, (*shape[:first], -1, *shape[last + 1 :]))


def _call_squeeze(context: TorchContext, x: Node, dim: int | None = None) -> Node:
    shape = shape_of(x)
    chosen = {dim % len(shape)} if dim is not None else set(range(1, len(shape)))
    sides = tuple(s for i, s in enumerate(shape) if s != 1 or i not in chosen)
    return reshape(context.builder, context.name, x, sides)


def _call_unsqueeze(context: TorchContext, x: Node, dim: int) -> Node:
    shape = list(shape_of(x))
    shape.insert(dim % (len(shape) + 1), 1)
    return reshape(context.builder, context.name, x, tuple(shape))


def _call_permute(context: TorchContext, x: Node, *dims: Any) -> Node:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return context.add(Transpose(tuple(axis % len(order) for axis in order)), x)


def _call_transpose(context: TorchContext, x: Node, first: int, second: int) -> Node:
    order = list(range(len(shape_of(x))))
    order[first], order[second] = order[second], order[first]
    return _call_permute(context, x, *order)


def _call_item(context: TorchContext, x: Any, index: Any) -> Any:
    if not isinstance(x, Node):
        return x[index]
    picks = index if isinstance(index, tuple) else (index,)
    if Ellipsis in picks:
        gap = len(shape_of(x)) - len(picks) + 1
        place = picks.index(Ellipsis)
        picks = picks[:place] + (slice(None),) * gap + picks[place + 1 :]
    dropped = []
    for dim, pick in enumerate(picks):
        if isinstance(pick, int):
            start = pick % shape_of(x)[dim]
            x = take(context.builder, context.name, x, dim, slice(start, start + 1))
            dropped.append(dim)
        elif isinstance(pick, slice):
            x = take(context.builder, context.name, x, dim, slice(*pick.indices(shape_of(x)[dim])))
        else:
            raise BitfaceError(f"node '{context.name}' indexes a tensor by {pick!r}, which bitface doesn't know")
    sides = tuple(s for i, s in enumerate(shape_of(x)) if i not in dropped)
    return reshape(context.builder, context.name, x, sides)


def _call_chunk(context: TorchContext, x: Node, count: int, dim: int = 0) -> list[Node]:
    side = shape_of(x)[dim]
    return _call_split(context, x, -(-side // count), dim)


def _call_split(context: TorchContext, x: Node, length: Any, dim: int = 0) -> list[Node]:
    side, start = shape_of(x)[dim], 0
    parts: list[Node] = []
    for step in [length] * -(-side // length) if isinstance(length, int) else length:
        picked = slice(start, min(start + step, side))
        parts.append(take(context.builder, f"{context.name}_{len(parts)}", x, dim, picked))
        start += step
    return parts


def _write_reshape(writer: Writer, node: Node, module: Reshape, inputs: list[str]) -> str:
    # Never a Flatten: ONNX Runtime doesn't move integers through one, and the layer behind it would run in float.
    shape = writer.constant(f"{node.target}.shape", np.array([0, *module.tail]))
    return writer.op("Reshape", [*inputs, shape], str(node.target))


def _write_slice(writer: Writer, node: Node, module: Slice, inputs: list[str]) -> str:
    end = np.iinfo(np.int64).max if module.end is None else module.end
    values = [("start", module.start), ("end", end), ("axis", module.dim), ("step", module.step)]
    numbers = [writer.constant(f"{node.target}.{key}", np.array([value])) for key, value in values]
    return writer.op("Slice", [*inputs, *numbers], str(node.target))


register(
    OpSpec(
        "Reshape",
        Reshape,
        onnx={
            "Reshape": OnnxReader(_read_reshape, moves_integers=True),
            "Flatten": OnnxReader(_read_flatten, moves_integers=True),
            "Squeeze": OnnxReader(_read_squeeze, moves_integers=True),
            "Unsqueeze": OnnxReader(_read_unsqueeze, moves_integers=True),
        },
        torch_calls={
            **dict.fromkeys(("view", "reshape", torch.reshape), _call_reshape),
            **dict.fromkeys(("flatten", torch.flatten), _call_flatten),
            **dict.fromkeys(("squeeze", torch.squeeze), _call_squeeze),
            **dict.fromkeys(("unsqueeze", torch.unsqueeze), _call_unsqueeze),
        },
        torch_modules={
            nn.Flatten: lambda context, module, x: _call_flatten(context, x, module.start_dim, module.end_dim)
        },
        write=_write_reshape,
        mixes_images=lambda module, inputs: math.prod(module.tail) != math.prod(inputs[0][1:]),
        traits=Traits(keeps_sign=True, keeps_levels=True, moves=True, channels="kept"),
    )
)
register(
    OpSpec(
        "Transpose",
        Transpose,
        onnx={"Transpose": OnnxReader(_read_transpose, moves_integers=True)},
        torch_calls={
            **dict.fromkeys(("permute", torch.permute), _call_permute),
            **dict.fromkeys(("transpose", torch.transpose), _call_transpose),
        },
        write=one_node("Transpose", lambda module: {"perm": list(module.dims)}),
        traits=Traits(keeps_sign=True, keeps_levels=True, moves=True),
    )
)
register(
    OpSpec(
        "Slice",
        Slice,
        onnx={
            "Slice": OnnxReader(_read_slice, moves_integers=True),
            "Split": OnnxReader(_read_split, moves_integers=True),
            "Gather": OnnxReader(_read_gather, moves_integers=True),
        },
        torch_calls={
            **dict.fromkeys(("getitem", operator.getitem), _call_item),
            **dict.fromkeys(("chunk", torch.chunk), _call_chunk),
            **dict.fromkeys(("split", torch.split), _call_split),
        },
        write=_write_slice,
        traits=Traits(keeps_sign=True, keeps_levels=True, moves=True),
    )
)
