"""Pooling by windows; the mean of a whole map is a `ReduceMean`."""

from typing import Any

from torch import nn
from torch.fx import Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import ShapeError, shape_of
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.padding import padded
from bitface.graph.operators.reductions import ReduceMean
from bitface.graph.torch_context import TorchContext, call_module


def _read_max(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    x, padding = padded(context, x, kernel, value=-UNBOUNDED)
    ceil = bool(context.attribute("ceil_mode", 0))
    window = nn.MaxPool2d(kernel, context.pair("strides"), padding, context.pair("dilations"), ceil_mode=ceil)
    return context.add(window, x)


def _read_average(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    counted = bool(context.attribute("count_include_pad", 0))
    source, padding = padded(context, x, kernel)
    if source is not x and not counted:
        context.refuse("pads one side more than the other without counting the padding")
    if context.pair("dilations") != (1, 1):
        context.refuse("is dilated")
    ceil = bool(context.attribute("ceil_mode", 0))
    return context.add(nn.AvgPool2d(kernel, context.pair("strides"), padding, ceil, counted), source)


def _adaptive(context: TorchContext, module: Any, x: Node) -> Node:
    have, size = shape_of(x)[2:], module.output_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    wanted = tuple(h if w is None else w for h, w in zip(have, sides, strict=True))
    if any(h % w for h, w in zip(have, wanted, strict=True)):
        raise ShapeError(f"'{context.name}' pools {have} to {wanted}, which windows of one size can't do")
    height, width = (h // w for h, w in zip(have, wanted, strict=True))
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return context.add(nn.MaxPool2d((height, width)), x)
    if wanted == (1, 1):
        return context.add(ReduceMean((2, 3)), x)
    return x if wanted == have else context.add(nn.AvgPool2d((height, width)), x)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _window(module: Any) -> dict[str, Any]:
    return {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": _pair(module.padding) * 2,
        "ceil_mode": int(module.ceil_mode),
    }


register(
    OpSpec(
        "MaxPool",
        nn.MaxPool2d,
        onnx={
            "MaxPool": OnnxReader(_read_max, moves_integers=True),
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
        write=one_node("MaxPool", lambda module: {**_window(module), "dilations": _pair(module.dilation)}),
        traits=Traits(keeps_sign=True, keeps_levels=True, channels="kept"),
    )
)
register(
    OpSpec(
        "AveragePool",
        nn.AvgPool2d,
        onnx={"AveragePool": OnnxReader(_read_average)},
        torch_calls={
            **dict.fromkeys(("avg_pool2d", nn.functional.avg_pool2d), call_module(nn.AvgPool2d)),
            **dict.fromkeys(
                ("adaptive_avg_pool2d", nn.functional.adaptive_avg_pool2d), call_module(nn.AdaptiveAvgPool2d)
            ),
        },
        torch_modules={nn.AdaptiveAvgPool2d: _adaptive},
        accept=lambda module: None if module.divisor_override else module,
        write=one_node(
            "AveragePool", lambda module: {**_window(module), "count_include_pad": int(module.count_include_pad)}
        ),
        traits=Traits(keeps_sign=True, channels="kept"),
    )
)
