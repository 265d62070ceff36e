"""Operators that only move or pick numbers, and the functions by which both readers form them.

Every form of a view becomes one of four modules; one that changes nothing becomes none.
"""

import math
import operator
from collections.abc import Sequence
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
    """`x[start:end:step]` along one axis; `end` None means to the end, which backwards is the beginning."""

    def __init__(self, dim: int, start: int, end: int | None, step: int = 1) -> None:
        super().__init__()
        self.dim, self.start, self.end, self.step = dim, start, end, step

    def forward(self, x: Tensor) -> Tensor:
        if self.step < 0:  # torch has no steps backwards
            last = x.shape[self.dim] - 1
            end = None if self.end is None else last - self.end
            return x.flip(self.dim)[self._index(last - self.start, end, -self.step)]
        return x[self._index(self.start, self.end, self.step)]

    def _index(self, start: int, end: int | None, step: int) -> tuple[slice, ...]:
        return (slice(None),) * self.dim + (slice(start, end, step),)


class Gather(nn.Module):
    """Picks along one axis, in any order."""

    def __init__(self, dim: int, indices: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.indices = dim, tuple(indices)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, torch.tensor(self.indices))


def reshape(builder: Builder, name: str, x: Node, shape: tuple[int, ...], fixed_batch: int | None = None) -> Node:
    """Reshapes; a batch written as a number (0, -1, `fixed_batch` or `BATCH`) becomes free.

    Raises:
        ShapeError: the batch would be mixed with other dimensions.
    """
    old_shape = shape_of(x)
    # ONNX: 0 keeps the side
    tail = [old_shape[axis] if side == 0 and axis < len(old_shape) else side for axis, side in enumerate(shape)][1:]
    size = math.prod(old_shape[1:])
    rest = math.prod(side for side in tail if side != -1)
    if tail.count(-1) == 1 and rest and size % rest == 0:
        tail[tail.index(-1)] = size // rest
    if not shape or shape[0] not in (0, -1, BATCH, fixed_batch) or math.prod(tail) != size:
        raise ShapeError(
            f"{name}: reshapes {shape_text(x)} to {list(shape)}, which mixes the batch with other "
            "dimensions; export the network so that the first dimension stays the batch"
        )
    return x if tuple(tail) == old_shape[1:] else builder.add(name, Reshape(tuple(tail)), x)


def take(builder: Builder, name: str, x: Node, dim: int, places: range) -> Node:
    """The places of a range along an axis other than the batch; the whole axis is no operation."""
    dim %= len(shape_of(x))
    side = shape_of(x)[dim]
    if places == range(side):
        return x
    if dim == 0:
        raise BitfaceError(f"{name}: slices the batch, which isn't supported")
    end = places.stop if 0 <= places.stop < side else None
    return builder.add(name, Slice(dim, places.start, end, places.step), x)


def pick(builder: Builder, name: str, x: Node, dim: int, places: Sequence[int]) -> Node:
    """These places along an axis other than the batch: a slice where they are evenly spaced."""
    side = shape_of(x)[dim]
    places = [axis_of(int(place), side) for place in places]
    step = places[1] - places[0] if len(places) > 1 else 1
    even = range(places[0], places[-1] + (1 if step > 0 else -1), step) if places and step else range(0)
    if list(even) == places:
        return take(builder, name, x, dim, even)
    if dim == 0:
        raise BitfaceError(f"{name}: picks from the batch, which isn't supported")
    return builder.add(name, Gather(dim, tuple(places)), x)


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
    shape = shape_of(x)
    dims = context.ints("axes", axes)
    single_axes = {axis_of(axis, len(shape)) for axis in dims} if dims else {i for i, s in enumerate(shape) if s == 1}
    if any(shape[axis] != 1 for axis in single_axes):
        context.refuse("squeezes an axis longer than 1")
    return reshape(context.builder, context.name, x, tuple(s for i, s in enumerate(shape) if i not in single_axes))


def _read_unsqueeze(context: Context, x: Node, axes: Value = None) -> Node:
    sides = list(shape_of(x))
    dims = context.ints("axes", axes) or []
    for axis in sorted(axis_of(axis, len(sides) + len(dims)) for axis in dims):
        sides.insert(axis, 1)
    return reshape(context.builder, context.name, x, tuple(sides))


def _read_transpose(context: Context, x: Node) -> Node:
    rank = len(shape_of(x))
    order = tuple(context.attribute("perm", range(rank - 1, -1, -1)))
    if (before := context.builder.step(x, Transpose)) and sorted(order) == list(range(rank)):
        order, (x,) = tuple(before[0].dims[axis] for axis in order), before[1]
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
        take(context.builder, f"{context.name}_{index}", x, axis, range(end - length, end))
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
        x = take(context.builder, context.name, x, axis, range(*slice(start, end, step).indices(shape_of(x)[axis])))
    return x


def _read_gather(context: Context, x: Value, indices: Value) -> Node:
    if isinstance(indices, Node) or not isinstance(x, Node):
        context.refuse("picks by computed indices")
    axis = axis_of(context.attribute("axis", 0), len(shape_of(x)))
    if axis == 0 or np.shape(indices)[:1] == (BATCH,):
        context.refuse("picks from the batch, or by it")
    values = pick(context.builder, context.name, x, axis, np.reshape(indices, -1).tolist())
    sides = (*shape_of(x)[:axis], *np.shape(indices), *shape_of(x)[axis + 1 :])
    return reshape(context.builder, context.name + "_picked", values, sides)


def places_of(indices: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Indices `[…, axes]` along several axes as places along all of them, one behind the other."""
    rows = [[*map(axis_of, row, sides)] for row in indices.reshape(-1, len(sides)).tolist()]
    places = np.ravel_multi_index(tuple(zip(*rows, strict=True)), tuple(sides))
    return np.asarray(places).reshape(indices.shape[:-1])


def _read_gather_nd(context: Context, x: Value, indices: Value) -> Node:
    """The same places of every image: along the axes behind the batch, taken together."""
    if isinstance(indices, Node) or not isinstance(x, Node):
        context.refuse("picks by computed indices")
    rows, depth = context.one_row(indices, np.ndim(indices)), np.shape(indices)[-1]
    _, *sides = shape_of(x)
    if context.attribute("batch_dims", 0) != 1 or len(rows) != 1:
        context.refuse("picks from the batch, or other places of every image")
    flat = reshape(context.builder, context.name + "_flat", x, (-1, math.prod(sides[:depth]), *sides[depth:]))
    picked = pick(context.builder, context.name, flat, 1, places_of(rows, sides[:depth]).reshape(-1).tolist())
    return reshape(context.builder, context.name + "_picked", picked, (-1, *rows.shape[1:-1], *sides[depth:]))


def _call_reshape(context: TorchContext, x: Node, *shape: Any) -> Node:
    sides = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else shape
    return reshape(context.builder, context.name, x, tuple(sides))


def _call_flatten(context: TorchContext, x: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    shape = shape_of(x)
    first, last = start_dim % len(shape), end_dim % len(shape)
    return reshape(context.builder, context.name, x, (*shape[:first], -1, *shape[last + 1 :]))


def _call_squeeze(context: TorchContext, x: Node, dim: int | None = None) -> Node:
    shape = shape_of(x)
    axes = {dim % len(shape)} if dim is not None else set(range(1, len(shape)))
    sides = tuple(s for i, s in enumerate(shape) if s != 1 or i not in axes)
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


def _call_item(context: TorchContext, x: Any, item: Any) -> Any:
    if not isinstance(x, Node):
        return x[item]
    picks = item if isinstance(item, tuple) else (item,)
    if Ellipsis in picks:
        gap = len(shape_of(x)) - len(picks) + 1
        place = picks.index(Ellipsis)
        picks = picks[:place] + (slice(None),) * gap + picks[place + 1 :]
    if sum(isinstance(index, list | Tensor) for index in picks) > 1:  # torch pairs them
        raise BitfaceError(f"node '{context.name}' indexes by several lists at once, which bitface doesn't know")
    axes = []
    for dim, index in enumerate(picks):
        if type(index) is int:  # no True, which makes an axis
            x = pick(context.builder, context.name, x, dim, [index])
            axes.append(dim)
        elif isinstance(index, slice):
            x = take(context.builder, context.name, x, dim, range(*index.indices(shape_of(x)[dim])))
        elif isinstance(index, list | Tensor) and np.ndim(index) == 1 and np.asarray(index).dtype.kind == "i":
            x = pick(context.builder, context.name, x, dim, np.asarray(index).tolist())
        else:
            raise BitfaceError(f"node '{context.name}' indexes a tensor by {index!r}, which bitface doesn't know")
    sides = tuple(s for i, s in enumerate(shape_of(x)) if i not in axes)
    return reshape(context.builder, context.name, x, sides)


def _call_index_select(context: TorchContext, x: Node, dim: int, index: Tensor) -> Node:
    return pick(context.builder, context.name, x, dim % len(shape_of(x)), index.tolist())


def _call_flip(context: TorchContext, x: Node, *dims: Any) -> Node:
    for dim in dims[0] if isinstance(dims[0], tuple | list) else dims:
        x = take(context.builder, context.name, x, dim, range(shape_of(x)[dim])[::-1])
    return x


def _call_unbind(context: TorchContext, x: Node, dim: int = 0) -> list[Node]:
    axis = dim % len(shape_of(x))
    return [_call_item(context, x, (slice(None),) * axis + (index,)) for index in range(shape_of(x)[axis])]


def _call_chunk(context: TorchContext, x: Node, count: int, dim: int = 0) -> list[Node]:
    side = shape_of(x)[dim]
    return _call_split(context, x, -(-side // count), dim)


def _call_split(context: TorchContext, x: Node, length: Any, dim: int = 0) -> list[Node]:
    side, start = shape_of(x)[dim], 0
    parts: list[Node] = []
    for step in [length] * -(-side // length) if isinstance(length, int) else length:
        places = range(start, min(start + step, side))
        parts.append(take(context.builder, f"{context.name}_{len(parts)}", x, dim, places))
        start += step
    return parts


def _write_reshape(writer: Writer, node: Node, module: Reshape, inputs: list[str]) -> str:
    # Never a Flatten: ONNX Runtime doesn't move integers through one, and the layer behind it would run in float.
    shape = writer.constant(f"{node.target}.shape", np.array([0, *module.tail]))
    return writer.op("Reshape", [*inputs, shape], str(node.target))


def _write_slice(writer: Writer, node: Node, module: Slice, inputs: list[str]) -> str:
    beyond = np.iinfo(np.int64)
    end = (beyond.max if module.step > 0 else beyond.min) if module.end is None else module.end
    values = [("start", module.start), ("end", end), ("axis", module.dim), ("step", module.step)]
    numbers = [writer.constant(f"{node.target}.{key}", np.array([value])) for key, value in values]
    return writer.op("Slice", [*inputs, *numbers], str(node.target))


def _write_gather(writer: Writer, node: Node, module: Gather, inputs: list[str]) -> str:
    indices = writer.constant(f"{node.target}.indices", np.array(module.indices))
    return writer.op("Gather", [*inputs, indices], str(node.target), axis=module.dim)


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
        },
        torch_calls={
            **dict.fromkeys(("getitem", operator.getitem), _call_item),
            **dict.fromkeys(("chunk", torch.chunk), _call_chunk),
            **dict.fromkeys(("split", torch.split), _call_split),
            **dict.fromkeys(("flip", torch.flip), _call_flip),
            **dict.fromkeys(("unbind", torch.unbind), _call_unbind),
        },
        write=_write_slice,
        traits=Traits(keeps_sign=True, keeps_levels=True, moves=True),
    )
)
register(
    OpSpec(
        "Gather",
        Gather,
        onnx={
            "Gather": OnnxReader(_read_gather, moves_integers=True),
            "GatherND": OnnxReader(_read_gather_nd, moves_integers=True),
        },
        torch_calls=dict.fromkeys(("index_select", torch.index_select), _call_index_select),
        write=_write_gather,
        traits=Traits(keeps_sign=True, keeps_levels=True, moves=True),
    )
)
