"""The student as it is trained: the same parameters, with activation and quantizer in one kernel."""

import copy

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph import ops, passes
from bitface.quant.quantizers import Quantizer


class ActivationQuantizer(nn.Module):
    """A ReLU, clip, LeakyReLU or PReLU and the quantizer after it; owns neither."""

    def __init__(self, activation: nn.Module, quantizer: Quantizer) -> None:
        super().__init__()
        self.activation, self.quantizer = activation, quantizer

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantizer.enabled:
            return self.activation(x)
        slope, cap = _line(self.activation)
        return self.quantizer.quantize(x, slope, cap)


def _line(activation: nn.Module) -> tuple[Tensor, float]:
    """Slope below 0 and largest value."""
    if isinstance(activation, nn.PReLU):
        return activation.weight, float("inf")
    if isinstance(activation, nn.LeakyReLU):
        return torch.tensor([activation.negative_slope]), float("inf")
    return torch.zeros(1), activation.high if isinstance(activation, ops.Clip) else float("inf")


def _fusible(module: nn.Module | None) -> bool:
    if isinstance(module, ops.Clip):
        return module.low == 0
    return isinstance(module, nn.ReLU | nn.LeakyReLU | nn.PReLU)


def fused(graph: GraphModule) -> GraphModule:
    """A graph over the modules of a student's in which activations are part of the quantizers that alone read them."""
    graph = GraphModule(graph, copy.deepcopy(graph.graph))
    for node in list(graph.graph.nodes):
        quantizer = passes.module_of(graph, node)
        if not isinstance(quantizer, Quantizer):
            continue
        source = node.all_input_nodes[0]
        activation = passes.module_of(graph, source)
        if activation is None or not _fusible(activation) or len(source.users) != 1:
            continue
        name = f"fused_{str(node.target).replace('.', '_')}"
        graph.add_submodule(name, ActivationQuantizer(activation, quantizer))
        node.replace_input_with(source, source.all_input_nodes[0])
        node.target = name
        graph.graph.erase_node(source)
    graph.recompile()
    return graph
