"""Arithmetic on two tensors, number by number, and rounding."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext


class Add(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Sub(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b


class Mul(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Div(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a / b


class Max(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)


class Min(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.minimum(a, b)


class Round(nn.Module):
    """Half to even, as in ONNX."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x)


def read_binary(module: type[nn.Module]) -> Callable[[Context, Value, Value], Node]:
    """Reads an ONNX operator of two tensors, of which one may be a constant."""
    return lambda context, a, b: context.add(module(), *context.nodes_of(a, b))


def chain(context: Context, module: type[nn.Module], operands: Sequence[Value]) -> Node:
    """An operator of any number of tensors, two by two; what depends on the image first."""
    images = [operand for operand in operands if isinstance(operand, Node)]
    constants = [operand for operand in operands if not isinstance(operand, Node)]
    first, *rest = context.nodes_of(*images, *constants)
    for other in rest:
        first = context.add(module(), first, other)
    return first


def _read_mean(context: Context, *operands: Value) -> Node:
    count = context.node_of(np.float32(len(operands)))
    return context.add(Div(), chain(context, Add, operands), count)


def call_binary(module: type[nn.Module]) -> Callable[[TorchContext, Any, Any], Node]:
    """Reads a call on two tensors, of which one may be a constant or a number."""
    return lambda context, a, b: context.add(module(), context.node_of(a), context.node_of(b))


def _register_binary(
    module: type[nn.Module],
    *functions: Callable[..., Any],
    arithmetic: bool = True,
    onnx: Mapping[str, OnnxReader] | None = None,
) -> None:
    name = module.__name__
    register(
        OpSpec(
            name,
            module,
            onnx={name: OnnxReader(read_binary(module), elementwise=True), **(onnx or {})},
            torch_calls=dict.fromkeys((name.lower(), f"{name.lower()}_", *functions), call_binary(module)),
            write=one_node(name),
            traits=Traits(arithmetic=arithmetic, channels="kept"),
        )
    )


_register_binary(
    Add,
    operator.add,
    operator.iadd,
    torch.add,
    onnx={
        "Sum": OnnxReader(lambda context, *operands: chain(context, Add, operands), elementwise=True),
        "Mean": OnnxReader(_read_mean, elementwise=True),
    },
)
_register_binary(Sub, operator.sub, torch.sub)
_register_binary(Mul, operator.mul, operator.imul, torch.mul)
_register_binary(Div, operator.truediv, torch.div, arithmetic=False)
for extreme in (Max, Min):  # their readers are those of limits and of reductions
    register(
        OpSpec(
            extreme.__name__, extreme, write=one_node(extreme.__name__), traits=Traits(keeps_sign=True, channels="kept")
        )
    )
register(
    OpSpec(
        "Round",
        Round,
        onnx={"Round": OnnxReader(lambda context, x: context.add(Round(), x), elementwise=True)},
        write=one_node("Round"),
        traits=Traits(channels="kept"),
    )
)
