"""What leaves nothing in a graph: what gives back what it reads in evaluation, questions about a tensor's shape, and
constants of this shape."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.builder import BATCH, shape_of
from bitface.graph.onnx_context import FLOATS, Context
from bitface.graph.onnx_integers import STILL_INTEGERS, Integers, Value
from bitface.graph.op_spec import OnnxReader, OpSpec, register
from bitface.graph.torch_context import TorchContext


def _dropout_in_training(context: Context, operands: Sequence[Value]) -> bool:
    # Opsets 7 to 11 have no training mode, and the second output, the mask, tells none in any opset.
    return any(np.any(mode) for mode in operands[2:] if mode is not None)


def _read_cast(context: Context, x: Node | Integers) -> Node | Integers:
    """To floats, or an image's integers to wider ones."""
    to = context.attribute("to")
    if isinstance(x, Integers):
        if not x.plain:
            context.refuse(STILL_INTEGERS)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(to)
        if to not in FLOATS and np.issubdtype(dtype, np.integer) and np.can_cast(x.dtype, dtype):
            return replace(x, dtype=dtype)
        x = x.numbers
    if to not in FLOATS:
        context.refuse("leaves floating point")
    return x


def _read_shape(context: Context, x: Node) -> np.ndarray:
    return np.array(shape_of(x)[context.attribute("start", 0) : context.attribute("end")], dtype=np.int64)


def _call_same(context: TorchContext, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _call_size(context: TorchContext, x: Node, dim: int | None = None) -> Any:
    return shape_of(x) if dim is None else shape_of(x)[dim]


def _call_alike(number: float) -> Callable[..., Tensor]:
    """A constant like a tensor, of one row."""
    return lambda context, x, **options: torch.full((1, *shape_of(x)[1:]), number)


def _call_new(number: float) -> Callable[..., Tensor]:
    """A constant of a shape, of one row where it is as large as the batch."""

    def call(context: TorchContext, x: Node, *sides: Any, **options: Any) -> Tensor:
        shape = sides[0] if isinstance(sides[0], tuple | list) else sides
        return torch.full([1 if side == BATCH else side for side in shape], number)

    return call


def _call_attribute(context: TorchContext, x: Node, attribute: str) -> Any:
    if attribute == "device":
        return torch.device("cpu")
    if attribute == "dtype":
        return torch.float32
    if attribute != "shape":
        raise BitfaceError(
            f"the network reads '.{attribute}' of a tensor (node '{context.name}'), which bitface doesn't know"
        )
    return shape_of(x)


register(
    OpSpec(
        "Identity",
        onnx={
            "Identity": OnnxReader(lambda context, x: x, elementwise=True, moves_integers=True),
            "Dropout": OnnxReader(lambda context, x, *_: x, elementwise=True, in_training=_dropout_in_training),
            "Cast": OnnxReader(_read_cast, on_integers=True, elementwise=True),
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
            torch.zeros_like: _call_alike(0.0),
            torch.ones_like: _call_alike(1.0),
            "new_zeros": _call_new(0.0),
            "new_ones": _call_new(1.0),
        },
    )
)
