"""Turns a calibrated student into the integer modules of `graph.integer`: the numbers that are stored and shipped."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops, passes
from bitface.graph.builder import tidy
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from bitface.quant.quantizers import Quantizer, UniformQuantizer
from bitface.quant.student import QuantizedConv2d, QuantizedLinear, Student

# Half of what int32 holds, so that the accumulator has room beside the bias.
_LARGEST_BIAS = float(1 << 30)


def freeze(student: Student, outputs: dict[str, UniformQuantizer] | None = None) -> GraphModule:
    """The integer graph of a student. The student itself is left as it was.

    Args:
        outputs: quantizers for outputs that nothing rounds, as `output_ranges` gives them.
    """
    graph = copy.deepcopy(student.graph)
    for node in list(graph.graph.nodes):
        module = passes.module_of(graph, node)
        if isinstance(module, QuantizedConv2d | QuantizedLinear):
            source = passes.input_module(graph, node)
            input_scale = source.scale.item() if isinstance(source, Quantizer) else 0.0
            _set(graph, node, integer_layer(module, input_scale, (outputs or {}).get(str(node.target))))
    for node in list(graph.graph.nodes):
        module = passes.module_of(graph, node)
        if isinstance(module, Quantizer):
            numbers = (module.scale.item(), int(module.zero_point.item()), module.bits, module.signed)
            _set(graph, node, QuantizeDequantize(*numbers))
    return tidy(graph)


def integer_layer(
    layer: QuantizedConv2d | QuantizedLinear, input_scale: float, output: UniformQuantizer | None = None
) -> IntegerConv2d | IntegerLinear:
    """The integers of one layer; `input_scale` 0 for a float input."""
    quantizer = layer.weight_quantizer
    assert isinstance(quantizer, UniformQuantizer), "learned numbers are settled first"
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    if input_scale and bias is not None:
        _fit_scale_to_bias(quantizer, weight, bias, input_scale)
    options: dict[str, Any] = {
        "bits": quantizer.bits,
        "input_scale": input_scale,
        "per_channel": quantizer.channels > 1 or len(weight) == 1,
        "asymmetric": not quantizer.symmetric,
        "output_scale": output.scale.item() if output else 0.0,
        "output_zero_point": int(output.zero_point.item()) if output else 0,
    }
    kind: type[IntegerConv2d] | type[IntegerLinear] = IntegerConv2d if isinstance(layer, nn.Conv2d) else IntegerLinear
    shape = {key: value for key, value in ops.attributes(layer).items() if key != "bias"}
    result = ops.construct(kind, **shape, bias=bias is not None, **options)
    result.weight.copy_(quantizer.integers(weight))
    result.scale.copy_(quantizer.scale)
    if result.zero_point is not None:
        result.zero_point.copy_(quantizer.zero_point)
    if result.bias is not None and bias is not None:
        result.bias.copy_(torch.round(bias.double() / result.bias_scale().double()) if input_scale else bias)
    return result.eval()


def _fit_scale_to_bias(quantizer: UniformQuantizer, weight: Tensor, bias: Tensor, input_scale: float) -> None:
    """Raises the scale of channels whose weights are so small that their bias would leave int32.

    Where all weights are 0, any scale will do, and the bias gets the finest.
    """
    smallest_scale = (bias.abs().double() / (input_scale * _LARGEST_BIAS)).float()
    smallest_scale = smallest_scale if quantizer.channels > 1 else smallest_scale.max().reshape(1)
    silent = (weight.reshape(quantizer.channels, -1) == 0).all(1) & (smallest_scale > 0)
    quantizer.scale = torch.where(silent, smallest_scale, torch.maximum(quantizer.scale, smallest_scale))


def _set(graph: GraphModule, node: Node, module: nn.Module) -> None:
    holder, _, leaf = str(node.target).rpartition(".")
    setattr(graph.get_submodule(holder), leaf, module)
