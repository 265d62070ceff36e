"""The quantizers' mathematics in whole-tensor operations: for any device, and for CPUs without a compiler.

On a GPU a step of them moves a tensor through memory some ten times, so `torch.compile` makes one kernel of each
function, where a trial finds that faster.
"""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_TRIED = (64, 32, 56, 56)  # an activation of a small network


def activated(x: Tensor, slope: Tensor | None, cap: float) -> Tensor:
    """`min(x if x ≥ 0 else slope · x, cap)`; a slope None is 1."""
    if slope is not None:
        x = torch.where(x < 0, _by_channel(slope, x) * x, x)
    return x.clamp(max=cap)


def forward(
    x: Tensor, scale: Tensor, zero: Tensor, slope: Tensor | None, cap: float, limits: tuple[int, int]
) -> Tensor:
    """See `fake_quantize`."""
    a = activated(x.float(), slope, cap)
    s, z = _beside(scale, x), _beside(zero, x)
    return (((torch.round(a / s) + z).clamp(*limits) - z) * s).to(x.dtype)


def backward(
    g: Tensor,
    x: Tensor,
    scale: Tensor,
    zero: Tensor,
    slope: Tensor | None,
    cap: float,
    limits: tuple[int, int],
    shape: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The gradients of x, scale, zero and slope; `shape` holds `inner` and `sharpness` of the grid."""
    inner, sharpness = shape
    kind, g, x = x.dtype, g.to(scale.dtype), x.to(scale.dtype)
    s, z = _beside(scale, x), _beside(zero, x)
    a = activated(x, slope, cap)
    v = a / s
    q = torch.round(v) + z
    clamped = q.clamp(*limits)
    inside = q == clamped
    by_scale = g * torch.where(inside, inner * (q - z - v), clamped - z)
    by_zero = torch.where(inside, torch.zeros_like(g), -g) * s
    axes = list(range(1 if len(scale) > 1 else 0, x.dim()))
    by_scale, by_zero = (_sum(part, axes).reshape(scale.shape).to(scale.dtype) for part in (by_scale, by_zero))
    gx = g * inside
    if sharpness:
        k = torch.full((), sharpness, dtype=x.dtype, device=x.device)
        gx = gx * (k / (2 * torch.tanh(k / 2))) * (1 - torch.tanh(k * (v - torch.floor(v) - 0.5)).square())
    if slope is None:
        return (gx * (x <= cap)).to(kind), by_scale, by_zero, None
    rates = _by_channel(slope, x)
    gx = gx * (torch.where(x < 0, rates * x, x) <= cap)
    parts = torch.where(x < 0, gx * x, torch.zeros_like(x))
    others = [axis for axis in range(x.dim()) if axis != 1 or len(slope) == 1]
    by_slope = _sum(parts, others).reshape(slope.shape).to(slope.dtype)
    return torch.where(x < 0, rates * gx, gx).to(kind), by_scale, by_zero, by_slope


def functions(device: torch.device) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`forward` and `backward` for a device: compiled on a GPU, where that pays."""
    return (forward, backward) if device.type != "cuda" else _fastest(device)


@lru_cache
def _fastest(device: torch.device) -> tuple[Callable[..., Any], Callable[..., Any]]:
    plain = (forward, backward)
    if os.environ.get("BITFACE_KERNELS") == "0":
        return plain
    try:
        quick = compiled()
        return quick if _seconds(quick, device) < _seconds(plain, device) else plain
    except Exception:  # whatever a compiler may fail of; what isn't compiled computes the same
        return plain


def compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`forward` and `backward` as one kernel each, for tensors of any size."""
    # As many versions as there are kinds of quantizers, with and without a slope or a cap, and orders in memory.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    return torch.compile(forward, dynamic=True), torch.compile(backward, dynamic=True)


def _seconds(pair: tuple[Callable[..., Any], Callable[..., Any]], device: torch.device) -> float:
    x = torch.randn(_TRIED, device=device).contiguous(memory_format=torch.channels_last)
    scale, slope = torch.full((1,), 0.1, device=device), torch.full((_TRIED[1],), 0.25, device=device)
    rest = (scale, torch.zeros_like(scale), slope, float("inf"), (0, 15))
    seconds = []
    for _ in range(5):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(10):
            pair[1](pair[0](x, *rest), x, *rest, (1.0, 0.0))
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    # GPUs add in a tree, whose error is small; most of them are slow in double precision.
    return (x.double() if x.device.type == "cpu" else x).sum(axes)


def _beside(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1)) if len(values) > 1 else values


def _by_channel(slope: Tensor, x: Tensor) -> Tensor:
    return slope.view(1, -1, *[1] * (x.dim() - 2)) if len(slope) > 1 else slope
