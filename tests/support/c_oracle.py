"""The arithmetic of `docs/artifact.md` ("Arithmetic") in numpy, slow and obvious: what the C must give, bit for bit.

It walks the graph of a network node by node, with the channels first. A tensor is its integers with what they mean, or
float32. A layer whose output is rounded, if only after a PReLU and limits, is computed when the quantizer is met, so
what lies between is kept until then (`Sums`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule

from bitface.graph import ops
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize, limits
from bitface.graph.passes import module_of

Array = np.ndarray
F = np.float32


@dataclass
class Integers:
    """`(values - zero) · scale`; int64 `[N, …]`."""

    values: Array
    scale: np.float32
    zero: int

    def real(self) -> Array:
        return (self.values - self.zero).astype(F) * self.scale


@dataclass
class Sums:
    """A layer's sums, int64 `[N, C, …]`, in units of input_scale · scale (float64, per channel), and activations."""

    values: Array
    scale: Array
    slope: Array | None = None
    limits: list[tuple[float, float]] = field(default_factory=list)

    def real(self) -> Array:
        t = self.values.astype(F) * _channels(self.scale.astype(F), self.values)
        if self.slope is not None:
            t = np.where(t < 0, t * _channels(self.slope, t), t)
        for low, high in self.limits:
            t = _limited(t, low, high)
        return t

    def rounded(self, scale: np.float32, zero: int, low: int, high: int) -> Array:
        t = self.values.astype(F) * _channels((self.scale / np.float64(scale)).astype(F), self.values)
        if self.slope is not None:
            t = np.where(t < 0, t * _channels(self.slope, t), t)
        q = np.clip(np.rint(t).astype(np.float64) + zero, low, high)
        for lowest, highest in self.limits:
            ends = [np.clip(np.rint(F(np.float64(end) / np.float64(scale))) + zero, low, high)
                    for end in (max(lowest, -1e30), min(highest, 1e30))]  # fmt: skip
            q = np.clip(q, *ends)
        return q.astype(np.int64)


def run(graph: GraphModule, images: Array) -> Array:
    """The embeddings of a float32 batch."""
    values: dict[Any, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = images.astype(F)
        elif node.op == "get_attr":
            values[node] = graph.get_buffer(str(node.target)).numpy()
        elif node.op == "output":
            return _real(values[node.all_input_nodes[0]])
        else:
            module: Any = module_of(graph, node)
            operands = [values[source] for source in node.args]
            # Only what nobody else reads is rounded with its layer.
            if not isinstance(module, QuantizeDequantize):
                operands = [_alone(one, source) for one, source in zip(operands, node.args, strict=True)]
            elif len(node.args[0].users) > 1:
                operands = [_real(operands[0]) if isinstance(operands[0], Sums) else operands[0]]
            values[node] = _OPERATORS[ops.op_name(module)](module, *operands)
    raise AssertionError("no output")


def _alone(value: Any, node: Any) -> Any:
    return _real(value) if isinstance(value, Sums) and len(node.users) > 1 else value


def _real(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) else value.real()


def _channels(numbers: Array, like: Array) -> Array:
    return np.reshape(numbers, (1, -1) + (1,) * (like.ndim - 2)) if np.size(numbers) > 1 else np.reshape(numbers, ())


def _limited(t: Array, low: float, high: float) -> Array:
    return np.minimum(np.maximum(t, F(low)), F(high))


def _quantize(module: QuantizeDequantize, x: Any) -> Integers:
    scale, (low, high) = F(module.scale), limits(module.bits, module.signed)
    if isinstance(x, Sums):
        return Integers(x.rounded(scale, module.zero_point, low, high), scale, module.zero_point)
    q = np.clip(np.rint(_real(x) / scale).astype(np.float64) + module.zero_point, low, high)
    return Integers(q.astype(np.int64), scale, module.zero_point)


def _layer(module: Any, x: Any) -> Any:
    if not isinstance(module, INTEGER_LAYERS) or not module.input_scale:
        return _float_layer(module, _real(x))
    weight = module.weight.numpy().astype(np.int64)
    if weight.ndim == 4:
        weight_, inputs = torch.from_numpy(weight).double(), torch.from_numpy(x.values - x.zero).double()
        window: Any = module.stride, module.padding, module.dilation, module.groups
        sums = nn.functional.conv2d(inputs, weight_, None, *window).numpy()  # exact: below 2^53
    else:
        sums = (x.values - x.zero) @ weight.T
    if module.bias is not None:
        room = 2**31 - 1 - 510 * np.abs(weight).reshape(len(weight), -1).sum(1)
        sums = sums + _channels(np.clip(module.bias.numpy().astype(np.int64), -room, room), sums)
    scale = module.scale.numpy().astype(np.float64) * np.float64(F(module.input_scale))
    return Sums(sums.astype(np.int64), np.broadcast_to(scale, (len(weight),)))


def _float_layer(module: Any, x: Array) -> Array:
    """Products in the order of rows, columns, input channels, added one by one in float32; the bias last."""
    integers = isinstance(module, INTEGER_LAYERS)
    weight = (module.float_weight() if integers else module.weight).detach().numpy()
    bias = module.float_bias() if integers else module.bias
    added = np.zeros(len(weight), F) if bias is None else bias.detach().numpy()
    if weight.ndim == 2:
        weight, x = weight[:, :, None, None], x[:, :, None, None]
        window = (1, 1), (0, 0), (1, 1), 1
    else:
        window = module.stride, module.padding, module.dilation, module.groups
    (down, right), (top, left), (dilated_down, dilated_right), groups = window
    outputs, inputs, height, width = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    out_height = (x.shape[2] - (height - 1) * dilated_down - 1) // down + 1
    out_width = (x.shape[3] - (width - 1) * dilated_right - 1) // right + 1
    result = np.zeros((len(x), outputs, out_height, out_width), F)
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for i in range(height):
            for j in range(width):
                rows = slice(i * dilated_down, i * dilated_down + (out_height - 1) * down + 1, down)
                columns = slice(j * dilated_right, j * dilated_right + (out_width - 1) * right + 1, right)
                for c in range(inputs):
                    result[:, o] += x[:, first + c, rows, columns] * weight[o, c, i, j]
    result += added.reshape(-1, 1, 1)
    return result if not isinstance(module, nn.Linear) and hasattr(module, "stride") else result[:, :, 0, 0]


def _prelu(slope: Array) -> Callable[[Any], Any]:
    def activate(x: Any) -> Any:
        if isinstance(x, Sums) and x.slope is None and not x.limits:
            return replace(x, slope=slope)
        x = _real(x)
        return np.where(x < 0, x * _channels(slope, x), x)

    return activate


def _limit(low: float, high: float, x: Any) -> Any:
    if isinstance(x, Sums):
        return replace(x, limits=[*x.limits, (low, high)])
    return _limited(_real(x), low, high)


def _batch_norm(module: Any, x: Any) -> Array:
    scale = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
    shift = module.bias.double() - module.running_mean.double() * scale
    return _affine(scale.detach().float().numpy(), shift.detach().float().numpy(), x)


def _affine(scale: Array, shift: Array, x: Any) -> Array:
    x = _real(x)
    return x * _channels(scale, x) + _channels(shift, x)


def exponential(x: Array) -> Array:
    within = _limited(x, -87, 88)
    power = np.rint(within * F(1.44269502))
    r = (within - power * F(0.693359375)) - power * -F(float.fromhex("0x1.bd0106p-13"))
    p = np.full_like(x, 0.001395170227624476)
    for coefficient in (0.008369592018425465, 0.0416661873459816, 0.16666513681411743, 0.5):
        p = p * r + F(coefficient)
    return (((p * r) * r + r) + F(1)) * np.exp2(power).astype(F)


def _tanh(x: Array) -> Array:
    z = x * x
    p = np.full_like(x, -0.005717036779969931)
    for coefficient in (0.020650578662753105, -0.05374349653720856, 0.13331490755081177, -0.3333328366279602):
        p = p * z + F(coefficient)
    large = F(1) - F(2) / (exponential(_limited(np.abs(x), 0, 10) * F(2)) + F(1))
    return np.where(np.abs(x) < F(0.625), (p * z) * x + x, np.where(x < 0, -large, large))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _max_pool(module: nn.MaxPool2d, x: Any) -> Any:
    """Levels keep their order."""
    values = x.values if isinstance(x, Integers) else _real(x)
    pooled = module(torch.from_numpy(values.astype(np.float64))).numpy()
    return replace(x, values=pooled.astype(np.int64)) if isinstance(x, Integers) else pooled.astype(F)


def _average(x: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    parts = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]
    total = np.zeros(parts.shape[:4], F)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            total += parts[..., i, j]
    return total / F(kernel[0] * kernel[1])


def _mean(module: Any, x: Any) -> Array:
    x = _real(x)
    assert tuple(module.dims) == (2, 3)
    result = _average(x, x.shape[2:], (1, 1))
    return result if module.keepdim else result[:, :, 0, 0]


def _reshape(module: Any, x: Any) -> Any:
    if isinstance(x, Integers):
        return replace(x, values=x.values.reshape(len(x.values), *module.tail))
    return _real(x).reshape(len(_real(x)), *module.tail)


def _normalize(module: Any, x: Any) -> Array:
    rows = _real(x)
    total = np.zeros(len(rows), F)
    for column in rows.reshape(len(rows), -1).T:
        total += column * column
    return rows / np.maximum(np.sqrt(total), F(1e-12)).reshape(-1, *[1] * (rows.ndim - 1))


_OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeDequantize": _quantize,
    **dict.fromkeys(("IntegerConv", "IntegerLinear", "Conv", "Linear"), _layer),
    "PRelu": lambda module, x: _prelu(module.weight.detach().numpy())(x),
    "LeakyRelu": lambda module, x: _prelu(np.array([module.negative_slope], F))(x),
    "Relu": lambda module, x: _limit(0.0, np.inf, x),
    "Clip": lambda module, x: _limit(module.low, module.high, x),
    "BatchNorm": _batch_norm,
    "BatchNorm1d": _batch_norm,
    "ChannelAffine": lambda module, x: _affine(module.scale.detach().numpy(), module.shift.detach().numpy(), x),
    "Add": lambda module, a, b: _real(a) + _real(b),
    "Sub": lambda module, a, b: _real(a) - _real(b),
    "Mul": lambda module, a, b: _real(a) * _real(b),
    "Div": lambda module, a, b: _real(a) / _real(b),
    "Max": lambda module, a, b: np.maximum(_real(a), _real(b)),
    "Min": lambda module, a, b: np.minimum(_real(a), _real(b)),
    "Sigmoid": lambda module, x: F(1) / (F(1) + exponential(-_real(x))),
    "Tanh": lambda module, x: _tanh(_real(x)),
    "Silu": lambda module, x: _real(x) / (F(1) + exponential(-_real(x))),
    "HardSwish": lambda module, x: _real(x) * _limited(_real(x) + F(3), 0, 6) / F(6),
    "HardSigmoid": lambda module, x: _limited(_real(x) * F(module.alpha) + F(module.beta), 0, 1),
    "MaxPool": _max_pool,
    "AveragePool": lambda module, x: _average(_real(x), _pair(module.kernel_size), _pair(module.stride)),
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Concat": lambda module, *parts: np.concatenate([_real(part) for part in parts], module.dim),
    "Normalize": _normalize,
}
