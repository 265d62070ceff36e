"""What leaves nothing in a graph: what gives back what it reads in evaluation, and questions about a tensor's shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import FLOATS, Context
from bitface.graph.onnx_integers import Value
from bitface.graph.op_spec import OnnxReader, OpSpec, register
from bitface.graph.torch_context import TorchContext


def _dropout_in_training(context: Context, operands: Sequence[Value]) -> bool:
    # Opsets 7 to 11 have no training mode, and the second output, the mask, tells none in any opset.
    return any(np.any(mode) for mode in operands[2:] if mode is not None)


def _read_cast(context: Context, x: Node) -> Node:
    if context.attribute("to") not in FLOATS:
        context.refuse("leaves floating point")
    return x


def _read_shape(context: Context, x: Node) -> np.ndarray:
    return np.array(shape_of(x)[context.attribute("start", 0) : context.attribute("end")], dtype=np.int64)


def _call_same(context: TorchContext, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _call_size(context: TorchContext, x: Node, dim: int | None = None) -> Any:
    return shape_of(x) if dim is None else shape_of(x)[dim]


def _call_attribute(context: TorchContext, x: Node, attribute: str) -> Any:
    if attribute != "shape":
        raise BitfaceError(
            f"the network reads '.{attribute}' of a tensor (node '{context.name}'), which bitface doesn't know"
        )
    return shape_of(x)


register(
    OpSpec(
        "Identity",
        onnx={
            "Identity": OnnxReader(lambda context, x: x, moves_integers=True),
            "Dropout": OnnxReader(lambda context, x, *_: x, in_training=_dropout_in_training),
            "Cast": OnnxReader(_read_cast),
        },
        torch_calls=dict.fromkeys(
            (
                "contiguous",
                "clone",
                "detach",
                "float",
                "dropout",
                nn.functional.dropout,
                nn.functional.dropout2d,
            ),
            _call_same,
        ),
        torch_modules=dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d), lambda context, module, x: x),
    )
)
register(
    OpSpec(
        "Shape",
        onnx={"Shape": OnnxReader(_read_shape, moves_integers=True)},
        torch_calls={
            "size": _call_size,
            "dim": lambda context, x: len(shape_of(x)),
            **dict.fromkeys(("getattr", getattr), _call_attribute),
        },
    )
)
