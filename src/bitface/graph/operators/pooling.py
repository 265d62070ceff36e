"""Pooling by windows, along one to three axes; the mean of a whole map is a `ReduceMean`."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import ShapeError, shape_of
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.arithmetic import Mul
from bitface.graph.operators.elementwise import Abs, Pow, Sqrt
from bitface.graph.operators.padding import Pad, padded
from bitface.graph.operators.reductions import ReduceL1, ReduceL2, ReduceMean, ReduceSum
from bitface.graph.operators.windows import separable
from bitface.graph.torch_context import TorchContext, call_module


def _read_max(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    x, padding = padded(context, x, kernel, value=-UNBOUNDED)
    ceil = bool(context.attribute("ceil_mode", 0))
    window = nn.MaxPool2d(kernel, context.pair("strides"), padding, context.pair("dilations"), ceil_mode=ceil)
    return context.add(window, x)


def _read_average(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    count_padding = bool(context.attribute("count_include_pad", 0))
    source, padding = padded(context, x, kernel)
    if context.pair("dilations") != (1, 1):
        context.refuse("is dilated")
    ceil = bool(context.attribute("ceil_mode", 0))
    window = nn.AvgPool2d(kernel, context.pair("strides"), padding, ceil, count_padding)
    if source is x or count_padding:
        return context.add(window, source)
    pad, _ = context.builder.step(source, Pad) or (nn.Identity(), None)
    # Of each window, what lies inside: the same for every image.
    shares = window(pad(torch.ones(1, 1, *shape_of(x)[2:])))
    if not shares.all():
        context.refuse("has windows of padding alone")
    means = context.add(window, source, suffix="_padded")
    return context.add(Mul(), means, context.node_of(shares.reciprocal().numpy()))


def _read_lp(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    if context.pair("dilations") != (1, 1) or context.attribute("ceil_mode", 0):
        context.refuse("is dilated, or rounds up its size")
    x, padding = padded(context, x, kernel)
    window = nn.AvgPool2d(kernel, context.pair("strides"), padding)
    return _lp_norm(context, x, window, context.attribute("p", 2), kernel[0] * kernel[1])


def _read_global_lp(context: Context, x: Node) -> Node:
    dims, p = tuple(range(2, len(shape_of(x)))), context.attribute("p", 2)
    norms = {1: ReduceL1, 2: ReduceL2}
    return context.add(norms[p](dims), x) if p in norms else _lp_norm(context, x, ReduceSum(dims), p, 1)


def _lp_norm(context: Context | TorchContext, x: Node, pool: nn.Module, p: float, count: int) -> Node:
    """`(Σ |x|^p)^(1/p)`; `pool` gives the sum divided by `count`."""
    powers = x if p % 2 == 0 else context.add(Abs(), x, suffix="_absolute")
    mean = context.add(pool, context.add(Pow(p), powers, suffix="_power"), suffix="_pooled")
    scaled = context.add(Mul(), mean, context.node_of(np.float32(count)), suffix="_sum")
    return context.add(Sqrt() if p == 2 else Pow(1 / p), scaled)


def _lp_module(context: TorchContext, module: nn.LPPool2d, x: Node) -> Node | None:
    if module.ceil_mode or module.norm_type % 2 != 0:  # torch takes no absolute values
        return None
    kernel = _pair(module.kernel_size)
    window = nn.AvgPool2d(kernel, module.stride or kernel)  # type: ignore[arg-type]
    return _lp_norm(context, x, window, module.norm_type, kernel[0] * kernel[1])


def _adaptive(context: TorchContext, module: Any, x: Node) -> Node:
    have, size = shape_of(x)[2:], module.output_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    output_size = tuple(h if w is None else w for h, w in zip(have, sides, strict=True))
    if any(h % w for h, w in zip(have, output_size, strict=True)):
        raise ShapeError(f"'{context.name}' pools {have} to {output_size}, which windows of one size can't do")
    height, width = (h // w for h, w in zip(have, output_size, strict=True))
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return context.add(nn.MaxPool2d((height, width)), x)
    if output_size == (1, 1):
        return context.add(ReduceMean((2, 3)), x)
    return x if output_size == have else context.add(nn.AvgPool2d((height, width)), x)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _beyond(node: Node, module: Any) -> list[int]:
    """By how much the last windows of each axis reach beyond the padding; below zero: what they leave."""
    words = ("kernel_size", "stride", "padding", "dilation")
    numbers = [_pair(getattr(module, word, 1)) for word in words]
    sides = shape_of(node.all_input_nodes[0])[2:], shape_of(node)[2:]
    return [
        (count - 1) * stride + dilation * (kernel - 1) + 1 - side - 2 * padding
        for side, count, kernel, stride, padding, dilation in zip(*sides, *numbers, strict=True)
    ]


def _window(node: Node, module: Any) -> dict[str, Any]:
    """The attributes of a window in ONNX.

    Where a size is rounded up, torch leaves out a window that would begin behind the map, and OpenVINO doesn't. In such
    a file nothing is rounded up: padding makes the other axis's last window whole.
    """
    beyond, padding = _beyond(node, module), _pair(module.padding)
    rounds_up = module.ceil_mode and min(beyond) >= 0
    more = [0, 0] if rounds_up else [max(over, 0) for over in beyond]
    return {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": [*padding, *(side + further for side, further in zip(padding, more, strict=True))],
        "ceil_mode": int(rounds_up),
    }


def _write_max(writer: Writer, node: Node, module: nn.MaxPool2d, inputs: list[str]) -> str:
    return writer.op("MaxPool", inputs, str(node.target), **_window(node, module), dilations=_pair(module.dilation))


def _write_average(writer: Writer, node: Node, module: nn.AvgPool2d, inputs: list[str]) -> str:
    """Means of what lies in the map, each times its share, where padding counts and a window reaches beyond it:
    OpenVINO would divide by the whole window's size.
    """
    counts = module.count_include_pad
    shares = torch.ones(1)
    if counts and max(_beyond(node, module)) > 0:
        counts, shares = False, module(torch.ones(1, 1, *shape_of(node.all_input_nodes[0])[2:]))
    name = str(node.target) + ("" if bool((shares == 1).all()) else "_inside")
    means = writer.op("AveragePool", inputs, name, **_window(node, module), count_include_pad=int(counts))
    if name == str(node.target):
        return means
    return writer.op("Mul", [means, writer.constant(f"{node.target}.shares", shares)], str(node.target))


register(
    OpSpec(
        "MaxPool",
        nn.MaxPool2d,
        onnx={
            "MaxPool": OnnxReader(separable(_read_max), moves_integers=True),
            "GlobalMaxPool": OnnxReader(lambda context, x: context.add(nn.MaxPool2d(shape_of(x)[2:]), x)),
        },
        torch_calls={
            **dict.fromkeys(("max_pool2d", nn.functional.max_pool2d), call_module(nn.MaxPool2d)),
            **dict.fromkeys(
                ("adaptive_max_pool2d", nn.functional.adaptive_max_pool2d), call_module(nn.AdaptiveMaxPool2d)
            ),
        },
        torch_modules={nn.AdaptiveMaxPool2d: _adaptive},
        accept=lambda module: None if module.return_indices else module,
        write=_write_max,
        traits=Traits(keeps_sign=True, keeps_levels=True, channels="kept"),
    )
)
register(
    OpSpec(
        "AveragePool",
        nn.AvgPool2d,
        onnx={
            "AveragePool": OnnxReader(separable(_read_average)),
            "LpPool": OnnxReader(_read_lp),
            "GlobalLpPool": OnnxReader(_read_global_lp),
        },
        torch_calls={
            **dict.fromkeys(("avg_pool2d", nn.functional.avg_pool2d), call_module(nn.AvgPool2d)),
            **dict.fromkeys(
                ("adaptive_avg_pool2d", nn.functional.adaptive_avg_pool2d), call_module(nn.AdaptiveAvgPool2d)
            ),
            nn.functional.lp_pool2d: call_module(nn.LPPool2d),
        },
        torch_modules={nn.AdaptiveAvgPool2d: _adaptive, nn.LPPool2d: _lp_module},
        accept=lambda module: None if module.divisor_override else module,
        write=_write_average,
        traits=Traits(keeps_sign=True, channels="kept"),
    )
)
