"""An integer engine in numpy: runs an ONNX file of the `onnxruntime` profile from its initialisers, node by node.

It knows the arithmetic that ONNX Runtime's kernels document or show: sums of products in integers, one float32
multiplier `input_scale · weight_scale / output_scale` per channel, rounding half to even, saturation; additions in
float32 with fused multiply-add. A bias in float is rounded to the unit of the sums. Whatever a pair of Dequantize and
Quantize makes of a layer is decided when the Quantize is met, so a layer's result is kept until then as its
accumulators (`Pending`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray


@dataclass
class Integers:
    """Integers with the scale and the zero point that give them their meaning, on axis 0 where there are several."""

    values: Array
    scale: Array
    zero: Array

    def centred(self) -> Array:
        shape = (-1,) + (1,) * (self.values.ndim - 1) if self.zero.size > 1 else ()
        return self.values.astype(np.float64) - self.zero.astype(np.float64).reshape(shape)

    def real(self) -> Array:
        assert self.scale.size == 1
        return self.centred().astype(np.float32) * self.scale


@dataclass
class Pending:
    """A result that nobody has rounded yet."""

    rounded: Callable[[np.float32, int], Array]
    real: Callable[[], Array]

    def quantize(self, scale: Array, zero: Array) -> Array:
        limits = np.iinfo(zero.dtype)
        values = self.rounded(np.float32(scale), int(zero))
        return np.clip(values, limits.min, limits.max).astype(zero.dtype)


def run(model: onnx.ModelProto, image: Array) -> Array:
    """The output for a float32 image batch."""
    values: dict[str, Any] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    values[model.graph.input[0].name] = image
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values[node.output[0]] = _OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
    return _real(values[model.graph.output[0].name])


def _real(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) else value.real()


def _quantize(x: Any, scale: Array, zero: Array) -> Array:
    if isinstance(x, Pending):
        return x.quantize(scale, zero)
    limits = np.iinfo(zero.dtype)
    rounded = np.rint(_real(x) / np.float32(scale)) + np.float32(zero)
    return np.clip(rounded, limits.min, limits.max).astype(zero.dtype)


def _accumulators(sums: Array, scale: Array) -> Pending:
    """Exact sums `[N, C, …]` in units of `scale` (float32, one or per channel)."""
    sums = sums.astype(np.float32)  # as the integers are converted
    scale = scale.reshape(-1, *[1] * (sums.ndim - 2)) if scale.size > 1 else scale.reshape(())
    return Pending(
        lambda output_scale, zero: np.rint(sums * (scale / output_scale)).astype(np.float64) + zero,
        lambda: sums * scale,
    )


def _conv(
    x: Integers,
    weight: Integers,
    bias: Integers | Array | None = None,
    *,
    kernel_shape: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    group: int,
) -> Pending:
    top, left, bottom, right = pads
    padded = np.pad(x.centred(), ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    batch, _, height, width, *kernel = windows.shape
    kernels = weight.centred().reshape(group, -1, weight.values.shape[1], *kernel)
    parts = windows.reshape(batch, group, -1, height, width, *kernel)
    sums = np.einsum("ngihwkl,goikl->ngohw", parts, kernels, optimize=True).reshape(batch, -1, height, width)
    sums = sums + _bias(bias, x.scale * weight.scale).reshape(-1, 1, 1)
    return _accumulators(sums, x.scale * weight.scale)


def _gemm(x: Integers, weight: Integers, bias: Integers | Array | None = None, *, transB: int) -> Pending:
    scale = x.scale * weight.scale
    return _accumulators(x.centred() @ weight.centred().T + _bias(bias, scale), scale)


def _bias(bias: Integers | Array | None, scale: Array) -> Array:
    """In units of the sums."""
    if bias is None:
        return np.zeros(1)
    return bias.values if isinstance(bias, Integers) else np.rint(bias / scale).astype(np.float64)


def _add(a: Any, b: Any) -> Any:
    if not isinstance(a, Integers) or not isinstance(b, Integers):
        return _real(a) + _real(b)

    def rounded(scale: np.float32, zero: int) -> Array:
        by_a, by_b = a.scale / scale, b.scale / scale
        fixed = np.float32(zero) - _fused(a.zero, by_a, by_b * np.float32(b.zero))
        return np.rint(_fused(a.values, by_a, _fused(b.values, by_b, fixed))).astype(np.float64)

    return Pending(rounded, lambda: a.real() + b.real())


def _fused(x: Array, y: Array, z: Array) -> Array:
    """`x · y + z`, rounded once (but for the rare double rounding)."""
    return (x.astype(np.float64) * np.float64(y) + z.astype(np.float64)).astype(np.float32)


def _relu(x: Any) -> Any:
    return _clip(x, np.float32(0), np.float32(np.inf))


def _clip(x: Any, low: Any, high: Any) -> Any:
    """In front of a Quantize the limits act on integers, where rounding keeps the order."""
    if not isinstance(x, Pending):
        return np.clip(x if isinstance(x, np.ndarray) else x.real(), low, high)

    def rounded(scale: np.float32, zero: int) -> Array:
        bounds = [np.rint(np.float32(bound) / scale) + zero for bound in (low, high)]
        return np.clip(x.rounded(scale, zero), *bounds)

    return Pending(rounded, lambda: np.clip(x.real(), low, high))


def _max_pool(x: Any, **window: Any) -> Pending:
    def pooled(values: Array) -> Array:
        top, left, bottom, right = window["pads"]
        padded = np.pad(
            values.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=-np.inf
        )
        parts = np.lib.stride_tricks.sliding_window_view(padded, window["kernel_shape"], (2, 3))
        return parts[:, :, :: window["strides"][0], :: window["strides"][1]].max((-2, -1))

    assert isinstance(x, Pending)
    assert not window["ceil_mode"]
    return Pending(lambda scale, zero: pooled(x.rounded(scale, zero)), lambda: pooled(x.real()))


def _reshape(x: Any, shape: Array) -> Any:
    assert isinstance(x, Integers)
    return Integers(x.values.reshape(x.values.shape[0], *shape[1:]), x.scale, x.zero)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": lambda values, scale, zero=np.zeros((), np.int32), axis=0: Integers(values, scale, zero),
    "Neg": lambda values: -values,
    "Conv": _conv,
    "Gemm": _gemm,
    "Add": _add,
    "Mul": lambda a, b: _real(a) * _real(b),
    "Min": lambda a, b: np.minimum(_real(a), _real(b)),
    "Relu": _relu,
    "Clip": _clip,
    "MaxPool": _max_pool,
    "Reshape": _reshape,
}
