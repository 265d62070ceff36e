"""Joining tensors along an axis."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext


class Concat(nn.Module):
    """Joins along one axis, which is not the batch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, self.dim)


def _read(context: Context, *parts: Value) -> Node:
    if any(not isinstance(part, Node) for part in parts):
        context.refuse("joins constants to the image")
    return context.add(Concat(axis_of(context.attribute("axis"), len(shape_of(parts[0])))), *parts)


def _call(context: TorchContext, parts: Any, dim: int = 0) -> Node:
    return context.add(Concat(dim % len(shape_of(parts[0]))), *parts)


register(
    OpSpec(
        "Concat",
        Concat,
        onnx={"Concat": OnnxReader(_read, moves_integers=True)},
        torch_calls=dict.fromkeys(("cat", torch.cat), _call),
        write=one_node("Concat", lambda module: {"axis": module.dim}),
        traits=Traits(channels="kept"),
    )
)
