"""Reads calls on tensors whose batch is elsewhere than in front (`arranged`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph.arranged.form import Arranged, arranged, binary, product, softmax, transposed
from bitface.graph.builder import shape_of
from bitface.graph.op_spec import traits_of
from bitface.graph.operators.arithmetic import Add, Div, Mul, Sub
from bitface.graph.torch_context import TorchContext

_ARITHMETIC = {
    "add": Add, "iadd": Add, "sub": Sub, "mul": Mul, "imul": Mul, "div": Div, "truediv": Div,
}  # fmt: skip


def takes(operation: str, args: Any) -> bool:
    """Whether a call is on such a tensor, or makes one of an ordinary one."""
    if any(isinstance(one, Arranged) for one in args):
        return True
    if operation in ("permute", "transpose") and args and isinstance(args[0], Node):
        return _order(len(shape_of(args[0])), operation, *args[1:])[0] != 0
    return False


def call(context: TorchContext, operation: str, x: Any, *args: Any, **options: Any) -> Any:
    """What a call gives.

    Raises:
        BitfaceError: one that isn't known on such tensors.
    """
    if operation in _ARITHMETIC and not options:
        return binary(context.builder, context.name, _ARITHMETIC[operation](), *map(_plain, (x, *args)))
    if operation in ("matmul", "bmm"):
        other = _plain(args[0])
        return product(context.builder, context.name, x, other, lambda rows, weight: _linear(context, rows, weight))
    if operation in ("permute", "transpose"):
        rank = len(shape_of(x) if isinstance(x, Node) else x.groups)
        order = _order(rank, operation, *args, **options)
        if isinstance(x, Node):
            return transposed(context.builder, context.name, x, order)
        return x.transpose(order)
    if operation not in _CALLS or not isinstance(x, Arranged):
        raise BitfaceError(
            f"the network calls '{operation}' (node '{context.name}') on a tensor whose first axis isn't the batch, "
            "which bitface doesn't know; keep the batch in front, or export the network to ONNX"
        )
    return _CALLS[operation](arranged(context.builder, context.name, x), *args, **options)


def call_module(context: TorchContext, module: nn.Module, x: Any, *args: Any, **options: Any) -> Any:
    """What a module gives for such a tensor: a MultiheadAttention, or what computes on the last axis alone.

    Raises:
        BitfaceError: another module.
    """
    if isinstance(module, nn.MultiheadAttention):
        return context.module(module, x, *args, **options)
    if isinstance(module, nn.Softmax) and module.dim is not None:
        return _softmax(x, module.dim)
    last = isinstance(module, nn.Linear | nn.Dropout | nn.Identity) or traits_of(module).activation
    if not last and not (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1):
        raise BitfaceError(
            f"module '{context.name}' ({type(module).__name__}) reads a tensor whose first axis isn't the batch, which "
            "bitface doesn't know; keep the batch in front, or export the network to ONNX"
        )
    form = x.last_alone()
    return form.with_node(context.module(module, form.node))


def _plain(value: Any) -> Any:
    return value.detach().numpy() if isinstance(value, Tensor) else value


def _order(rank: int, operation: str, *dims: Any) -> tuple[int, ...]:
    if operation == "transpose":
        order = list(range(rank))
        first, second = (axis % rank for axis in dims)
        order[first], order[second] = order[second], order[first]
        return tuple(order)
    axes = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return tuple(axis % rank for axis in axes)


def _linear(context: TorchContext, x: Node, weight: np.ndarray) -> Node:
    layer = nn.Linear(weight.shape[0], weight.shape[1], bias=False)
    layer.weight = nn.Parameter(torch.from_numpy(weight.T.copy()))
    return context.add(layer, x)


def _unbind(form: Arranged, dim: int = 0) -> list[Any]:
    return [form.pick(dim % len(form.groups), index) for index in range(form.shape[dim])]


def _item(form: Arranged, index: Any) -> Any:
    if isinstance(index, int):
        return form.pick(0, index % form.shape[0])
    if isinstance(index, slice):
        return form.slice(0, range(*index.indices(form.shape[0]))).settled()
    raise ValueError(f"a pick by {index!r}")


def _chunk(form: Arranged, count: int, dim: int = 0) -> list[Any]:
    side = form.shape[dim]
    step = -(-side // count)
    parts = [range(start, min(start + step, side)) for start in range(0, side, step)]
    return [form.slice(dim % len(form.groups), part).settled() for part in parts]


def _reshape(form: Arranged, *shape: Any) -> Any:
    return form.reshape(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _same(form: Arranged, *_: Any, **__: Any) -> Any:
    return form


def _activation(form: Arranged, module: nn.Module) -> Node:
    return form.builder.add(form.name, module, form.node)


def _softmax(form: Arranged, dim: int, dtype: Any = None, _stacklevel: int = 3) -> Any:
    return softmax(form.builder, form.name, form, dim % len(form.groups))


_CALLS: dict[str, Callable[..., Any]] = {
    "unbind": _unbind,
    "getitem": _item,
    "chunk": _chunk,
    "reshape": _reshape,
    "view": _reshape,
    "softmax": _softmax,
    "squeeze": lambda form, dim: form.drop(dim % len(form.groups)),
    "unsqueeze": lambda form, dim: form.insert(dim % (len(form.groups) + 1)),
    "size": lambda form, dim=None: form.shape if dim is None else form.shape[dim],
    **dict.fromkeys(("contiguous", "clone", "float", "dropout"), _same),
    "gelu": lambda form, *args, **options: form.with_node(_activation(form, nn.GELU(*args, **options))),
    "relu": lambda form: form.with_node(_activation(form, nn.ReLU())),
}
