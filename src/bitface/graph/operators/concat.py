"""Joining tensors along an axis."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.padding import Pad
from bitface.graph.operators.views import take
from bitface.graph.torch_context import TorchContext


class Concat(nn.Module):
    """Joins along one axis, which is not the batch. A constant, of one row, is joined to every image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        batch = next((len(part) for part in parts if len(part) != 1), 1)
        return torch.cat(
            [part if len(part) == batch else part.expand(batch, *part.shape[1:]) for part in parts], self.dim
        )


def _read(context: Context, *parts: Value) -> Node:
    images = [part for part in parts if isinstance(part, Node)]
    if any(part.dtype.kind != "f" for part in parts if not isinstance(part, Node)):
        context.refuse("joins constants to integers")
    sides = shape_of(images[0])
    axis = axis_of(context.attribute("axis"), len(sides))
    rows = [part if isinstance(part, Node) else context.one_row(part, len(sides)) for part in parts]
    return _joined(context, rows, axis)


def _call(context: TorchContext, tensors: Any, dim: int = 0) -> Node:
    rank = len(shape_of(next(part for part in tensors if isinstance(part, Node))))
    rows = [part if isinstance(part, Node) else context.one_row(part).detach().numpy() for part in tensors]
    return _joined(context, rows, dim % rank)


def _call_roll(context: TorchContext, x: Node, shifts: Any, dims: Any = None) -> Node:
    """Turned round along each axis: the end, joined to what was before it."""
    turns = zip(*((one,) if isinstance(one, int) else one for one in (shifts, dims)), strict=True)
    for shift, dim in turns:
        side = shape_of(x)[dim]
        ends = [range(side - shift % side, side), range(side - shift % side)]
        parts = [take(context.builder, context.name + "_part", x, dim, part) for part in ends if part]
        x = parts[0] if len(parts) == 1 else _joined(context, parts, dim % len(shape_of(x)))
    return x


def _joined(context: Context | TorchContext, parts: list[Any], axis: int) -> Node:
    """Of images and constants of one row; one image between constants of one number is padded."""
    images = [part for part in parts if isinstance(part, Node)]
    numbers = {number for part in parts if not isinstance(part, Node) for number in np.unique(part).tolist()}
    if len(images) > 1 or len(numbers) != 1 or axis == 0:
        return context.add(Concat(axis), *map(context.node_of, parts))
    sides = shape_of(images[0])
    for part in parts:
        if not isinstance(part, Node) and (1, *sides[1:axis], *sides[axis + 1 :]) != (
            *part.shape[:axis],
            *part.shape[axis + 1 :],
        ):
            raise ValueError(f"joins {list(part.shape)} to {list(sides[1:])}")
    place = next(index for index, part in enumerate(parts) if isinstance(part, Node))
    before, after = (sum(part.shape[axis] for part in some) for some in (parts[:place], parts[place + 1 :]))
    behind = len(sides) - axis - 1
    pads = [*[0, 0] * behind, before, after]
    return context.add(Pad((*pads, 0, 0)[: max(len(pads), 4)], numbers.pop()), images[0])


def _write(writer: Writer, node: Node, module: Concat, inputs: list[str]) -> str:
    name = str(node.target)
    sources = [source for source in node.args if isinstance(source, Node)]
    image = next(part for part, source in zip(inputs, sources, strict=True) if source.op != "get_attr")
    for place, source in enumerate(sources):
        if source.op == "get_attr":
            batch = writer.op("Shape", [image], f"{name}_batch", start=0, end=1)
            sides = writer.constant(f"{name}.sides_{place}", np.array(list(shape_of(source)[1:])))
            shape = writer.op("Concat", [batch, sides], f"{name}_shape", axis=0)
            inputs[place] = writer.op("Expand", [inputs[place], shape], f"{name}_repeated")
    if not (
        writer.form.joins_held_apart and any(isinstance(part, QuantizeDequantize) for part in writer.graph.modules())
    ):
        return writer.op("Concat", inputs, name, axis=module.dim)
    return writer.op("LeakyRelu", [writer.op("Concat", inputs, f"{name}_joined", axis=module.dim)], name, alpha=1.0)


register(
    OpSpec(
        "Concat",
        Concat,
        onnx={"Concat": OnnxReader(_read, moves_integers=True)},
        torch_calls={
            **dict.fromkeys(("cat", torch.cat), _call),
            **dict.fromkeys(("roll", torch.roll), _call_roll),
        },
        write=_write,
        traits=Traits(channels="kept"),
    )
)
