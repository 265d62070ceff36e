"""Convolutions and linear layers in ncnn, and the activations that it computes in their accumulators.

An integer layer rounds its own input to int8, symmetric, by one scale that is the reciprocal of ours, and gives floats.
A convolution gives int8 instead where all that read it are integer convolutions of one scale.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, IntegerLinear
from bitface.targets.ncnn.model_files import Parameter
from bitface.targets.ncnn.writer import Writer

Layer = nn.Conv2d | nn.Linear | IntegerConv2d | IntegerLinear
IntegerLayer = IntegerConv2d | IntegerLinear

# Of ncnn's int8; -128 is left out.
LARGEST = 127
# Keys of parameters.
INTEGERS, _ACTIVATION, _ACTIVATION_NUMBERS, _FEATURES_LEFT_OUT = 8, 9, 10, 31
# Of the integers: scales for each output channel, or for each group; and the output in int8, too.
_PER_CHANNEL, _PER_GROUP, _INT8_OUTPUT = 2, 1, 100

_WINOGRAD = 1 << 6
# ncnn computes 3x3 convolutions by Winograd's F(4x4, 3x3), in int32 and in units of 1/576 (24², of its two transforms).
_WINOGRAD_UNITS = 576

# What may be computed in a layer's accumulator: ncnn's number of the activation, and its own numbers.
FUSED: dict[type[nn.Module], Callable[[Any], tuple[int, list[float]]]] = {
    nn.ReLU: lambda module: (1, []),
    nn.LeakyReLU: lambda module: (2, [module.negative_slope]),
    ops.Clip: lambda module: (3, [module.low, module.high]),
    nn.Sigmoid: lambda module: (4, []),
    nn.Mish: lambda module: (5, []),
    nn.Hardswish: lambda module: (6, [1 / 6, 0.5]),
}


def depthwise(module: nn.Module) -> bool:
    """Whether each channel of a convolution is read by itself, and gives one."""
    return isinstance(module, nn.Conv2d | IntegerConv2d) and (
        1 < module.groups == module.in_channels == module.out_channels
    )


def in_integers(module: nn.Module | None) -> TypeGuard[IntegerLayer]:
    """Whether ncnn computes a layer in integers: groups of several channels would share a scale, so it doesn't."""
    if not isinstance(module, INTEGER_LAYERS) or not module.input_scale:
        return False
    return isinstance(module, IntegerLinear) or module.groups == 1 or depthwise(module)


def input_scale(layer: IntegerLayer) -> np.float32:
    """Integers per unit."""
    return np.float32(1) / np.float32(layer.input_scale)


def weight_scales(layer: IntegerLayer) -> np.ndarray:
    """Integers per unit, float32 for each output channel."""
    scales: np.ndarray = layer.scale.detach().numpy().astype(np.float32)
    return np.broadcast_to(np.float32(1) / scales, (len(layer.weight),))


def write_convolution(writer: Writer, node: Node, module: nn.Conv2d | IntegerConv2d) -> None:
    if not isinstance(module.padding, tuple):
        raise writer.refusal(node, f"pads by '{module.padding}'")
    groups = int(module.groups)
    output_scale = _output_scale(writer, node, module)
    parameters: dict[int, Parameter] = {
        0: module.out_channels, 1: module.kernel_size[1], 11: module.kernel_size[0],
        2: module.dilation[1], 12: module.dilation[0], 3: module.stride[1], 13: module.stride[0],
        4: module.padding[1], 14: module.padding[0], 5: int(module.bias is not None), 6: module.weight.numel(),
    }  # fmt: skip
    if groups > 1:
        parameters[7] = groups
    if in_integers(module):
        scales = _PER_GROUP if groups > 1 else _PER_CHANNEL
        parameters[INTEGERS] = scales + (_INT8_OUTPUT if output_scale else 0)
        if not _fits_winograd(module):
            parameters[_FEATURES_LEFT_OUT] = _WINOGRAD
    kind = "ConvolutionDepthWise" if groups > 1 else "Convolution"
    writer.layer(kind, node, [writer.read(node.args[0])], parameters | _activation(writer, node))
    _write_numbers(writer, module)
    if output_scale:
        writer.files.numbers(np.array([output_scale]))


def _fits_winograd(layer: IntegerLayer) -> bool:
    """Whether no sum of a layer can leave int32 where ncnn computes it by Winograd; it would come out wrong unseen."""
    largest = int(layer.weight.flatten(1).int().abs().sum(1).max()) * LARGEST
    return layer.weight.shape[2:] != (3, 3) or largest * _WINOGRAD_UNITS < 2**31


def write_linear(writer: Writer, node: Node, module: nn.Linear | IntegerLinear) -> None:
    """On the last axis; ncnn takes one or two of them."""
    parameters: dict[int, Parameter] = {
        0: module.out_features,
        1: int(module.bias is not None),
        2: module.weight.numel(),
    }
    if in_integers(module):
        parameters[INTEGERS] = _PER_CHANNEL
    parameters |= _activation(writer, node)
    x, shape = writer.read(node.args[0]), shape_of(node)[1:]
    if len(shape) <= 2:
        writer.layer("InnerProduct", node, [x], parameters)
        _write_numbers(writer, module)
        return
    rows = writer.part("Reshape", node, "rows", [x], {0: module.in_features, 1: -1})
    result = writer.part("InnerProduct", node, "product", [rows], parameters)
    _write_numbers(writer, module)
    writer.layer("Reshape", node, [result], writer.sides(node, shape))


def _write_numbers(writer: Writer, module: Layer) -> None:
    if in_integers(module):
        writer.files.weights(module.weight.numpy())
    else:
        weight = module.float_weight() if isinstance(module, INTEGER_LAYERS) else module.weight
        writer.files.weights(weight.detach().numpy().astype(np.float32))
    bias = module.float_bias() if isinstance(module, INTEGER_LAYERS) else module.bias
    if bias is not None:
        writer.files.numbers(bias.detach().numpy())
    if in_integers(module):
        writer.files.numbers(weight_scales(module))
        writer.files.numbers(np.array([input_scale(module)]))


def _activation(writer: Writer, node: Node) -> dict[int, Parameter]:
    """The parameters of the activation that is computed in a layer."""
    activation = writer.fused(node)
    if activation is None:
        return {}
    number, values = FUSED[type(activation)](activation)
    return {_ACTIVATION: number, **({_ACTIVATION_NUMBERS: values} if values else {})}


def _output_scale(writer: Writer, node: Node, module: nn.Module) -> np.float32 | None:
    """The one scale of all that read an integer convolution; None: there is none, and floats are handed on."""
    if not in_integers(module):
        return None
    readers = [writer.module_of(reader) for reader in writer.readers(node)]
    scales = {input_scale(one) if in_integers(one) and isinstance(one, IntegerConv2d) else None for one in readers}
    return scales.pop() if len(scales) == 1 else None
