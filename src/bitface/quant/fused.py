"""The student as it is trained: the same parameters, with activation and quantizer in one kernel."""

import copy

from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph import ops, passes
from bitface.quant.quantizers import Quantizer


class ActivationQuantizer(nn.Module):
    """An activation that is a rectifier (see `op_spec.Traits`) and the quantizer after it; owns neither."""

    def __init__(self, activation: nn.Module, quantizer: Quantizer) -> None:
        super().__init__()
        self.activation, self.quantizer = activation, quantizer

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantizer.enabled:
            result: Tensor = self.activation(x)
            return result
        rectifier = ops.traits_of(self.activation).rectifier
        assert rectifier is not None
        return self.quantizer.quantize(x, *rectifier(self.activation))


def fused(graph: GraphModule) -> GraphModule:
    """A graph over the modules of a student's in which activations are part of the quantizers that alone read them."""
    graph = GraphModule(graph, copy.deepcopy(graph.graph))
    for node in list(graph.graph.nodes):
        quantizer = passes.module_of(graph, node)
        if not isinstance(quantizer, Quantizer):
            continue
        source = node.all_input_nodes[0]
        activation = passes.module_of(graph, source)
        if activation is None or not ops.traits_of(activation).rectifier or len(source.users) != 1:
            continue
        name = f"fused_{str(node.target).replace('.', '_')}"
        graph.add_submodule(name, ActivationQuantizer(activation, quantizer))
        node.replace_input_with(source, source.all_input_nodes[0])
        node.target = name
        graph.graph.erase_node(source)
    graph.recompile()
    return graph
