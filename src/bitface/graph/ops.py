"""The vocabulary: every operator a graph may hold, as a module that can be rebuilt from plain attributes.

torch's own modules serve where they exist. The rest are thin modules without state, so that a graph has one
kind of node (`call_module`), besides its input, its output and constants (`get_attr`).
"""

import inspect
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

# Stands for "no limit", as in ONNX; infinity can't be written in JSON.
UNBOUNDED = float(torch.finfo(torch.float32).max)


class Add(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Sub(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b


class Mul(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Div(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a / b


class MatMul(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


class Round(nn.Module):
    """Half to even, as in ONNX."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x)


class Concat(nn.Module):
    """Joins along one axis, which is not the batch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, self.dim)


class Reshape(nn.Module):
    """`[N, …]` → `[N, *tail]`; the batch is never touched, so it stays free."""

    def __init__(self, tail: tuple[int, ...]) -> None:
        super().__init__()
        self.tail = tuple(tail)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.tail)


class Transpose(nn.Module):
    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class Slice(nn.Module):
    """`x[start:end:step]` along one axis; `end` None means to the end."""

    def __init__(self, dim: int, start: int, end: int | None, step: int = 1) -> None:
        super().__init__()
        self.dim, self.start, self.end, self.step = dim, start, end, step

    def forward(self, x: Tensor) -> Tensor:
        index = [slice(None)] * self.dim + [slice(self.start, self.end, self.step)]
        return x[tuple(index)]


class Pad(nn.Module):
    """Constant padding of the last two axes: left, right, top, bottom."""

    def __init__(self, pads: tuple[int, int, int, int], value: float = 0.0) -> None:
        super().__init__()
        self.pads, self.value = tuple(pads), max(float(value), -UNBOUNDED)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.pads, value=self.value)


class ReduceMean(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool = True) -> None:
        super().__init__()
        self.dims, self.keepdim = tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim)


class ReduceL2(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool = True) -> None:
        super().__init__()
        self.dims, self.keepdim = tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(self.dims, keepdim=self.keepdim).sqrt()


class Normalize(nn.Module):
    """Division by the Lp norm along one axis, p 1 or 2; zero stays zero, as in ONNX LpNormalization."""

    def __init__(self, dim: int, p: int = 2) -> None:
        super().__init__()
        self.dim, self.p = dim, p

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, self.p, self.dim)


class Clip(nn.Module):
    """Limits to `[low, high]`; ReLU6 is `Clip(0, 6)`. Where the limits cross, everything is `high`, as in ONNX."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = max(float(low), -UNBOUNDED), min(float(high), UNBOUNDED)

    def forward(self, x: Tensor) -> Tensor:
        if self.low > self.high:
            return x.clamp(self.low, self.high)
        # The same values as clamp, with a backward pass that takes a seventh of the time on CPUs.
        return nn.functional.hardtanh(x, self.low, self.high)


class HardSigmoid(nn.Module):
    """`clip(alpha·x + beta, 0, 1)` with ONNX's free slope; torch's is alpha = 1/6."""

    def __init__(self, alpha: float = 1 / 6, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return (self.alpha * x + self.beta).clamp(0, 1)


class ChannelAffine(nn.Module):
    """`x · scale + shift` per channel (axis 1): what remains of a BatchNorm that can't be folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


BINARY: dict[str, type[nn.Module]] = {"Add": Add, "Sub": Sub, "Mul": Mul, "Div": Div, "MatMul": MatMul}
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)
LAYERS = (nn.Conv2d, nn.Linear)

# Every module a graph may hold, by the name it is stored under.
VOCABULARY: dict[str, type[nn.Module]] = {
    **BINARY,
    "Conv": nn.Conv2d,
    "Linear": nn.Linear,
    "BatchNorm": nn.BatchNorm2d,
    "BatchNorm1d": nn.BatchNorm1d,
    "ChannelAffine": ChannelAffine,
    "Relu": nn.ReLU,
    "PRelu": nn.PReLU,
    "LeakyRelu": nn.LeakyReLU,
    "Clip": Clip,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "HardSigmoid": HardSigmoid,
    "HardSwish": nn.Hardswish,
    "Round": Round,
    "MaxPool": nn.MaxPool2d,
    "AveragePool": nn.AvgPool2d,
    "Concat": Concat,
    "Reshape": Reshape,
    "Transpose": Transpose,
    "Slice": Slice,
    "Pad": Pad,
    "ReduceMean": ReduceMean,
    "ReduceL2": ReduceL2,
    "Normalize": Normalize,
}
_NAME_OF = {module: name for name, module in VOCABULARY.items()}

# Constructor arguments that don't change what a module computes in evaluation.
_IGNORED = {
    "padding_mode",
    "inplace",
    "device",
    "dtype",
    "momentum",
    "affine",
    "track_running_stats",
    "return_indices",
    "init",
}


def register(name: str, kind: type[nn.Module]) -> None:
    """Adds an operator to the vocabulary."""
    VOCABULARY[name] = kind
    _NAME_OF[kind] = name


def op_name(module: nn.Module) -> str | None:
    """The name of a module's operator, or None where it is outside the vocabulary."""
    return _NAME_OF.get(type(module))


def attributes(module: nn.Module) -> dict[str, Any]:
    """The constructor arguments that rebuild a module, as plain JSON values (tensors aside)."""
    result: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in _IGNORED or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            continue
        value = module.bias is not None if name == "bias" else getattr(module, name)
        if value != parameter.default:
            result[name] = list(value) if isinstance(value, tuple) else value
    return result


def rebuild(name: str, values: dict[str, Any]) -> nn.Module:
    """The module of an operator name and its attributes; weights are still to be filled in.

    Raises:
        ValueError: unknown name or attribute.
    """
    if name not in VOCABULARY:
        raise ValueError(f"unknown operator {name!r}")
    kind = VOCABULARY[name]
    unknown = set(values) - (set(inspect.signature(kind).parameters) - _IGNORED)
    if unknown:
        raise ValueError(f"operator {name} has no attribute {sorted(unknown)}")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return without_init(kind, **plain).eval()


def without_init(kind: type[nn.Module], **values: Any) -> nn.Module:
    """A module without the cost, and the draw on the random generator, of initial weights it won't keep."""
    if issubclass(kind, nn.Conv2d | nn.Linear):
        return cast(nn.Module, nn.utils.skip_init(kind, **values))
    return kind(**values)


def tensor(value: Any) -> Tensor:
    """Numbers of any type as a float32 tensor of its own."""
    with np.errstate(over="ignore"):  # too large a float64 becomes infinity, which is refused by name later
        return torch.from_numpy(np.array(value, dtype=np.float32))


def fill(module: nn.Module, **values: Any) -> nn.Module:
    """Puts numbers into a module's parameters and buffers; None is left out."""
    for name, value in values.items():
        if value is not None:
            target = getattr(module, name)
            with torch.no_grad():
                target.copy_(tensor(value).reshape(target.shape))
    return module
