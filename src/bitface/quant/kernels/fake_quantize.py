"""Fake quantization with gradients: one pass over memory forward, one backward."""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bitface.quant.kernels import plain
from bitface.quant.kernels.native import library, pointer


@dataclass(frozen=True)
class Grid:
    """What of a quantizer has no gradient.

    Attributes:
        limits: the smallest and the largest integer.
        inner: the share of the gradient that values inside the range give to the scale: 1 in LSQ (Esser et al. 2020,
            eq. 3), 0 in PACT (Choi et al. 2018, eq. 3).
        sharpness: k of the soft steps of DSQ (Gong et al. 2019, eq. 4), through which the gradient of x passes; 0 for
            straight-through.
    """

    limits: tuple[int, int]
    inner: float = 1.0
    sharpness: float = 0.0


def fake_quantize(
    x: Tensor, scale: Tensor, zero: Tensor, grid: Grid, slope: Tensor | None = None, cap: float = float("inf")
) -> Tensor:
    """`(clamp(round(a / scale) + zero, low, high) - zero) · scale`, differentiable in x, scale, zero and slope.

    The gradient goes straight through the rounding and is zero outside the range.

    Args:
        x: any shape, float32, or bfloat16 with one scale.
        scale, zero: float32 `[1]`, or `[C]` for C equal rows of x (its axis 0); zero points hold whole numbers.
        slope: with one scale: the activation that comes first, `a = min(x if x ≥ 0 else slope · x, cap)`; `[1]`, or
            one for each channel (axis 1 of x). None: a = min(x, cap).
    """
    result: Tensor = _FakeQuantize.apply(x, scale, zero, slope, cap, grid)  # type: ignore[no-untyped-call]
    return result


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, slope: Tensor | None, cap: float, grid: Grid
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero, slope)
        ctx.settings = (cap, grid)
        native = library() if _fits(x, scale) else None
        if native is None:
            result: Tensor = plain.functions(x.device)[0](x, scale, zero, slope, cap, grid.limits)
            return result
        x = _dense(x, len(scale))
        y = torch.empty_like(x)
        limits = _floats(*grid.limits)
        if len(scale) > 1:
            native.weights_forward(pointer(x), pointer(y), *_rows(x, scale), pointer(scale), pointer(zero), *limits)
        else:
            slopes = _slopes(slope)
            native.activations_forward(
                pointer(x), pointer(y), *_numbers(x, slopes), pointer(slopes), *_floats(cap, scale, zero), *limits,
                _half(x),
            )  # fmt: skip
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero, slope = ctx.saved_tensors
        cap, grid = ctx.settings
        native = library() if _fits(x, scale) else None
        if native is None:
            shape = (grid.inner, grid.sharpness)
            gradients = plain.functions(x.device)[1](g, x, scale, zero, slope, cap, grid.limits, shape)
            return *gradients, None, None
        x = _dense(x, len(scale))
        # The same order in memory for both, whatever the layer after it left.
        g = g if g.stride() == x.stride() and g.dtype == x.dtype else torch.empty_like(x).copy_(g)
        gx = torch.empty_like(x)
        sums = torch.empty(2, len(scale), dtype=torch.float64)
        settings = _floats(*grid.limits, grid.inner, grid.sharpness)
        by_slope = None
        if len(scale) > 1:
            native.weights_backward(
                pointer(g), pointer(x), pointer(gx), *_rows(x, scale), pointer(scale), pointer(zero), *settings,
                pointer(sums[0]), pointer(sums[1]),
            )  # fmt: skip
        else:
            slopes = _slopes(slope)
            by_channel = torch.empty(len(slopes), dtype=torch.float64)
            native.activations_backward(
                pointer(g), pointer(x), pointer(gx), *_numbers(x, slopes), pointer(slopes),
                *_floats(cap, scale, zero), *settings, _half(x), pointer(sums[0]), pointer(sums[1]),
                pointer(by_channel),
            )  # fmt: skip
            by_slope = None if slope is None else by_channel.float()
        by_scale, by_zero = sums.float()
        return gx, by_scale, by_zero, by_slope, None, None


def _fits(x: Tensor, scale: Tensor) -> bool:
    """Whether a tensor is for the compiled kernels."""
    kinds = (torch.float32, torch.bfloat16) if len(scale) == 1 else (torch.float32,)
    return x.device.type == "cpu" and x.dtype in kinds and scale.dtype == torch.float32 and x.numel() > 0


def _dense(x: Tensor, scales: int) -> Tensor:
    """`x` in the order that the kernels walk: channels last, or row by row for several scales."""
    if scales == 1 and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()


def _rows(x: Tensor, scale: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(len(scale)), ctypes.c_int64(x.numel() // len(scale))


def _numbers(x: Tensor, slopes: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(x.numel()), ctypes.c_int64(len(slopes))


def _slopes(slope: Tensor | None) -> Tensor:
    return torch.ones(1) if slope is None else slope.detach().contiguous()


def _floats(*values: float | Tensor) -> tuple[ctypes.c_float, ...]:
    return tuple(ctypes.c_float(float(value)) for value in values)


def _half(x: Tensor) -> ctypes.c_int:
    return ctypes.c_int(x.dtype == torch.bfloat16)
