"""Softmax along one axis: the weights of attention."""

from typing import Any

import torch
from torch import nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.views import reshape
from bitface.graph.torch_context import TorchContext

# Since then along one axis; before, along all axes from one on.
_ONE_AXIS = 13


def _read(context: Context, x: Node) -> Node:
    shape = shape_of(x)
    before = context.opset < _ONE_AXIS
    axis = axis_of(context.attribute("axis", 1 if before else -1), len(shape))
    if axis == 0:
        context.refuse("compares the images of a batch")
    if not before or axis == len(shape) - 1:
        return context.add(nn.Softmax(axis), x)
    flat = reshape(context.builder, context.name + "_flat", x, (*shape[:axis], -1))
    return reshape(context.builder, context.name + "_back", context.add(nn.Softmax(axis), flat), shape)


def _call(context: TorchContext, x: Node, dim: int, dtype: Any = None, _stacklevel: int = 3) -> Node:
    (axis,) = context.dims(x, dim)
    return context.add(nn.Softmax(axis), x)


register(
    OpSpec(
        "Softmax",
        nn.Softmax,
        onnx={"Softmax": OnnxReader(_read)},
        torch_calls=dict.fromkeys(("softmax", torch.softmax, nn.functional.softmax), _call),
        torch_modules={nn.Softmax2d: lambda context, module, x: context.add(nn.Softmax(1), x)},
        accept=lambda module: None if module.dim is None else module,
        write=one_node("Softmax", lambda module: {"axis": module.dim}),
        traits=Traits(never_negative=True, in_float="its exponentials span more than 8 bits can hold"),
    )
)
