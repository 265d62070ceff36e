"""An integer network as a target can hold it, where another one says almost the same.

Unsigned activations without a zero point become signed ones: 127 of their 255 levels are left, half a bit to one bit is
lost. A plan that was made for the target (`plans`) needs none of it.
"""

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.fx import GraphModule

from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.graph.builder import tidy
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize, limits
from bitface.graph.passes import input_module, module_of, replace_module
from bitface.targets.base import Holds


def conformed(network: Network, holds: Holds) -> Network:
    """The network with the activations that a target holds; the same one where it holds all of them.

    What remains that it can't hold, `Holds.obstacle` names.

    Raises:
        BitfaceError: a layer of integers reads none (of a damaged artifact).
    """
    if not coarser(network.graph, holds):
        return network
    graph = copy.deepcopy(network.graph)
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if _becomes_signed(module, holds):
            assert isinstance(module, QuantizeDequantize)
            ratio = limits(module.bits, False)[1] / limits(module.bits, True)[1]
            replace_module(graph, node, QuantizeDequantize(module.scale * ratio, 0, module.bits, True))
        elif isinstance(module, INTEGER_LAYERS) and module.input_scale:
            source = input_module(graph, node)
            if not isinstance(source, QuantizeDequantize):
                raise BitfaceError(f"'{node.target}' has a scale of its input, which nothing rounds")
            _adapt(module, source.scale)
    return replace(network, graph=tidy(graph))


def coarser(graph: GraphModule, holds: Holds) -> int:
    """How many tensors lose levels in a target."""
    return sum(_becomes_signed(module, holds) for module in graph.modules())


def _becomes_signed(module: object, holds: Holds) -> bool:
    return isinstance(module, QuantizeDequantize) and not (module.signed or holds.unsigned or module.zero_point)


def _adapt(layer: nn.Module, scale: float) -> None:
    """Gives a layer another scale of its input, and its bias the same value in the new units."""
    assert isinstance(layer, INTEGER_LAYERS)
    if layer.bias is not None:
        layer.bias.copy_(torch.round(layer.bias.double() * (layer.input_scale / scale)))
    layer.input_scale = scale
