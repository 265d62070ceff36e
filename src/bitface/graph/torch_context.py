"""A call in a traced `nn.Module`, as the readers of `operators/` see it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_aggregate

from bitface.errors import BitfaceError
from bitface.graph.builder import BATCH, Builder, shape_of
from bitface.graph.op_spec import spec_of, torch_module


@dataclass
class TorchContext:
    """The call at hand.

    Attributes:
        name: of the traced node, or of the module that is called.
        in_place: whether what reads the operand later sees the result.
    """

    builder: Builder
    name: str
    in_place: bool = False

    def add(self, module: nn.Module, *inputs: Node, suffix: str = "") -> Node:
        return self.builder.add(self.name + suffix, module, *inputs)

    def node_of(self, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        constant = self.one_row(torch.as_tensor(value, dtype=torch.float32))
        return self.builder.constant(self.name + "_constant", constant.detach().clone())

    def one_row(self, constant: Tensor) -> Tensor:
        """A constant that says the same of every image of the batch, said once."""
        if constant.shape[:1] == (BATCH,) and (constant.stride(0) == 0 or bool((constant == constant[:1]).all())):
            return constant[:1]
        return constant

    def dims(self, x: Node, dim: Any) -> tuple[int, ...]:
        """Axes to reduce over, counted from the front. Raises BitfaceError where the batch is one of them."""
        rank = len(shape_of(x))
        dims = tuple(axis % rank for axis in ((dim,) if isinstance(dim, int) else dim or (0,)))
        if 0 in dims:
            raise BitfaceError(
                f"node '{self.name}' reduces over the batch, so one face would change another's embedding"
            )
        return dims

    def module(self, module: nn.Module, *inputs: Any, **options: Any) -> Node:
        """What a module gives. Raises BitfaceError for one that isn't known, or not in this form."""
        if module._forward_hooks or module._forward_pre_hooks:
            raise BitfaceError(f"module '{self.name}' has hooks, which bitface can't read; export it to ONNX")
        self.in_place = self.in_place or getattr(module, "inplace", False)
        read = torch_module(type(module))
        result = read(self, module, *inputs, **options) if read else self._as_it_is(module, *inputs, **options)
        if result is None:
            raise BitfaceError(
                f"module '{self.name}' is a {type(module).__name__}, which bitface doesn't know in this form; "
                "report it with this line, or export the network to ONNX"
            )
        return result

    def _as_it_is(self, module: nn.Module, x: Node) -> Node | None:
        """A module of the vocabulary: a copy of its own for every call, so that layers which share weights can be
        folded one by one."""
        spec = spec_of(module)
        replacement = spec.accept(copy.deepcopy(module)) if spec else None
        if replacement is None:
            return None
        if hasattr(replacement, "inplace"):
            replacement.inplace = False  # type: ignore[assignment]
        return self.add(replacement, x)


def one_image(function: Any, arguments: Any) -> Any:
    """The arguments of a call that makes a constant: of one row where it would be of the whole batch."""
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    if name not in ("zeros", "ones", "full", "expand", "repeat", "new_zeros", "new_ones", "new_full"):
        return arguments
    return map_aggregate(arguments, lambda value: 1 if type(value) is int and value == BATCH else value)


def of_one(value: Any) -> Any:
    """A shape, or anything with shapes in it, as it would be for one image."""
    return map_aggregate(value, lambda one: one // BATCH if type(one) is int and one % BATCH == 0 else one)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, in tuples, lists and dictionaries, too."""
    if isinstance(one, dict):
        one, other = list(one.items()), list(other.items())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    return one is other or bool(one == other)


def call_module(make: Callable[..., nn.Module]) -> Callable[..., Node]:
    """Reads a call that is a module of its own: `F.relu(x)`."""
    return lambda context, x, *args, **options: context.module(make(*args, **options), x)
