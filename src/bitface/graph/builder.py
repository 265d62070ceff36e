"""Builds a graph node by node and knows every shape on the way; both importers write through it."""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph.ops import Reshape, Slice

# Stands for the batch in every shape. Large and prime, so that no other dimension is taken for it.
BATCH = 7919


class Builder:
    """A graph in the making. Nodes carry `meta["shape"]`, with `BATCH` for the free batch dimension."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._values: dict[Node, Any] = {}
        self._root = nn.Module()
        self._graph = Graph()
        self.input = self._graph.placeholder("image")
        self._record(self.input, self._fake_tensor((BATCH, *shape)))

    def constant(self, name: str, value: Tensor) -> Node:
        """A fixed tensor that is an operand of an operator, not a weight of one."""
        target = self._free_name(name)
        self._parent(target).register_buffer(target.rpartition(".")[2], value)
        node = self._graph.get_attr(target)
        self._record(node, value)
        return node

    def add(self, name: str, module: nn.Module, *inputs: Node) -> Node:
        """Appends one module.

        Raises:
            BitfaceError: the module doesn't accept inputs of these shapes.
        """
        target = self._free_name(name)
        try:
            with self._fake, torch.no_grad():
                value = module.eval()(*(self._values[node] for node in inputs))
        except Exception as error:  # torch raises many kinds for shapes that don't fit
            shapes = ", ".join(str(shape_of(node)) for node in inputs).replace(str(BATCH), "N")
            reason = str(error).splitlines()[0]
            raise BitfaceError(f"{name}: {type(module).__name__} can't take inputs of {shapes}: {reason}") from error
        self._parent(target).add_module(target.rpartition(".")[2], module)
        node = self._graph.call_module(target, tuple(inputs))
        self._record(node, value)
        return node

    def reshape(self, name: str, x: Node, shape: tuple[int, ...], fixed_batch: int | None = None) -> Node:
        """Reshapes; a batch written as a number (0, -1, `fixed_batch` or `BATCH`) becomes free.

        Raises:
            BitfaceError: the batch would be mixed with other dimensions.
        """
        size = _product(shape_of(x)[1:])
        tail = list(shape[1:])
        for axis, side in enumerate(tail):  # ONNX: 0 keeps the side
            if side == 0:
                tail[axis] = shape_of(x)[axis + 1]
        if tail.count(-1) == 1:
            rest = _product([side for side in tail if side != -1])
            if rest and size % rest == 0:
                tail[tail.index(-1)] = size // rest
        if not shape or shape[0] not in (0, -1, BATCH, fixed_batch) or _product(tail) != size:
            known = str(list(shape_of(x))).replace(str(BATCH), "N")
            raise BitfaceError(
                f"{name}: reshapes {known} to {list(shape)}, which mixes the batch with other dimensions; "
                "export the network so that the first dimension stays the batch"
            )
        if tuple(tail) == shape_of(x)[1:]:
            return x
        return self.add(name, Reshape(tuple(tail)), x)

    def take(self, name: str, x: Node, dim: int, start: int, end: int, step: int = 1) -> Node:
        """`x[start:end:step]` along an axis other than the batch; the whole axis is no operation."""
        dim %= len(shape_of(x))
        side = shape_of(x)[dim]
        if (start, step) == (0, 1) and end >= side:
            return x
        if dim == 0 or step < 1:
            raise BitfaceError(f"{name}: slices the batch or runs backwards, which isn't supported")
        return self.add(name, Slice(dim, start, None if end >= side else end, step), x)

    def finish(self, output: Node) -> GraphModule:
        """The graph, without nodes that lead nowhere."""
        self._graph.output(output)
        graph = GraphModule(self._root, self._graph)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        graph.delete_all_unused_submodules()
        return graph.eval()

    def _fake_tensor(self, shape: tuple[int, ...]) -> Tensor:
        with self._fake:
            return torch.empty(shape)

    def _record(self, node: Node, value: Tensor) -> None:
        self._values[node] = value
        node.meta["shape"] = tuple(value.shape)

    def _free_name(self, name: str) -> str:
        """A dotted name that no module has yet and that Python accepts."""
        parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in re.split(r"[./]+", name.strip("./"))]
        target = ".".join(part for part in parts if part) or "node"
        taken = dict(self._root.named_modules())
        holder, _, leaf = target.rpartition(".")
        # A module of the vocabulary can't also be a folder of others, nor can a name be used twice.
        count = 0
        candidate = target
        while candidate in taken or hasattr(self._lookup(candidate.rpartition(".")[0]), candidate.rpartition(".")[2]):
            count += 1
            candidate = f"{holder + '.' if holder else ''}{leaf}_{count}"
        return candidate

    def _lookup(self, path: str) -> nn.Module | None:
        module: Any = self._root
        for part in filter(None, path.split(".")):
            module = getattr(module, part, None)
        return module

    def _parent(self, target: str) -> nn.Module:
        module: nn.Module = self._root
        for part in target.split(".")[:-1]:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        return module


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's value, with `BATCH` as the free batch."""
    return node.meta["shape"]


def _product(sides: Any) -> int:
    result = 1
    for side in sides:
        result *= side
    return result
