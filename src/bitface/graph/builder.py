"""Builds a graph node by node and knows every shape on the way; both importers write through it."""

import gc
import keyword
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from bitface.errors import BitfaceError, one_line
from bitface.graph.attributes import attributes
from bitface.graph.op_spec import OpSpec, spec_of, traits_of
from bitface.limits import MOST_NUMBERS, MOST_OPERATORS

Kind = TypeVar("Kind", bound=nn.Module)

# What fx, torch and Python call their own in a network: no operator's name.
_RESERVED = frozenset((*keyword.kwlist, *dir(GraphModule), *vars(GraphModule(nn.Module(), Graph())), "image"))
# Stands for the batch in every shape. Large and prime, so that no other dimension is taken for it.
BATCH = 7919


class ShapeError(BitfaceError):
    """Operators whose shapes don't fit each other: at another size of the image they might."""


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is looked for meanwhile: of many objects that all stay, each search goes through all there are.

    Of several threads, the first that ends lets it be looked for again.
    """
    if not gc.isenabled():  # by somebody who allows it again, or doesn't want it
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Builder:
    """A graph in the making. Nodes carry `meta["shape"]`, with `BATCH` for the free batch dimension.

    Args:
        shape: of one image.
        numbers: that all weights and constants together may have, as each node holds its own.
    """

    def __init__(self, shape: tuple[int, ...], numbers: float = math.inf) -> None:
        # Of no images: every module gives its shape, and nothing is computed.
        self._values: dict[Node, Tensor] = {}
        # Everything in it is in evaluation mode from the start: going through all of it again takes long.
        self._network = GraphModule(nn.Module().eval(), Graph())
        # Every full name, and the module that holds others under it; None: an operator's or a constant's.
        self._parts: dict[str, nn.Module | None] = {}
        self._names: dict[str, int] = {}
        self._numbers = numbers
        self._graph = Graph()
        self.input = self._graph.placeholder("image")
        self._record(self.input, torch.empty((0, *shape)))

    def constant(self, name: str, value: Tensor) -> Node:
        """A fixed tensor that is an operand of an operator, not a weight of one."""
        if BATCH in value.shape or 0 in value.shape:
            raise BitfaceError(f"{name}: a constant that is empty or as long as the batch, which isn't supported")
        self._hold(name, value.numel())
        target, holder, leaf = self._place(name)
        holder.register_buffer(leaf, value)
        node = self._graph.get_attr(target)
        self._record(node, value)
        return node

    def add(self, name: str, module: nn.Module, *inputs: Node) -> Node:
        """Appends one module.

        Raises:
            ShapeError: the module doesn't accept inputs of these shapes, or mixes the images of a batch.
            BitfaceError: one of its attributes isn't finite.
        """
        input_shapes = [shape_of(node) for node in inputs]
        spec = spec_of(module) or OpSpec(type(module).__name__)
        try:
            spec.check(module, input_shapes)
            with torch.no_grad():
                value = module.eval()(*(self._values[node] for node in inputs))
        except Exception as error:  # torch raises many kinds for shapes that don't fit
            raise ShapeError(
                f"{name}: {type(module).__name__} can't take inputs of {_shapes_text(inputs)}: {one_line(error)}"
            ) from error
        along_batch = getattr(module, "dim", None) in (0, -value.dim())
        if value.shape[:1] != (0,) or along_batch or spec.mixes_images(module, input_shapes):
            raise ShapeError(f"{name}: {type(module).__name__} of {_shapes_text(inputs)} mixes the images of a batch")
        if 0 in value.shape[1:]:
            raise ShapeError(f"{name}: {type(module).__name__} of {_shapes_text(inputs)} leaves nothing")
        check_numbers(name, type(module).__name__, value.shape[1:])
        if len(self._values) > MOST_OPERATORS:  # the image is one
            raise BitfaceError(f"{name}: the network has more than {MOST_OPERATORS:,} operators; no face network")
        if not all(math.isfinite(n) for n in attributes(module).values() if isinstance(n, float)):
            raise BitfaceError(f"{name}: {type(module).__name__} has an attribute that is NaN or infinite")
        self._hold(name, sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers())))
        target, holder, leaf = self._place(name)
        holder.add_module(leaf, module)
        node = self._graph.call_module(target)
        node.args = tuple(inputs)  # after it: what `call_module` asks of each costs as much as all else that it does
        self._record(node, value)
        return node

    def step(self, node: object, kind: type[Kind]) -> tuple[Kind, tuple[Node, ...]] | None:
        """The module that computes a node, and what it reads; None where it isn't of this kind."""
        if not isinstance(node, Node) or node.op != "call_module":
            return None
        module = self._network.get_submodule(str(node.target))
        return (module, tuple(node.all_input_nodes)) if isinstance(module, kind) else None

    def value(self, node: Node) -> Tensor:
        """The value of a constant; of anything else an empty tensor in its shape."""
        return self._values[node]

    def finish(self, output: Node) -> GraphModule:
        """The graph, without nodes that lead nowhere."""
        self._graph.output(output)
        unread = False
        for node in reversed(self._graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self._graph.erase_node(node)
                _remove(self._network, str(node.target))
                unread = True
        self._network.graph = self._graph  # which generates its code
        if unread:
            _drop_unused(self._network)  # what held nothing else
        return self._network

    def _hold(self, name: str, numbers: int) -> None:
        self._numbers -= numbers
        if self._numbers < 0:
            raise BitfaceError(
                f"{name}: the network's operators read the same weights over and over, and each would hold its own; "
                "export it without what unrolls its loops"
            )

    def _record(self, node: Node, value: Tensor) -> None:
        self._values[node] = value
        node.meta["shape"] = tuple(value.shape) if node.op == "get_attr" else (BATCH, *value.shape[1:])

    def _place(self, name: str) -> tuple[str, nn.Module, str]:
        """A dotted name that nothing has yet and Python accepts, the module to hold it, and its last part."""
        words = [re.sub(r"\W", "_", word, flags=re.ASCII) for word in re.split(r"[./]+", name) if word]
        *folders, last = words or ["node"]
        holder: nn.Module = self._network
        prefix = ""
        for folder in folders:
            word = self._free(prefix, folder, lambda other: isinstance(other, nn.Module))
            part = self._parts.get(prefix + word)
            if part is None:
                part = self._parts[prefix + word] = nn.Module().eval()
                holder.add_module(word, part)
            holder, prefix = part, f"{prefix}{word}."
        leaf = self._free(prefix, last, lambda other: False)
        self._parts[prefix + leaf] = None
        return prefix + leaf, holder, leaf

    def _free(self, prefix: str, word: str, may_be: Callable[[nn.Module | None], bool]) -> str:
        """A word that nothing has at this place, or something that it may be."""
        free, full_name = word, prefix + word
        while free in _RESERVED or (prefix + free in self._parts and not may_be(self._parts[prefix + free])):
            # Counted on from the last of this name: as many nodes may have one.
            self._names[full_name] = self._names.get(full_name, 0) + 1
            free = f"{word}_{self._names[full_name]}"
        return free


def check_numbers(name: str, kind: str, sides: Sequence[int]) -> None:
    """Raises ShapeError where a tensor of these sides, for one image, is larger than a face network's."""
    if math.prod(sides) > MOST_NUMBERS:
        raise ShapeError(
            f"{name}: {kind} gives {list(sides)} for one image, more numbers than a face network has; export it for "
            "smaller images, or without what enlarges them"
        )


def tidy(graph: GraphModule) -> GraphModule:
    """Drops what nothing reads and regenerates the code."""
    before = _constants(graph)
    graph.graph.eliminate_dead_code()
    for target in before - _constants(graph):
        _remove(graph, target)
    _drop_unused(graph)
    graph.recompile()
    return graph.eval()


def _remove(graph: GraphModule, target: str) -> None:
    """Takes away a module or a constant."""
    holder, _, leaf = target.rpartition(".")
    delattr(graph.get_submodule(holder), leaf)


def _drop_unused(graph: GraphModule) -> None:
    """Removes the modules that no node names, as `delete_all_unused_submodules`, whose time grows with their square."""
    used = set()
    for node in graph.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            parts = str(node.target).split(".")
            used |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    calls = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}

    def drop(holder: nn.Module, prefix: str) -> None:
        for name, module in list(holder.named_children()):
            if (path := f"{prefix}{name}") not in used:
                delattr(holder, name)
            elif path not in calls:
                drop(module, f"{path}.")

    drop(graph, "")


def _constants(graph: GraphModule) -> set[str]:
    return {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's value, with `BATCH` as the free batch."""
    result: tuple[int, ...] = node.meta["shape"]
    return result


def gives_embedding(graph: GraphModule, node: Node) -> bool:
    """Whether a node's value is the embedding, perhaps in another shape, and nothing else reads it."""
    user = next(iter(node.users), None)
    if user is None or len(node.users) > 1 or user.op == "output":
        return user is not None and user.op == "output"
    moves = user.op == "call_module" and traits_of(graph.get_submodule(str(user.target))).moves
    return moves and gives_embedding(graph, user)


def shape_text(node: Node) -> str:
    return str(list(shape_of(node))).replace(str(BATCH), "N")


def _shapes_text(nodes: Sequence[Node]) -> str:
    return ", ".join(map(shape_text, nodes))
