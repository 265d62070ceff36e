"""The node of an ONNX file at hand, as the readers of `operators/` see it.

Attributes that became inputs in later opsets are read from wherever the file has them. What a reader raises means that
the node isn't formed as ONNX says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import TensorProto
from torch import nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.attributes import tensor
from bitface.graph.builder import BATCH, Builder, shape_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_ways import way_out

# The types that are computed in float32; casts between them are left out.
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
# What makes a constant in a shape, the last operand, and what brings an image into one.
_OF_A_SHAPE = ("ConstantOfShape", "Expand", "Tile")
_TAKES_A_SHAPE = ("Reshape", "Expand", "Resize")


@dataclass
class Context:
    """The node at hand and what is needed to import it.

    Attributes:
        batch: that the file fixes; None: it is free.
        opset: of the file.
    """

    node: onnx.NodeProto
    name: str
    builder: Builder
    batch: int | None
    opset: int

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def pair(self, name: str, default: Sequence[int] | None = (1, 1)) -> tuple[int, int]:
        first, second = self.attribute(name, default)
        return first, second

    def ints(self, name: str, operand: Value, default: Sequence[int] | None = None) -> list[int] | None:
        """A list of integers, from the operand (newer opsets) or the attribute (older ones)."""
        if isinstance(operand, Node):
            self.refuse(f"computes its {name} from the image")
        values = operand if operand is not None else self.attribute(name, default)
        return None if values is None else [int(value) for value in np.asarray(values).reshape(-1)]

    def add(self, module: nn.Module, *inputs: Node, suffix: str = "") -> Node:
        return self.builder.add(self.name + suffix, module, *inputs)

    def node_of(self, value: Value, rank: int | None = None) -> Node:
        """A constant as a node, with one row where it stands beside images of this rank and repeats one."""
        if isinstance(value, Node):
            return value
        return self.builder.constant(self.name + "_constant", tensor(self.one_row(value, rank)))

    def nodes_of(self, *values: Value) -> list[Node]:
        """The operands of an operator that computes number by number."""
        rank = max(len(shape_of(value)) for value in values if isinstance(value, Node))
        return [self.node_of(value, rank) for value in values]

    def one_row(self, value: Value, rank: int | None) -> np.ndarray:
        """A constant of this rank that says the same of every image of the file's fixed batch, said once."""
        array = np.asarray(value)
        repeats = self.batch is not None and array.ndim == rank and array.shape[:1] == (self.batch,)
        return array[:1] if repeats and (array == array[:1]).all() else array

    def refuse(self, reason: str) -> NoReturn:
        raise BitfaceError(
            f"node '{self.name}' ({self.node.op_type}) {reason}, which isn't supported; {way_out(reason)}"
        )


def one_image(kind: str, operands: Sequence[Value]) -> list[Value]:
    """The operands of a node that makes a constant in a shape: one row where the shape is of the whole batch."""
    if kind not in _OF_A_SHAPE:
        return list(operands)
    *others, shape = operands
    return [*others, np.where(np.asarray(shape) == BATCH, 1, shape)]


def with_one_image(kind: str, operands: Sequence[Value], true: Sequence[Value]) -> list[Value]:
    """The true operands of a node of constants, with one row where `one_image` has one."""
    if kind not in _OF_A_SHAPE:
        return list(true)
    return [*true[:-1], np.where(np.asarray(operands[-1]) == BATCH, 1, true[-1])]


def true_shape(shape: Value, batch: int | None) -> Value:
    """A shape with the file's own batch instead of `BATCH`, or with one image where it is free; else what it is."""
    if not isinstance(shape, np.ndarray):
        return shape
    return np.where(shape % BATCH == 0, shape // BATCH * (batch or 1), shape)


def without_stand_in(context: Context, operands: list[Value], true: list[Value]) -> list[Value]:
    """The operands of a node, not of constants alone, where the batch is a number in some of them.

    What takes a shape knows `BATCH` for the batch; anything else gets the true number.

    Raises:
        BitfaceError: the batch is free, so that there is none.
    """
    kind = context.node.op_type
    for one, other in zip(operands, true, strict=True):
        # Of images that lie one behind the other Gather may pick for each.
        if kind == "Gather" and not isinstance(operands[0], Node) and np.shape(one)[:1] == (BATCH,):
            continue
        if one is other or (kind in _TAKES_A_SHAPE and np.array_equal(true_shape(one, context.batch), other)):
            continue
        if context.batch is None:
            context.refuse("computes with the number of images in a batch")
        return true
    return operands


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises IndexError where there is none."""
    if not -rank <= axis < rank:
        raise IndexError(f"there is no {axis} among {rank}")
    return axis % rank
