"""What ncnn computes of an integer graph, in torch.

An integer layer rounds what it reads, by a multiplication with the reciprocal of the scale, half away from zero, to
±127; its sums are exact, and their scale and bias are applied in float32. Every other operator reads floats. An output
in int8 is the rounding of the layer that reads it, so that it needs nothing of its own. The last bit of a float is the
kernels' (scale and bias are applied with one rounding, or with two), and decides where a value lies between two levels.
"""

import copy

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph.builder import tidy
from bitface.graph.integer import IntegerConv2d, QuantizeDequantize
from bitface.graph.ops import ChannelAffine
from bitface.graph.passes import module_of, replace_module
from bitface.targets.ncnn.layers import FUSED, LARGEST, IntegerLayer, depthwise, in_integers, input_scale, weight_scales


class NcnnLayer(nn.Module):
    """An integer convolution or linear layer as ncnn computes it.

    Args:
        once: scale and bias are applied with one rounding.
    """

    def __init__(self, layer: IntegerLayer, once: bool) -> None:
        super().__init__()
        scale = input_scale(layer)
        factors = 1 / (scale * weight_scales(layer))
        convolution = isinstance(layer, IntegerConv2d)
        self.layer, self.once, self.scale = layer, once, torch.tensor(scale)
        shape = (-1, 1, 1) if convolution else (-1,)
        bias = layer.float_bias()
        self.factors = torch.from_numpy(factors).double().view(shape)
        self.bias = torch.zeros(1).double() if bias is None else bias.double().view(shape)

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.scale
        integers = torch.trunc(scaled + torch.copysign(torch.tensor(0.5), scaled)).clamp(-LARGEST, LARGEST)
        layer, weight = self.layer, self.layer.weight.float()
        if isinstance(layer, IntegerConv2d):
            sums = nn.functional.conv2d(
                integers, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        else:
            sums = nn.functional.linear(integers, weight)
        if self.once:
            return (sums.double() * self.factors + self.bias).float()
        return sums * self.factors.float() + self.bias.float()


class NcnnAffine(nn.Module):
    """A number and a shift per channel, applied with one rounding."""

    def __init__(self, affine: ChannelAffine) -> None:
        super().__init__()
        self.affine = copy.deepcopy(affine).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.affine(x.double()).float()  # type: ignore[no-any-return]


def simulate(graph: GraphModule) -> GraphModule:
    """`graph` itself is left as it was."""
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        module = module_of(graph, node)
        if isinstance(module, QuantizeDequantize):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
        elif in_integers(module):
            replace_module(graph, node, NcnnLayer(module, _once(graph, node, module)))
        elif isinstance(module, ChannelAffine):
            replace_module(graph, node, NcnnAffine(module))
    return tidy(graph)


def _once(graph: GraphModule, node: Node, layer: IntegerLayer) -> bool:
    """ncnn has kernels of their own for depthwise layers of 3x3, with no activation within or a ReLU."""
    if not isinstance(layer, IntegerConv2d) or not depthwise(layer):
        return isinstance(layer, IntegerConv2d)
    reader = module_of(graph, next(iter(node.users))) if len(node.users) == 1 else None
    plain = type(reader) not in FUSED or isinstance(reader, nn.ReLU)
    return plain and layer.kernel_size == (3, 3) and layer.dilation == (1, 1) and layer.stride in ((1, 1), (2, 2))
