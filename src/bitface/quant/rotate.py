"""Turns the channels of residual streams so that no few of them are far larger than the others.

In MobileNets project → addition → expand is linear. So the tensors that additions join, the layers that make them (P)
and those that read them (E) may change their basis, `W_P ← R·W_P`, `b_P ← R·b_P`, `W_E ← W_E·Rᵀ` with an orthogonal R
over channels, and the network stays the same function: padding is zeros, which stay zeros. A Hadamard matrix gives each
channel a part of every one, so that a tensor's one scale for all channels has fewer levels to spare for its peaks
(after Ashkboos et al., NeurIPS 2024, QuaRot, which turns the streams of language models).
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS
from bitface.quant.attention import heads
from bitface.quant.basis import Side, turn

AUTO, OFF, HADAMARD, LEARNED = "auto", "off", "hadamard", "learned"
ROTATIONS = (AUTO, OFF, HADAMARD, LEARNED)


@dataclass(frozen=True)
class Stream:
    """Tensors that only additions join, and only layers over all channels make and read.

    Attributes:
        tensors: what `makers` and additions give.
        makers, readers: the layers that write them, and that read them.
    """

    tensors: tuple[Node, ...]
    makers: tuple[Node, ...]
    readers: tuple[Node, ...]

    @property
    def channels(self) -> int:
        """How many each tensor has."""
        return shape_of(self.makers[0])[1 if len(shape_of(self.makers[0])) == 4 else -1]

    @property
    def sides(self) -> tuple[Side, ...]:
        """All channels of all makers and readers."""
        every = torch.arange(self.channels)[None]
        makers = tuple(Side(node, every, True) for node in self.makers)
        return *makers, *(Side(node, every, False) for node in self.readers)


def streams(graph: GraphModule) -> list[Stream]:
    """The streams of a folded graph, from the image on."""
    groups: dict[Node, list[Node]] = {}
    for node in graph.graph.nodes:
        if _is_addition(graph, node) or _mixes(graph, node):
            groups[node] = [node]
            for source in node.all_input_nodes if _is_addition(graph, node) else ():
                if source not in groups:
                    groups[source] = [source]  # no layer made it, which `_stream` sees
                if groups[source] is not groups[node]:
                    groups[node].extend(groups[source])
                    groups.update(dict.fromkeys(groups[source], groups[node]))
    unique = {id(group): group for group in groups.values()}.values()
    return [stream for group in unique if (stream := _stream(graph, group))]


def _stream(graph: GraphModule, tensors: list[Node]) -> Stream | None:
    """The stream of tensors that additions join; None: something makes or reads them that needs their own basis."""
    makers = [node for node in tensors if _mixes(graph, node)]
    if not all(_is_addition(graph, node) for node in tensors if node not in makers):
        return None
    readers = [user for node in tensors for user in node.users if user not in tensors]
    modules = {id(passes.module_of(graph, node)) for node in (*makers, *readers)}
    if not readers or len(modules) < len(makers) + len(readers):  # a module in two places would be turned twice
        return None
    inner = all(_mixes(graph, user) for user in readers)
    return Stream(tuple(tensors), tuple(makers), tuple(readers)) if inner else None


def _is_addition(graph: GraphModule, node: Node) -> bool:
    """Of two tensors of one shape."""
    sources = [source for source in node.args if isinstance(source, Node) and source.op != "get_attr"]
    return (
        isinstance(passes.module_of(graph, node), ops.Add)
        and len(sources) == 2
        and all(shape_of(source) == shape_of(node) for source in sources)
    )


def _mixes(graph: GraphModule, node: Node) -> bool:
    """Whether a node is a layer each of whose outputs is made of all channels that it reads."""
    module = passes.module_of(graph, node)
    if isinstance(module, nn.Linear):
        return len(shape_of(node)) < 4  # of images it would read rows
    return isinstance(module, nn.Conv2d) and module.groups == 1


def turned_like(graph: GraphModule, other: GraphModule) -> GraphModule:
    """A folded graph in the basis that its channels have in a graph made of it; itself where that is its own.

    What the makers' weights were multiplied by is the nearest orthogonal matrix to `Σ W' Wᵀ` (Procrustes' problem, as
    Schönemann solves it, Psychometrika 1966).

    Args:
        other: in float or in integers, under the same names.
    """
    result = graph
    modules = dict(other.named_modules())
    for sides in [one.sides for one in streams(graph)] + [one.sides for one in heads(graph)]:
        makers = [side for side in sides if side.gives]
        if not all(str(side.layer.target) in modules for side in makers):
            continue
        before, after = (
            torch.cat([_rows(kind[str(side.layer.target)], side.channels) for side in makers], 1)
            for kind in (dict(graph.named_modules()), modules)
        )
        if before.shape != after.shape:
            continue
        left, _, right = torch.linalg.svd(after @ before.T)
        matrix = left @ right
        # A free matrix always fits a little better; one that was turned by it fits much better.
        if (after - matrix @ before).square().sum() < 0.5 * (after - before).square().sum():
            result = copy.deepcopy(graph) if result is graph else result
            turn(result, sides, matrix)
    return result


def _rows(layer: Any, channels: Tensor) -> Tensor:
    """A layer's weights of these outputs, float64 `[size, groups · inputs]`."""
    weight: Tensor = layer.float_weight() if isinstance(layer, INTEGER_LAYERS) else layer.weight
    return weight.detach().double().flatten(1)[channels].movedim(1, 0).flatten(1)
