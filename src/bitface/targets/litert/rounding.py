"""Where LiteRT rounds: a network as its file computes it.

Its operators are in integers of 8 or of 16 bits from end to end, or in float. So a layer that a PReLU or another
operator in float reads gives integers of its own, in the range that was measured of its output; without one it runs in
float. Integers of 16 bits have no zero point.

A PReLU in float between integers is faster than layers of one sign as in `graph.onnx_prelu`: where depthwise layers are
split 1.36 times, all of them 1.9 times (the PReLU MobileFaceNet, one thread, AVX-512 with VNNI; without XNNPACK 2.2 and
3.1 times).
"""

import copy

import torch
from torch.fx import GraphModule, Node

from bitface.graph import ops
from bitface.graph.builder import tidy
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, IntegerLinear, QuantizeDequantize, limits
from bitface.graph.passes import input_module, insert_after, module_of, replace_module

# What gives numbers that it reads, or limits them: rounding before it is rounding behind it.
_ROUNDS_ALIKE = frozenset({"Relu", "Clip", "MaxPool", "Reshape", "Transpose", "Slice", "Gather", "Concat"})

_ROOM = 4


def rounded(graph: GraphModule) -> GraphModule:
    """A copy with every rounding of the file as a module, which computes in torch what LiteRT computes."""
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        module = module_of(graph, node)
        if isinstance(module, QuantizeDequantize) and module.bits == 16:
            replace_module(graph, node, _symmetric(module.scale, module.zero_point, module.signed))
    for node in list(graph.graph.nodes):
        module = module_of(graph, node)
        if isinstance(module, INTEGER_LAYERS) and module.input_scale:
            source = input_module(graph, node)
            if not isinstance(source, QuantizeDequantize):
                continue
            _take_scale(module, source.scale)
            if (own := _own_output(graph, node, module, source)) is not None:
                output = insert_after(graph, node, f"{node.target}_rounded", own)
                node.replace_all_uses_with(output, delete_user_cb=lambda user, new=output: user is not new)
    return tidy(graph)


def output_quantizer(graph: GraphModule, node: Node) -> QuantizeDequantize | None:
    """The quantizer that rounds a node's value wherever it is read, perhaps behind views and limits."""
    if len(node.users) != 1:
        return None
    reader = next(iter(node.users))
    module = module_of(graph, reader)
    if isinstance(module, QuantizeDequantize):
        return module
    alike = module is not None and ops.op_name(module) in _ROUNDS_ALIKE
    return output_quantizer(graph, reader) if alike else None


def runs_in_integers(graph: GraphModule, node: Node) -> bool:
    """Whether a layer reads integers and gives some of the same type."""
    source, output = input_module(graph, node), output_quantizer(graph, node)
    if (
        not isinstance(source, QuantizeDequantize)
        or output is None
        or not getattr(module_of(graph, node), "input_scale", 0.0)
    ):
        return False
    return (source.bits > 8) == (output.bits > 8)


def _own_output(
    graph: GraphModule, node: Node, layer: IntegerConv2d | IntegerLinear, source: QuantizeDequantize
) -> QuantizeDequantize | None:
    """What rounds a layer's own output; None: what reads it does, or nothing that was measured."""
    if not layer.output_scale or output_quantizer(graph, node) is not None:
        return None
    if source.bits > 8:
        # The range that was measured may have been cut for 8 bits, and 16 have levels to spare.
        return _symmetric(_ROOM * layer.output_scale / 256, layer.output_zero_point * 256, signed=False)
    return QuantizeDequantize(layer.output_scale, layer.output_zero_point, 8, signed=False)


def _symmetric(scale: float, zero_point: int, signed: bool) -> QuantizeDequantize:
    """A quantizer of 16 bits without a zero point that holds what another one holds, with one bit less at most."""
    low, high = (abs(bound - zero_point) for bound in limits(16, signed))
    if signed and zero_point == 0:
        return QuantizeDequantize(scale, 0, 16, True)
    return QuantizeDequantize(float(torch.tensor(scale * max(low, high) / limits(16, True)[1])), 0, 16, True)


def _take_scale(layer: IntegerConv2d | IntegerLinear, scale: float) -> None:
    """The bias in the units of another input scale."""
    if layer.bias is not None and layer.input_scale != scale:
        layer.bias.copy_(torch.round(layer.bias.double() * layer.input_scale / scale))
    layer.input_scale = scale
