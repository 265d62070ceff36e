"""Which channels go together: the groups of DepGraph (Fang et al., CVPR 2023), found by torch-pruning.

A channel that a convolution writes is read by the layers after it, passes depthwise convolutions and activations, and
is added to the same channel of other layers; it can only go with all of that. torch-pruning finds the groups by
following autograd's record of one run, and takes the channels out.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.errors import BitfaceError, one_line
from bitface.graph import ops
from bitface.graph.builder import Builder, shape_of
from bitface.graph.passes import module_of


@dataclass(frozen=True)
class Part:
    """A side of a layer that a group goes through.

    Attributes:
        layer: its name in the graph.
        out: whether the channels are those that it writes, or those that it reads.
        index: their places in the layer, int64 `[K]`; after a flattening a channel has several.
        channel: the group's channel at each of them, int64 `[K]`.
    """

    layer: str
    module: nn.Module
    out: bool
    index: Tensor
    channel: Tensor


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together in every part.

    `handle` is torch-pruning's own group.
    """

    name: str
    channels: int
    parts: tuple[Part, ...]
    handle: Any = field(repr=False)


def library() -> ModuleType:
    """torch-pruning. Raises BitfaceError where it isn't installed."""
    try:
        import torch_pruning
    except ImportError as error:
        raise BitfaceError("pruning needs torch-pruning; install it with: pip install bitface[prune]") from error
    result: ModuleType = torch_pruning
    return result


def find_groups(graph: GraphModule) -> list[Group]:
    """The groups of a graph without BatchNorm that can be pruned, in the order of the network.

    Left out are the channels of the embedding, and those that pass a convolution in several groups (not depthwise).

    Raises:
        BitfaceError: torch-pruning isn't installed or can't follow the graph, or nothing can be pruned.
    """
    tp = library()
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        channels = ops.traits_of(module).channels if module else "kept"
        # torch-pruning would take out the wrong ones.
        if channels == "lost" or (channels == "reduced" and node not in _tail(graph)):
            kind = type(module).__name__
            raise BitfaceError(f"{node.target}: {kind} mixes channels, so that pruning can't follow them through it")
    names = {module: name for name, module in graph.named_modules()}
    order = {str(node.target): place for place, node in enumerate(graph.graph.nodes)}
    graph.requires_grad_(True)
    dependencies = tp.DependencyGraph()
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            shape = shape_of(next(iter(graph.graph.nodes)))[1:]
            dependencies.build_dependency(
                graph, torch.zeros(1, *shape), customized_pruners={ops.ChannelAffine: _affine_pruner(tp)}, verbose=False
            )
            handles = list(dependencies.get_all_groups(_last_layers(graph), (nn.Conv2d, nn.Linear)))
        groups = [group for group in (_group(dependencies, handle, names, order) for handle in handles) if group]
    except Exception as error:  # the library has no kind of its own for what it can't follow
        raise BitfaceError(f"torch-pruning can't follow this network: {one_line(error)}") from error
    if not groups:
        raise BitfaceError("no channels of this network can be pruned: each is the image's or the embedding's")
    return sorted(groups, key=lambda group: order[group.name])


def take_out(graph: GraphModule, groups: Sequence[Group], removals: Sequence[list[int]]) -> GraphModule:
    """The graph without channels, a list of them for each group; `graph` itself is used up.

    Raises:
        BitfaceError: what is left doesn't fit together, as torch-pruning lost its way.
    """
    shapes = {node.name: shape_of(node) for node in graph.graph.nodes if node.op != "output"}
    try:
        for group, channels in zip(groups, removals, strict=True):
            if channels:
                group.handle.prune(channels)
        return _rebuilt(graph, shapes)
    except (BitfaceError, AssertionError, RuntimeError, IndexError) as error:
        raise BitfaceError(f"torch-pruning can't follow this network: {one_line(error)}") from error


def _group(dependencies: Any, handle: Any, names: dict[nn.Module, str], order: dict[str, int]) -> Group | None:
    """A group in our terms, its parts in the order of the network; None where it passes a convolution in groups."""
    parts = []
    for place, (dependency, index) in enumerate(handle):
        module = dependency.target.module
        if module not in names:
            continue
        if isinstance(module, nn.Conv2d) and module.groups > 1 and _channels_per_group(module) > 1:
            return None
        out = dependencies.is_out_channel_pruning_fn(dependency.handler)
        channel = torch.tensor(handle[place].root_idxs)
        parts.append(Part(names[module], module, out, torch.tensor(index), channel))
    channels = len(handle[0].idxs)
    parts.sort(key=lambda part: (order[part.layer], part.out))
    return Group(parts[0].layer, channels, tuple(parts), handle)


def _channels_per_group(module: nn.Conv2d) -> int:
    return max(module.in_channels, module.out_channels) // module.groups


def _last_layers(graph: GraphModule) -> list[nn.Module]:
    """The layers that write the embedding."""
    nodes = [node for node in _tail(graph) for node in node.all_input_nodes]
    modules = [module_of(graph, node) for node in [*nodes, *graph.graph.output_node().all_input_nodes]]
    return [module for module in modules if isinstance(module, ops.LAYERS)]


def _tail(graph: GraphModule) -> set[Any]:
    """What stands between the layers that write the embedding and the output."""
    tail: set[Any] = set()
    front = list(graph.graph.output_node().all_input_nodes)
    while front:
        node = front.pop()
        if node not in tail and not isinstance(module_of(graph, node), ops.LAYERS):
            tail.add(node)
            front += node.all_input_nodes
    return tail


def _affine_pruner(tp: ModuleType) -> Any:
    """How torch-pruning takes channels out of a `ChannelAffine`."""

    class AffinePruner(tp.BasePruningFunc):  # type: ignore[misc, name-defined]
        def prune_out_channels(self, layer: ops.ChannelAffine, idxs: Sequence[int]) -> nn.Module:
            channels = sorted(set(range(layer.channels)) - set(idxs))
            layer.channels = len(channels)
            layer.scale, layer.shift = nn.Parameter(layer.scale[channels]), nn.Parameter(layer.shift[channels])
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: ops.ChannelAffine) -> int:
            return layer.channels

        get_in_channels = get_out_channels

    return AffinePruner()


def _rebuilt(graph: GraphModule, shapes: dict[str, tuple[int, ...]]) -> GraphModule:
    """The same operators in a new graph, which works out every shape again and refuses what doesn't fit.

    Args:
        shapes: of every value before channels were taken out.
    """
    builder = Builder(shapes[next(iter(graph.graph.nodes)).name][1:])
    nodes: dict[Any, Any] = {}
    for node in graph.graph.nodes:
        name = str(node.target)
        if node.op == "placeholder":
            nodes[node] = builder.input
        elif node.op == "get_attr":
            nodes[node] = builder.constant(name, graph.get_buffer(name))
        elif node.op == "call_module":
            inputs = [nodes[source] for source in node.args]
            module = graph.get_submodule(name)
            if isinstance(module, ops.Reshape):
                # Channels come first, so that what was taken out is missing in the first side.
                rest = prod(module.tail[1:])
                module = ops.Reshape((prod(shape_of(inputs[0])[1:]) // rest, *module.tail[1:]))
            nodes[node] = builder.add(name, module, *inputs)
        else:
            return builder.finish(nodes[node.all_input_nodes[0]])
    raise AssertionError("a graph without an output")
