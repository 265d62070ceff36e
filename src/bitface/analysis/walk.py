"""Runs a graph node by node, and goes on from any of them: what lies in front is computed once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import passes

Values = dict[Node, Tensor]
# Computes a step's value from those that it reads.
Compute = Callable[..., Tensor]


@dataclass(frozen=True)
class WalkStep:
    """One node: its name and module (None for the image and constants), what it reads, and what nobody reads later."""

    node: Node
    name: str
    module: Any
    sources: tuple[Node, ...]
    last: tuple[Node, ...]


class Walk:
    """The steps of a graph in their order."""

    def __init__(self, graph: GraphModule) -> None:
        nodes = [node for node in graph.graph.nodes if node.op != "output"]
        self.output = graph.graph.output_node().all_input_nodes[0]
        last_reader = {source: node for node in nodes for source in node.all_input_nodes}
        self.steps = [
            WalkStep(
                node,
                str(node.target),
                graph.get_buffer(str(node.target)) if node.op == "get_attr" else passes.module_of(graph, node),
                tuple(source for source in node.args if isinstance(source, Node)),
                tuple(one for one in node.all_input_nodes if last_reader[one] is node and one is not self.output),
            )
            for node in nodes
        ]

    def live(self, images: Tensor) -> Iterator[tuple[int, Values]]:
        """Runs over images `[B, 3, H, W]` and stops after every step: its number, and the values still to be read."""
        values: Values = {}
        for number, step in enumerate(self.steps):
            values[step.node] = compute(step, values, images)
            yield number, values
            for node in step.last:
                del values[node]

    def rest(
        self,
        number: int,
        values: Values,
        shifts: Mapping[str, Tensor] = {},
        instead: Mapping[str, Compute] = {},
        until: int | None = None,
    ) -> Tensor:
        """The embeddings, where the run goes on after a step from these values (which stay as they are).

        Args:
            shifts: name of a layer → what is added to its output, `[out]`.
            instead: name of a step → what computes its value in place of its module.
            until: the number of the step to stop at; its value is given in place of the embeddings.
        """
        values = dict(values)
        for node in self.steps[number].last:
            del values[node]
        for place, step in enumerate(self.steps[number + 1 :], number + 1):
            substitute = instead.get(step.name)
            value = substitute(*(values[source] for source in step.sources)) if substitute else compute(step, values)
            if step.name in shifts:
                value = value + beside(shifts[step.name], step.module)
            if place == until:
                return value
            values[step.node] = value
            for node in step.last:
                del values[node]
        return values[self.output]


def compute(step: WalkStep, values: Mapping[Node, Tensor], images: Tensor | None = None) -> Tensor:
    """The value of a node."""
    if step.module is None:
        assert images is not None
        return images
    if isinstance(step.module, Tensor):
        return step.module
    result: Tensor = step.module(*(values[source] for source in step.sources))
    return result


def linear(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What a layer makes of `x` with these weights."""
    if isinstance(layer, nn.Conv2d):
        result: Tensor = layer._conv_forward(x, weight, bias)
        return result
    return nn.functional.linear(x, weight, bias)


def beside(values: Tensor, layer: Any) -> Tensor:
    """One value for each output channel, shaped so that it meets the layer's output."""
    return values.view(-1, *[1] * _trailing(layer))


def channel_means(y: Tensor, layer: Any) -> Tensor:
    """The mean of each channel of a layer's output, `[out]`."""
    return y.double().movedim(-1 - _trailing(layer), 0).flatten(1).mean(1).float()


def _trailing(layer: Any) -> int:
    """Axes after the channels: those of a linear layer are the last axis, those of a convolution the second."""
    return 2 if isinstance(layer, nn.Conv2d) else 0


def channels_last(images: Tensor) -> Tensor:
    """Images as the CPU's convolutions read them fastest."""
    return images.contiguous(memory_format=torch.channels_last)
