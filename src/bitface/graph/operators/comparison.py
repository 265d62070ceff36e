"""Comparisons, as 1 where they are true and 0 elsewhere, and the choice between two tensors by them."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext

_RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
}


class Compare(nn.Module):
    """1 where the relation, one of ONNX's, is true, and 0 elsewhere."""

    def __init__(self, relation: str) -> None:
        super().__init__()
        if relation not in _RELATIONS:
            raise ValueError(f"no relation '{relation}'")
        self.relation = relation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return _RELATIONS[self.relation](a, b).to(torch.float32)


class Where(nn.Module):
    """`a` where the condition isn't 0, `b` elsewhere."""

    def forward(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition != 0, a, b)


def _read_compare(context: Context, a: Value, b: Value) -> Node:
    return context.add(Compare(context.node.op_type), *context.nodes_of(a, b))


def _read_where(context: Context, condition: Value, a: Value, b: Value) -> Node:
    return context.add(Where(), *context.nodes_of(condition, a, b))


def _call_compare(relation: str) -> Callable[[TorchContext, Any, Any], Node]:
    return lambda context, a, b: context.add(Compare(relation), context.node_of(a), context.node_of(b))


def _call_where(context: TorchContext, condition: Any, a: Any, b: Any) -> Node:
    return context.add(Where(), *(context.node_of(value) for value in (condition, a, b)))


def _write_compare(writer: Writer, node: Node, module: Compare, inputs: list[str]) -> str:
    truth = writer.op(module.relation, inputs, f"{node.target}_truth")
    return writer.op("Cast", [truth], str(node.target), to=TensorProto.FLOAT)


def _write_where(writer: Writer, node: Node, module: Where, inputs: list[str]) -> str:
    condition, true, false = inputs
    zero = writer.op("Equal", [condition, writer.number(0.0)], f"{node.target}_not")
    return writer.op("Where", [zero, false, true], str(node.target))


register(
    OpSpec(
        "Compare",
        Compare,
        onnx=dict.fromkeys(_RELATIONS, OnnxReader(_read_compare, elementwise=True)),
        torch_calls={
            key: _call_compare(relation)
            for relation, short in zip(_RELATIONS, ("eq", "gt", "ge", "lt", "le"), strict=True)
            for key in (short, getattr(operator, short), getattr(torch, short))
        },
        write=_write_compare,
        traits=Traits(never_negative=True),
    )
)
register(
    OpSpec(
        "Where",
        Where,
        onnx={"Where": OnnxReader(_read_where, elementwise=True)},
        torch_calls={torch.where: _call_where},
        write=_write_where,
    )
)
