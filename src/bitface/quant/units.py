"""Cuts a graph into units that can be rebuilt one after the other: blocks between which a single tensor flows."""

import copy
import re
from dataclasses import dataclass, replace

from torch import nn
from torch.fx import Graph, GraphModule, Node

from bitface.graph import ops, passes
from bitface.quant.quantizers import Quantizer


@dataclass(frozen=True)
class Unit:
    """A stretch of a graph, from one tensor to another.

    Attributes:
        source: the name of the node that it reads.
        result: the name of the node that it gives.
        layers: the names of the layers with weights in it.
    """

    source: str
    result: str
    layers: tuple[str, ...]


def units_of(graph: GraphModule, most: int = 3) -> list[Unit]:
    """The units of a student's graph in order, residual blocks whole; short ones are joined up to `most` layers.

    A unit ends where nothing else is alive and only quantizers (or layers, of float activations) read on: after an
    activation or a residual sum, before the quantizer that belongs to the next unit.
    """
    nodes = [node for node in graph.graph.nodes if node.op not in ("get_attr", "output")]
    position = {node: index for index, node in enumerate(nodes)}
    last = {node: max((position.get(user, len(nodes)) for user in node.users), default=-1) for node in nodes}
    units: list[Unit] = []
    source, layers, reach = nodes[0], list[str](), -1
    for index, node in enumerate(nodes):
        if isinstance(passes.module_of(graph, node), ops.LAYERS):
            layers.append(str(node.target))
        ends = node is nodes[-1] or (reach <= index and all(_begins(graph, user) for user in node.users))
        reach = max(reach, last[node])
        if ends and layers:
            units.append(Unit(source.name, node.name, tuple(layers)))
            source, layers = node, []
    if units and units[-1].result != nodes[-1].name:  # what no layer follows belongs to the last one
        units[-1] = replace(units[-1], result=nodes[-1].name)
    return _joined(units, most)


def _begins(graph: GraphModule, node: Node) -> bool:
    """Whether a unit may begin here: with a quantizer or, where activations stay float, with a layer, a LayerNorm or
    a sum.
    """
    module = passes.module_of(graph, node)
    if isinstance(module, ops.Add):
        return not any(isinstance(passes.module_of(graph, source), Quantizer) for source in node.all_input_nodes)
    return isinstance(module, Quantizer | nn.Conv2d | nn.Linear | nn.LayerNorm)


def _joined(units: list[Unit], most: int) -> list[Unit]:
    result: list[Unit] = []
    for unit in units:
        if result and len(result[-1].layers) + len(unit.layers) <= most:
            unit = _whole([result.pop(), unit])
        result.append(unit)
    return result


def blocks_of(graph: GraphModule) -> list[Unit]:
    """The blocks of a student's graph in order; every layer is in one of them.

    A block is a residual block; or an inverted bottleneck without a residual, that is, a depthwise layer with an
    activation, the pointwise layer without one that follows and, where there is one, the pointwise layer with an
    activation in front; or any other layer by itself. Those are the rows of QMobileFaceNet's table I, each repetition
    by itself.
    """
    alone = units_of(graph, 1)
    kinds = "".join(_kind(graph, unit) for unit in alone)
    return [_whole(alone[match.start() : match.end()]) for match in re.finditer("e?dp|.", kinds)]


def _kind(graph: GraphModule, unit: Unit) -> str:
    """What a unit may be in a bottleneck: `e`xpansion, `d`epthwise layer, `p`rojection; or `-`."""
    layer = graph.get_submodule(unit.layers[0])
    if len(unit.layers) > 1 or not isinstance(layer, nn.Conv2d):
        return "-"
    has_activation = next(str(node.target) for node in graph.graph.nodes if node.name == unit.result) != unit.layers[0]
    if layer.groups == layer.in_channels > 1:
        return "d" if has_activation else "-"
    pointwise = layer.groups == 1 and tuple(layer.kernel_size) == (1, 1)
    return ("e" if has_activation else "p") if pointwise else "-"


def _whole(units: list[Unit]) -> Unit:
    return Unit(units[0].source, units[-1].result, tuple(name for unit in units for name in unit.layers))


def part(graph: GraphModule, source: str, result: str) -> GraphModule:
    """The stretch of a graph between two nodes, over the graph's own modules: reads `source`, gives `result`."""
    nodes = {node.name: node for node in graph.graph.nodes}
    subgraph, copies = Graph(), {}
    copies[nodes[source]] = subgraph.placeholder("x")
    copies[nodes[source]].meta = copy.copy(nodes[source].meta)
    inside = False
    for node in graph.graph.nodes:
        if node.op == "get_attr" or (inside and node.op != "output"):
            copies[node] = subgraph.node_copy(node, copies.__getitem__)
        inside = inside or node.name == source
        if node.name == result:
            break
    subgraph.output(copies[nodes[result]])
    stretch = GraphModule(graph, subgraph)
    stretch.graph.eliminate_dead_code()
    stretch.recompile()
    return stretch
