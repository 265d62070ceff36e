"""The quantized student: the teacher's folded graph with a quantizer on every tensor that integers must carry.

Quantizers sit on the image, on the input of every convolution and linear layer, and on both inputs of every addition
and multiplication of two tensors, but for sums that nothing reads in integers. A tensor that several of them read is
quantized once for each bit width; whatever else reads it (a BatchNorm before a convolution, say) reads the quantized
tensor too, as memory holds no other.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import shape_of, tidy
from bitface.graph.operators.arithmetic import Max
from bitface.quant.kernels import depthwise, depthwise_fits
from bitface.quant.plan import FLOAT, BitPlan, Layer, PlannedLayer
from bitface.quant.quantizers import Quantizer, UniformQuantizer


class _QuantizedLayer:
    """A layer whose weights go through a quantizer; switched off, it is the float layer."""

    weight: Any
    bias: Any
    weight_quantizer: Quantizer

    def quantized_weight(self) -> Tensor:
        result: Tensor = self.weight_quantizer(self.weight)
        return result

    def add_to_bias(self, shift: Tensor) -> None:
        """Shifts the output of every channel, `[out]`."""
        if self.bias is None:
            self.bias = nn.Parameter(torch.zeros(len(shift)))
        self.bias.data += shift


class QuantizedConv2d(nn.Conv2d, _QuantizedLayer):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.quantized_weight()
        if torch.is_grad_enabled() and depthwise_fits(x, weight, self.groups):
            x = x.bfloat16() if torch.is_autocast_enabled("cpu") else x
            assert not isinstance(self.padding, str)
            return depthwise(x, weight, self.bias, self.stride, self.padding, self.dilation)
        result: Tensor = self._conv_forward(x, weight, self.bias)
        return result


class QuantizedLinear(nn.Linear, _QuantizedLayer):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.quantized_weight(), self.bias)


@dataclass
class Student:
    """A graph with quantizers, and the plan as it came out for each layer."""

    graph: GraphModule
    plan: BitPlan
    layers: list[PlannedLayer]
    activation_quantizers: dict[str, Quantizer] = field(default_factory=dict)

    def quantized_layers(self) -> dict[str, "QuantizedConv2d | QuantizedLinear"]:
        return {
            name: module
            for name, module in self.graph.named_modules()
            if isinstance(module, QuantizedConv2d | QuantizedLinear)
        }

    def as_float(self) -> GraphModule:
        """A copy of the graph, under the same names, that computes in floating point."""
        graph = copy.deepcopy(self.graph)
        for module in graph.modules():
            if isinstance(module, Quantizer):
                module.enabled = False
        return graph

    def enable(self, on: bool) -> None:
        """Switches every quantizer on or off."""
        for module in self.graph.modules():
            if isinstance(module, Quantizer):
                module.enabled = on


def build(graph: GraphModule, plan: BitPlan, unsigned_image: bool = False) -> Student:
    """The student of a folded graph under a plan: quantizers placed, their ranges still to be found.

    The graph itself is left as it was.

    Args:
        unsigned_image: the image, as the network reads it, is never negative.

    Raises:
        UsageError: the plan names a layer that the network doesn't have.
    """
    graph = copy.deepcopy(graph)
    layers = planned(graph, plan)
    student = Student(graph, plan, layers)
    bits = {layer.name: layer.bits for layer in layers}
    readers_by_tensor: dict[Node, dict[int, list[Node]]] = {}
    for node in graph.graph.nodes:
        width = bits[str(node.target)].activation if str(node.target) in bits else FLOAT
        if width != FLOAT:
            for source in _activations(node):
                readers_by_tensor.setdefault(_origin(graph, source), {}).setdefault(width, []).append(node)
    for tensor, readers in readers_by_tensor.items():
        positive = unsigned_image if tensor.op == "placeholder" else never_negative(graph, tensor)
        _place(student, tensor, readers, positive)
    for name, module in list(graph.named_modules()):
        if name in bits and bits[name].weight != FLOAT and isinstance(module, ops.LAYERS):
            _quantize_weights(graph, name, module, bits[name].weight, plan)
    tidy(graph)
    return student


def planned(graph: GraphModule, plan: BitPlan) -> list[PlannedLayer]:
    """What a plan gives everything that computes on tensors in a folded graph.

    Raises:
        UsageError: the plan names a layer that the network doesn't have.
    """
    return plan.resolve(_layers(graph))


def _layers(graph: GraphModule) -> list[Layer]:
    before, after = _reach(graph, forward=True), _reach(graph, forward=False)
    result = []
    for node in graph.graph.nodes:
        module = passes.module_of(graph, node)
        if isinstance(module, ops.LAYERS):
            depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
            kind = ops.op_name(module) or ""
            result.append(Layer(str(node.target), kind, node in before, node in after, depthwise))
        elif module is not None and _computes_on_two(module, node) and not _read_in_float(graph, node):
            result.append(Layer(str(node.target), ops.op_name(module) or ""))
    return result


def _computes_on_two(module: nn.Module, node: Node) -> bool:
    return ops.traits_of(module).arithmetic and len(_activations(node)) == 2


def _read_in_float(graph: GraphModule, node: Node) -> bool:
    """Whether a sum is read by nothing but what computes in floating point: LayerNorms, and further such sums.

    Such is the residual stream of a transformer. Rounding it saves nothing, and costs most: few of its numbers are a
    hundred times as large as the others (Sun et al., COLM 2024, massive activations).
    """
    readers = [(user, passes.module_of(graph, user)) for user in node.users]
    return isinstance(passes.module_of(graph, node), ops.Add) and all(
        (isinstance(module, ops.Add) and _read_in_float(graph, user))
        or (bool(ops.traits_of(module).in_float) and not ops.traits_of(module).activation)
        for user, module in readers
    )


def _reach(graph: GraphModule, forward: bool) -> set[Node]:
    """The layers met first, going from the image forwards or from the embedding backwards."""
    start = next(iter(graph.graph.nodes)) if forward else graph.graph.output_node()
    layers, nodes, front = set(), set(), [start]
    while front:
        node = front.pop()
        for other in node.users if forward else node.all_input_nodes:
            if other in nodes:
                continue
            nodes.add(other)
            if isinstance(passes.module_of(graph, other), ops.LAYERS):
                layers.add(other)
            else:
                front.append(other)
    return layers


def _activations(node: Node) -> list[Node]:
    """The inputs that depend on the image."""
    return [source for source in node.args if isinstance(source, Node) and source.op != "get_attr"]


def _origin(graph: GraphModule, node: Node) -> Node:
    """The tensor before views: it is quantized where it is made. A view with several readers is a tensor itself, and so
    is one that makes an image, as in a shuffle of channels, whose rounding OpenVINO would lose before the view.
    """
    while isinstance(passes.module_of(graph, node), ops.Reshape) and len(node.users) == 1 and not _is_image(node):
        node = node.all_input_nodes[0]
    return node


def _is_image(node: Node) -> bool:
    return len(shape_of(node)) == 4


def never_negative(graph: GraphModule, node: Node) -> bool:
    """Whether a tensor is the output of something that gives no value below 0, or keeps the sign of such ones; of what
    a maximum reads, one is enough.
    """
    known: dict[Node, bool] = {}  # so that no tensor is looked at twice
    waiting = [node]  # not by calls within calls, as a file may have thousands of operators in a row
    while waiting:
        one = waiting[-1]
        module = passes.module_of(graph, one)
        traits = ops.traits_of(module)
        if one.op == "get_attr":
            known[one] = bool((graph.get_buffer(str(one.target)) >= 0).all())
        elif not (isinstance(module, Quantizer) or traits.keeps_sign):
            known[one] = traits.never_negative
        elif unknown := [source for source in one.all_input_nodes if source not in known]:
            waiting += unknown
            continue
        else:
            enough = any if isinstance(module, Max) else all
            known[one] = enough(known[source] for source in one.all_input_nodes)
        waiting.pop()
    return known[node]


def _place(student: Student, tensor: Node, readers: dict[int, list[Node]], positive: bool) -> None:
    """Puts one quantizer for each bit width after a tensor and lets everything read a quantized copy."""
    graph, scheme = student.graph, student.plan.activations
    users = list(tensor.users)
    quantizer_nodes: dict[int, Node] = {}
    for bits in sorted(readers, reverse=True):
        quantizer = activation_quantizer(scheme, bits, positive)
        stem = "image" if tensor.op == "placeholder" else str(tensor.target)
        name = f"{stem}_a{bits}"
        quantizer_nodes[bits] = passes.insert_after(graph, tensor, name, quantizer)
        student.activation_quantizers[str(quantizer_nodes[bits].target)] = quantizer
    widest = quantizer_nodes[max(quantizer_nodes)]
    for user in users:
        source = next((quantizer_nodes[bits] for bits, nodes in readers.items() if _reads(graph, user, nodes)), widest)
        if user.op != "output":
            user.replace_input_with(tensor, source)


def activation_quantizer(scheme: str, bits: int, positive: bool) -> UniformQuantizer:
    """The quantizer of a tensor, its range still to be found.

    Args:
        scheme: `BitPlan.activations`.
        positive: the tensor is never negative.
    """
    if scheme == "signed":
        return UniformQuantizer(bits, True, True)
    symmetric = scheme == "symmetric" or (scheme == "auto" and (bits >= 8 or positive))
    return UniformQuantizer(bits, not positive if symmetric else False, symmetric)


def weight_quantizer(plan: BitPlan, bits: int, channels: int) -> UniformQuantizer:
    """The quantizer of a layer's weights with so many output channels, its scales still to be found."""
    symmetric = plan.weights_symmetric or bits == 1
    return UniformQuantizer(bits, True, symmetric, channels if plan.weights_per_channel else 1, narrow=bits == 8)


def _reads(graph: GraphModule, user: Node, readers: list[Node]) -> bool:
    """Whether a user of a tensor is one of the readers, or the view through which one reads."""
    while isinstance(passes.module_of(graph, user), ops.Reshape) and len(user.users) == 1 and not _is_image(user):
        user = next(iter(user.users))
    return user in readers


def _quantize_weights(graph: GraphModule, name: str, module: nn.Module, bits: int, plan: BitPlan) -> None:
    kind = QuantizedConv2d if isinstance(module, nn.Conv2d) else QuantizedLinear
    layer: Any = ops.construct(kind, **{**ops.attributes(module), "bias": module.bias is not None})
    layer.load_state_dict(module.state_dict())
    layer.weight_quantizer = weight_quantizer(plan, bits, len(layer.weight))
    holder, _, leaf = name.rpartition(".")
    setattr(graph.get_submodule(holder), leaf, layer)
