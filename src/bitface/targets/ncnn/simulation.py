"""What ncnn computes of an integer graph, in torch.

An integer layer rounds what it reads, by a multiplication with the reciprocal of the scale, half away from zero, to
±127; its sums are exact, and their scale and bias are applied in float32. Every other operator reads floats. An output
in int8 is the rounding of the layer that reads it, so that it needs nothing of its own. What is left to kernels is the
last bit of a float, and, on x86 CPUs, the scale of a depthwise layer: a reciprocal that is right to 12 bits.
"""

import copy

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph.builder import tidy
from bitface.graph.integer import IntegerConv2d, QuantizeDequantize
from bitface.graph.passes import module_of, replace_module
from bitface.targets.ncnn.layers import LARGEST, IntegerLayer, depthwise, in_integers, input_scale, weight_scales


class NcnnLayer(nn.Module):
    """An integer convolution or linear layer as ncnn computes it."""

    def __init__(self, layer: IntegerLayer) -> None:
        super().__init__()
        scale = input_scale(layer)
        factors = 1 / (scale * weight_scales(layer))
        convolution = isinstance(layer, IntegerConv2d)
        self.layer, self.scale = layer, torch.tensor(scale)
        # Whether scale and bias are applied with one rounding.
        self.fused = convolution and not depthwise(layer)
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
        if self.fused:
            return (sums.double() * self.factors + self.bias).float()
        return sums * self.factors.float() + self.bias.float()


def simulate(graph: GraphModule) -> GraphModule:
    """`graph` itself is left as it was."""
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        module = module_of(graph, node)
        if isinstance(module, QuantizeDequantize):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
        elif in_integers(module):
            replace_module(graph, node, NcnnLayer(module))
    return tidy(graph)
