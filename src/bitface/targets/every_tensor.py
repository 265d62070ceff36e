"""Integers on both sides of every operator, for compilers that keep no floats between two layers.

A student rounds what its layers and additions read. Here the rest is rounded, with the numbers that are there already:
a layer's output by its own range, and what is only moved or limited before a quantizer by that quantizer's.
"""

import copy

import torch
from torch import nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import shape_of, tidy
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, LayerIntegers, QuantizeDequantize, Window, limits
from bitface.graph.operators.rectifiers import slope_quantizer

# Half of what int32 holds.
_LARGEST_BIAS = float(1 << 30)


def every_tensor_rounded(graph: GraphModule, slopes: bool = False) -> GraphModule:
    """The same network with as many of its tensors rounded as have a range. `graph` itself is left as it was.

    Args:
        graph: with the modules of `graph.integer`; a graph in float is given back as it is.
        slopes: also of PReLUs that read integers, as `OnnxForm.integer_slopes` writes them.
    """
    graph = copy.deepcopy(graph)
    for node in list(graph.graph.nodes):
        module = passes.module_of(graph, node)
        if isinstance(module, INTEGER_LAYERS) and module.output_scale and not _rounded(graph, node):
            _round_output(graph, node, module.output_scale, module.output_zero_point)
    for node in reversed(list(graph.graph.nodes)):
        _round_before(graph, node)
    for node in list(graph.graph.nodes):
        _round_behind(graph, node)
    for node in list(graph.graph.nodes):
        _affine_as_layer(graph, node)
        _widen(graph, node)
        if slopes:
            _round_slopes(graph, node)
    return tidy(graph)


def _quantizer(graph: GraphModule, node: Node) -> QuantizeDequantize | None:
    module = passes.module_of(graph, node)
    return module if isinstance(module, QuantizeDequantize) else None


def _rounded(graph: GraphModule, node: Node) -> bool:
    """Whether quantizers alone read a node."""
    return all(_quantizer(graph, user) for user in node.users)


def _round_output(graph: GraphModule, node: Node, scale: float, zero_point: int) -> None:
    """Rounds a layer's output by its own range, to 16 bits where the layer's input has as many."""
    source = _quantizer(graph, node.all_input_nodes[0])
    quantizer = QuantizeDequantize(scale, zero_point - 128, 8, True)
    wide = source is not None and source.bits == 16
    readers = [user for user in node.users if _quantizer(graph, user) is None]
    _insert(graph, node, _wider(quantizer) if wide else quantizer, readers)


def _wider(quantizer: QuantizeDequantize) -> QuantizeDequantize:
    """The range of 8 bits in 16, which hold all its numbers."""
    shift = 128 if quantizer.signed else 0
    return QuantizeDequantize(quantizer.scale / 257, 257 * quantizer.zero_point + shift, 16, quantizer.signed)


def _insert(graph: GraphModule, node: Node, quantizer: QuantizeDequantize, readers: list[Node]) -> None:
    """Rounds what a node gives to these readers."""
    rounded = passes.insert_after(graph, node, f"{node.target}_rounded", quantizer)
    for reader in readers:
        reader.replace_input_with(node, rounded)


def _round_before(graph: GraphModule, node: Node) -> None:
    """Rounds what an operator reads that only moves or limits, as a quantizer rounds what it gives.

    Rounding is monotonous, so the numbers stay the same. A limit that the quantizer sets as well is left out.
    """
    module = passes.module_of(graph, node)
    if module is None or len(node.all_input_nodes) != 1 or len(node.users) != 1:
        return
    traits, source = ops.traits_of(module), node.all_input_nodes[0]
    quantizer = _quantizer(graph, next(iter(node.users)))
    if quantizer is None or not (_moves(module) or traits.limiter):
        return
    if traits.limiter and _limits(quantizer, module):
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    elif source.op == "call_module" and _quantizer(graph, source) is None and len(source.users) == 1:
        _insert(graph, source, copy.deepcopy(quantizer), [node])


def _round_behind(graph: GraphModule, node: Node) -> None:
    """Rounds what an operator gives that only moves integers, as they were rounded before: they stay what they are."""
    module = passes.module_of(graph, node)
    quantizer = _quantizer(graph, node.all_input_nodes[0]) if len(node.all_input_nodes) == 1 else None
    readers = [user for user in node.users if user.op == "call_module" and _quantizer(graph, user) is None]
    if module is not None and quantizer is not None and readers and _moves(module):
        _insert(graph, node, copy.deepcopy(quantizer), readers)


def _moves(module: nn.Module) -> bool:
    return ops.traits_of(module).moves or isinstance(module, nn.MaxPool2d)


def _limits(quantizer: QuantizeDequantize, limiter: nn.Module) -> bool:
    """Whether a quantizer cuts off at least as much as a limiter."""
    low, high = (bound - quantizer.zero_point for bound in limits(quantizer.bits, quantizer.signed))
    bounds = torch.tensor([-torch.inf, torch.inf])
    smallest, largest = (limiter(bounds) / quantizer.scale).tolist()
    return bool(round(smallest) <= low and (largest == torch.inf or high <= round(largest)))


def _affine_as_layer(graph: GraphModule, node: Node) -> None:
    """`x · scale + shift` per channel between integers, as a depthwise convolution of one place."""
    module, source = passes.module_of(graph, node), node.all_input_nodes[0] if node.all_input_nodes else node
    quantizer = _quantizer(graph, source)
    if not isinstance(module, ops.ChannelAffine) or quantizer is None or len(shape_of(node)) != 4:
        return
    channels, unit = module.channels, quantizer.scale
    shift = module.shift.detach().double()
    scale = torch.maximum(module.scale.detach().abs().double() / 127, shift.abs() / unit / _LARGEST_BIAS)
    scale = torch.where(scale == 0, 1.0, scale).float()
    layer = IntegerConv2d(channels, channels, (1, 1), Window(groups=channels), LayerIntegers(input_scale=unit))
    layer.scale.copy_(scale)
    assert layer.bias is not None
    layer.weight.copy_((module.scale.detach() / scale).round().view(-1, 1, 1, 1))
    layer.bias.copy_((shift / layer.bias_scale().double()).round())
    passes.replace_module(graph, node, layer)


def _widen(graph: GraphModule, node: Node) -> None:
    """Where an operator reads or gives 16 bits and 8, it gets 16 on every side."""
    if node.op != "call_module" or _quantizer(graph, node) is not None:
        return
    readers = [user for user in node.users if _quantizer(graph, user)]
    sides = [(source, _quantizer(graph, source)) for source in (*node.all_input_nodes, *readers)]
    if {quantizer.bits for _, quantizer in sides if quantizer is not None} != {8, 16}:
        return
    for side, quantizer in sides:
        if quantizer is not None and quantizer.bits == 8:
            place, reader = (node, side) if side in readers else (side, node)
            _insert(graph, place, _wider(quantizer), [reader])


def _round_slopes(graph: GraphModule, node: Node) -> None:
    module = passes.module_of(graph, node)
    quantizer = _quantizer(graph, node.all_input_nodes[0]) if isinstance(module, nn.PReLU) else None
    if isinstance(module, nn.PReLU) and quantizer is not None:
        module.weight.data = slope_quantizer(module, quantizer.bits)(module.weight.data)
