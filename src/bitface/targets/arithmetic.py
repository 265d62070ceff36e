"""The arithmetic of `docs/artifact.md` in torch: an integer graph whose sums are exact, with one rounding after each.

A graph as it is adds float32 products, whose order depends on the batch and the machine. Where a value lies between two
levels that decides, and 4-bit networks amplify it: one level of 400,000 that differed has turned embeddings to a cosine
of 0.81. Integers have no order. Layers in float keep torch's.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops
from bitface.graph.builder import tidy
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, IntegerLinear, QuantizeDequantize, limits
from bitface.graph.passes import input_module, module_of, replace_module

# Every integer up to it is a float32.
_EXACT = 1 << 24


@dataclass(frozen=True)
class Rounding:
    """What rounds the output of a node that nothing else reads, with the activations on the way.

    Attributes:
        slopes: below zero, of a PReLU or a leaky ReLU: one for all channels, or one for each; None: there is none.
        limits: that the numbers are kept within, in turn.
        nodes: the activations and the quantizer, which is the last.
    """

    slopes: np.ndarray | None
    limits: tuple[tuple[float, float], ...]
    quantizer: QuantizeDequantize
    nodes: tuple[Node, ...]

    def integers(self) -> tuple[int, int]:
        """The smallest and the largest of the quantizer's integers within all limits."""
        lowest, highest = limits(self.quantizer.bits, self.quantizer.signed)
        scale, zero = float(np.float32(self.quantizer.scale)), self.quantizer.zero_point
        for ends in self.limits:
            # Beyond all integers, but no infinity.
            inside = (int(np.rint(np.float32(min(max(end / scale, -1e9), 1e9)))) + zero for end in ends)
            low, high = (min(max(end, lowest), highest) for end in inside)
            lowest, highest = (min(max(end, low), high) for end in (lowest, highest))
        return lowest, highest


def rounding(graph: GraphModule, node: Node, slopes: bool) -> Rounding | None:
    """Of a node's output; None: something else reads it, or nothing rounds it.

    Args:
        slopes: whether a PReLU or a leaky ReLU may come first.
    """
    slope, ends, nodes = None, [], []
    if slopes and (after := _only_reader(graph, node, nn.PReLU, nn.LeakyReLU)):
        node, module = after
        slope = slopes_of(module)
        nodes.append(node)
    while after := _only_reader(graph, node, nn.ReLU, ops.Clip):
        node, module = after
        ends.append(limits_of(module))
        nodes.append(node)
    last = _only_reader(graph, node, QuantizeDequantize)
    if last is None:
        return None
    node, quantizer = last
    assert isinstance(quantizer, QuantizeDequantize)
    return Rounding(slope, tuple(ends), quantizer, (*nodes, node))


def _only_reader(graph: GraphModule, node: Node, *kinds: type[nn.Module]) -> tuple[Node, nn.Module] | None:
    """The only reader of a node, if it is one of these operators."""
    readers = list(node.users)
    if len(readers) != 1:
        return None
    module = module_of(graph, readers[0])
    return (readers[0], module) if isinstance(module, kinds) else None


def slopes_of(module: nn.Module) -> np.ndarray:
    """Below zero: one for all channels, or one for each."""
    if isinstance(module, nn.LeakyReLU):
        return np.array([module.negative_slope], np.float32)
    assert isinstance(module, nn.PReLU)
    return module.weight.detach().numpy().astype(np.float32)


def limits_of(module: nn.Module) -> tuple[float, float]:
    if isinstance(module, nn.ReLU):
        return 0.0, ops.UNBOUNDED
    assert isinstance(module, ops.Clip)
    return module.low, module.high


def affine_of(module: Any) -> tuple[np.ndarray, np.ndarray]:
    """Factors and shifts of each channel; of a BatchNorm, computed in double precision."""
    if isinstance(module, ops.ChannelAffine):
        return module.scale.detach().numpy(), module.shift.detach().numpy()
    factors = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
    shifts = module.bias.double() - module.running_mean.double() * factors
    return factors.detach().float().numpy(), shifts.detach().float().numpy()


def multipliers(layer: IntegerConv2d | IntegerLinear, scale: float | None) -> np.ndarray:
    """Of a sum, float32 for each output: in units of the next scale, or where floats are wanted, of the sum's own."""
    own: np.ndarray = layer.scale.detach().numpy().astype(np.float64) * float(np.float32(layer.input_scale))
    result = (own if scale is None else own / float(np.float32(scale))).astype(np.float32)
    return np.repeat(result, len(layer.weight) // len(result))


def weights_of(layer: IntegerConv2d | IntegerLinear) -> np.ndarray:
    """int64, less their zero points."""
    weight: np.ndarray = layer.weight.numpy().astype(np.int64)
    if layer.zero_point is not None:
        weight = weight - layer.zero_point.numpy().reshape(-1, *[1] * (weight.ndim - 1))
    return weight


def bias_of(layer: IntegerConv2d | IntegerLinear) -> np.ndarray:
    """int64, limited so that no sum leaves 32 bits; a bias so large belongs to a channel without weights to speak of.

    Raises:
        ValueError: the products alone are too large.
    """
    weight = weights_of(layer).reshape(len(layer.weight), -1)
    bias = np.zeros(len(weight), np.int64) if layer.bias is None else layer.bias.numpy().astype(np.int64)
    room = 2**31 - 1 - 2 * 255 * np.abs(weight).sum(1)
    if room.min() < 0:
        raise ValueError
    return np.clip(bias, -room, room)


class ExactLayer(nn.Module):
    """A layer of integers, with what rounds its output if anything does."""

    multipliers: Tensor
    weight: Tensor
    bias: Tensor
    slopes: Tensor | None

    def __init__(self, layer: IntegerConv2d | IntegerLinear, source: QuantizeDequantize, after: Rounding | None):
        super().__init__()
        self.after, self.input_scale = after, source.scale
        self.layer = layer
        weight, bias = weights_of(layer), bias_of(layer)
        most = np.abs(weight).reshape(len(weight), -1).sum(1) * (2**source.bits - 1) + np.abs(bias)
        kind = torch.float32 if most.max() < _EXACT else torch.float64
        self.channels = (-1, 1, 1) if isinstance(layer, IntegerConv2d) else (-1,)
        self.register_buffer("weight", torch.from_numpy(weight).to(kind))
        self.register_buffer("bias", torch.from_numpy(bias).to(kind))
        factors = multipliers(layer, None if after is None else after.quantizer.scale)
        self.register_buffer("multipliers", torch.from_numpy(factors).view(self.channels))
        slopes = None if after is None or after.slopes is None else torch.from_numpy(after.slopes).view(self.channels)
        self.register_buffer("slopes", slopes)

    def forward(self, x: Tensor) -> Tensor:
        integers = torch.round(x / self.input_scale).to(self.weight.dtype)
        layer = self.layer
        if isinstance(layer, IntegerConv2d):
            window = layer.stride, layer.padding, layer.dilation, layer.groups
            sums = nn.functional.conv2d(integers, self.weight, self.bias, *window)
        else:
            sums = nn.functional.linear(integers, self.weight, self.bias)
        t = sums.float().mul_(self.multipliers)
        if self.after is None:
            return t
        if self.slopes is not None:
            t = torch.where(t < 0, t * self.slopes, t)
        quantizer, (low, high) = self.after.quantizer, self.after.integers()
        levels = t.round_().add_(quantizer.zero_point).clamp_(low, high)
        return levels.sub_(quantizer.zero_point).mul_(quantizer.scale)


class _Average(nn.Module):
    """Row by row, pixel by pixel; a whole map where no window is named."""

    def __init__(self, window: tuple[int, int] | None, stride: tuple[int, int], keepdim: bool = True) -> None:
        super().__init__()
        self.window, self.stride, self.keepdim = window, stride, keepdim

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.window or x.shape[2:]
        parts = x.unfold(2, height, self.stride[0]).unfold(3, width, self.stride[1])
        total = torch.zeros_like(parts[..., 0, 0])
        for row in range(height):
            for column in range(width):
                total = total + parts[..., row, column]
        return total / (height * width) if self.keepdim else (total / (height * width)).flatten(1)


class _Normalize(nn.Module):
    """Of `[N, D]`, or with sides of 1 behind it."""

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[:, :1])
        for column in range(x.shape[1]):
            total = total + x[:, column : column + 1] * x[:, column : column + 1]
        return x / torch.sqrt(total).clamp(min=1e-12)


def exponential(x: Tensor) -> Tensor:
    """e^x of float32, to 1.1 units of the last digit, by additions and multiplications in a written order."""
    within = x.clamp(-87, 88)
    power = torch.round(within * 1.44269502)
    r = (within - power * 0.693359375) - power * -float.fromhex("0x1.bd0106p-13")
    p = torch.full_like(x, 0.001395170227624476)
    for coefficient in (0.008369592018425465, 0.0416661873459816, 0.16666513681411743, 0.5):
        p = p * r + coefficient
    return (((p * r) * r + r) + 1) * ((power.int() + 127) << 23).view(torch.float32)


def _tanh(x: Tensor) -> Tensor:
    z = x * x
    p = torch.full_like(x, -0.005717036779969931)
    for coefficient in (0.020650578662753105, -0.05374349653720856, 0.13331490755081177, -0.3333328366279602):
        p = p * z + coefficient
    large = 1 - 2 / (exponential(x.abs().clamp(max=10) * 2) + 1)
    return torch.where(x.abs() < 0.625, (p * z) * x + x, torch.where(x < 0, -large, large))


class _Elementwise(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _affine(module: Any) -> nn.Module:
    factors, shifts = affine_of(module)
    result = ops.ChannelAffine(len(factors))
    result.scale.data.copy_(torch.from_numpy(factors))
    result.shift.data.copy_(torch.from_numpy(shifts))
    return result


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _average(module: Any) -> nn.Module | None:
    if _pair(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override:
        return None
    return _Average(_pair(module.kernel_size), _pair(module.stride))


# In another order than torch's; None: as torch computes it.
_OPERATORS: dict[str, Callable[[Any], nn.Module | None]] = {
    "BatchNorm": _affine,
    "BatchNorm1d": _affine,
    "AveragePool": _average,
    "ReduceMean": lambda module: _Average(None, (1, 1), module.keepdim) if tuple(module.dims) == (2, 3) else None,
    "Normalize": lambda module: _Normalize() if module.p == 2 and module.dim == 1 else None,
    "Sigmoid": lambda module: _Elementwise(lambda x: 1 / (1 + exponential(-x))),
    "Tanh": lambda module: _Elementwise(_tanh),
    "Silu": lambda module: _Elementwise(lambda x: x / (1 + exponential(-x))),
    "HardSwish": lambda module: _Elementwise(lambda x: x * (x + 3).clamp(0, 6) / 6),
    "HardSigmoid": lambda module: _Elementwise(lambda x: (x * module.alpha + module.beta).clamp(0, 1)),
}


def exact(graph: GraphModule) -> GraphModule:
    """A graph that computes a network of integers as it is written; `graph` itself is left as it was."""
    if not any(isinstance(module, QuantizeDequantize) for module in graph.modules()):
        return graph
    graph = copy.deepcopy(graph)
    exact_layers = {}
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if isinstance(module, INTEGER_LAYERS):
            source = input_module(graph, node) if module.input_scale else None
            if isinstance(source, QuantizeDequantize) and source.bits <= 8:
                exact_layers[node] = ExactLayer(module, source, rounding(graph, node, slopes=True))
        elif module is not None and (replacement := _OPERATORS.get(ops.op_name(module) or "", _same)(module)):
            replace_module(graph, node, replacement)
    for node, layer in exact_layers.items():
        replace_module(graph, node, layer)
        for after in layer.after.nodes if layer.after else ():
            after.replace_all_uses_with(node)
    return tidy(graph)


def _same(module: Any) -> None:
    return None
