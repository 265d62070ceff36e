"""Depthwise convolutions whose backward pass is one kernel.

That of torch takes up to ten times as long where the stride or the kernel is large, above all in bfloat16. A step of a
MobileFaceNet becomes a tenth shorter.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from bitface.quant.kernels.native import library, pointer

Pair = tuple[int, ...]


def fits(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether a convolution is for the kernel: one filter for each channel, on a CPU, in float32 or bfloat16."""
    return (
        x.dim() == 4
        and groups == weight.shape[0] == x.shape[1]
        and weight.shape[1] == 1
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == torch.float32
        and x.numel() > 0
        and library() is not None
    )


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """`conv2d` with one filter for each channel, `[B, C, H, W]` → `[B, C, H', W']` in the type of `x`, where it `fits`.

    Args:
        weight: `[C, 1, h, w]`, float32.
        bias: `[C]`.
    """
    result: Tensor = _Depthwise.apply(x, weight, bias, stride, padding, dilation)  # type: ignore[no-untyped-call]
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, dilation
        kind = x.dtype
        offset = None if bias is None else bias.to(kind)
        return F.conv2d(x, weight.to(kind), offset, stride, padding, dilation, weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernels = library()
        assert kernels is not None
        stride, padding, dilation = ctx.geometry
        g = g.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gx = torch.empty_like(x, memory_format=torch.channels_last)
        # Of the order of the kernel's walk: [h, w, C].
        taps = weight.detach()[:, 0].permute(1, 2, 0).contiguous()
        by_taps, by_bias = torch.empty_like(taps), torch.empty(len(weight))
        images, channels, height, width = x.shape
        shape = [images, height, width, channels, *g.shape[2:], *weight.shape[2:], *stride, *padding, *dilation]
        kernels.depthwise_backward(
            pointer(g), pointer(x), pointer(gx), (ctypes.c_int64 * len(shape))(*shape), pointer(taps),
            pointer(by_taps), pointer(by_bias), ctypes.c_int(x.dtype == torch.bfloat16),
        )  # fmt: skip
        by_weight = by_taps.permute(2, 0, 1)[:, None].contiguous()
        return gx, by_weight, by_bias if ctx.needs_input_grad[2] else None, None, None, None
