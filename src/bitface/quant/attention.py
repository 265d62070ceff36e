"""Finds what attention multiplies and may be turned, head by head, while the network stays the same function.

`Q·Kᵀ = (Q·Rᵀ)·(K·Rᵀ)ᵀ` for an orthogonal R, and what the scores make of values V is linear: `A·(V·Rᵀ)` is turned back
by the layer behind, `W ← W·Rᵀ` (QuaRot, Ashkboos et al., NeurIPS 2024, section 4). Between layers and products there
are but views. So channels are numbered, the numbers sent through the views, and seen where they arrive.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import shape_of
from bitface.graph.operators.matmul import MatMul
from bitface.graph.operators.views import Gather
from bitface.quant.basis import Side

_VIEWS = (ops.Reshape, ops.Transpose, ops.Slice, Gather)


@dataclass(frozen=True, eq=False)
class Heads:
    """What one product joins, of every head alike.

    Attributes:
        product: reads at least one of the tensors that are turned.
        sides: of the layers that make them and, of values, of the layer that reads what becomes of them.
    """

    product: Node
    sides: tuple[Side, ...]

    @property
    def channels(self) -> int:
        """How many each head has."""
        return self.sides[0].channels.shape[1]


@dataclass(frozen=True, eq=False)
class _Arrival:
    """Numbered channels of a layer at a node that is no view.

    Attributes:
        at, place: the node, and which of its inputs.
        numbers: of the shape of that input, `[1, …]`.
    """

    layer: Node
    at: Node
    place: int
    numbers: Tensor


def heads(graph: GraphModule) -> list[Heads]:
    """Whatever may be turned in the attention of a folded graph: queries with keys, and values."""
    layers = [node for node in graph.graph.nodes if isinstance(passes.module_of(graph, node), nn.Linear)]
    calls = Counter(str(node.target) for node in layers)  # what is called twice would be turned twice
    arrivals = [
        arrival for node in layers for arrival in _arrivals(graph, node, _numbered(shape_of(node)[-1], shape_of(node)))
    ]
    found = []
    for node in graph.graph.nodes:
        if isinstance(passes.module_of(graph, node), MatMul):
            sides = _sides(graph, node, {one.place: one for one in arrivals if one.at is node})
            if sides and all(calls[str(side.layer.target)] == 1 and _alone(side, arrivals) for side in sides):
                found.append(Heads(node, sides))
    return found


def _arrivals(graph: GraphModule, node: Node, numbers: Tensor) -> Iterator[_Arrival]:
    """Where the numbers of a node's values arrive through views."""
    front = [(node, numbers)]
    while front:
        source, numbers = front.pop()
        for user in source.users:
            module = passes.module_of(graph, user)
            if isinstance(module, _VIEWS):
                front.append((user, module(numbers)))
            else:
                places = [place for place, read in enumerate(user.args) if read is source]
                yield from (_Arrival(node, user, place, numbers) for place in places or [-1])


def _numbered(count: int, shape: tuple[int, ...]) -> Tensor:
    """The last axis numbered, everything before it alike, `[1, …]`."""
    return torch.arange(count).expand(1, *shape[1:-1], count)


def _sides(graph: GraphModule, product: Node, inputs: dict[int, _Arrival]) -> tuple[Side, ...]:
    """What of a product may be turned: both of its inputs, or the second and the layer behind; nothing else."""
    if len(inputs) == 2:
        left, right = _heads_of(inputs[0].numbers), _heads_of(inputs[1].numbers.transpose(-1, -2))
        if left is not None and right is not None and left.shape == right.shape:
            return Side(inputs[0].layer, left, True), Side(inputs[1].layer, right, True)
    values = _heads_of(inputs[1].numbers) if 1 in inputs else None
    shape = shape_of(product)
    if values is None or inputs[1].numbers.shape[1:-2] != shape[1:-2]:
        return ()
    numbers = torch.arange(values.numel()).view(1, *shape[1:-2], 1, shape[-1]).expand(1, *shape[1:])
    behind = list(_arrivals(graph, product, numbers))
    arrived = behind[0].numbers.flatten(0, -2)
    if (
        len(behind) == 1
        and isinstance(passes.module_of(graph, behind[0].at), nn.Linear)
        and arrived.shape[1] == values.numel()
        and bool((arrived == arrived[:1]).all())
    ):
        return Side(inputs[1].layer, values, True), Side(behind[0].at, arrived[0].argsort().view(values.shape), False)
    return ()


def _heads_of(numbers: Tensor) -> Tensor | None:
    """The channels of each head, `[heads, channels]`; None where tokens have others.

    Args:
        numbers: `[1, …, tokens, channels]`.
    """
    same = numbers.dim() > 2 and bool((numbers == numbers[..., :1, :]).all())
    return numbers[..., 0, :].flatten(0, -2) if same else None


def _alone(side: Side, arrivals: list[_Arrival]) -> bool:
    """Whether each channel is turned once, and what a layer makes of them is read at one place."""
    own = set(side.channels.flatten().tolist())
    reached = [one for one in arrivals if one.layer is side.layer and own & set(one.numbers.unique().tolist())]
    return len(own) == side.channels.numel() and (len(reached) == 1 or not side.gives)
