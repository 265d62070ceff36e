"""Activations that are straight lines below and above zero: ReLU, LeakyReLU, PReLU, and limits."""

from dataclasses import replace
from functools import reduce
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph import onnx_prelu
from bitface.graph.attributes import UNBOUNDED, fill
from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize, limits
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import IMAGE_VALUES, Integers, Value
from bitface.graph.onnx_writer import Writer, one_node, per_channel
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.arithmetic import Add, Max, Min, Mul, chain
from bitface.graph.torch_context import TorchContext, call_module


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


def _clip(context: Context, x: Node | Integers, low: Value = None, high: Value = None) -> Node | Integers:
    """Limits of integers are integers, those of floats are floats."""
    limits = (low, "min", -UNBOUNDED), (high, "max", UNBOUNDED)
    values = [context.attribute(name) if operand is None else operand for operand, name, _ in limits]
    number = x.number if isinstance(x, Integers) else float
    low, high = (
        default if limit is None else number(np.asarray(limit).item())
        for limit, (_, _, default) in zip(values, limits, strict=True)
    )
    module = nn.ReLU() if low == 0 and high >= UNBOUNDED else Clip(low, high)
    if isinstance(x, Integers):
        return replace(x, numbers=context.add(module, x.numbers))
    return context.add(module, x)


def _max_min(context: Context, *operands: Value) -> Node | Integers:
    """With a constant number it is a limit: `max(x, 0)` is a ReLU."""
    kind, fold = (Max, np.maximum) if context.node.op_type == "Max" else (Min, np.minimum)
    images = [operand for operand in operands if isinstance(operand, IMAGE_VALUES)]
    constants = [operand for operand in operands if not isinstance(operand, IMAGE_VALUES)]
    integers = any(isinstance(image, Integers) for image in images)
    if integers and (len(images) > 1 or len(constants) != 1 or np.size(constants[0]) != 1):
        context.refuse("compares more than the integers of an image and one number")
    image: Any = images[0] if integers else chain(context, kind, images)
    if not constants:
        return cast(Node, image)
    limit = np.asarray(reduce(fold, constants))
    if integers or _says_one_number(context, limit, image):
        return _clip(context, image, *([limit.flat[0]] if kind is Max else [None, limit.flat[0]]))
    return chain(context, kind, [image, limit])


def _says_one_number(context: Context, limit: np.ndarray, image: Node) -> bool:
    """Whether a constant is one number for all of an image, and no larger than it."""
    sides, own = context.one_row(limit, len(shape_of(image))).shape, (1, *shape_of(image)[1:])
    fits = len(sides) <= len(own) and all(a in (1, b) for a, b in zip(sides[::-1], own[::-1], strict=False))
    return limit.size == 1 or (fits and bool((limit == limit.flat[0]).all()))


def _call_clamp(context: TorchContext, x: Node, min: Any = None, max: Any = None) -> Node:
    return context.add(Clip(-UNBOUNDED if min is None else min, UNBOUNDED if max is None else max), x)


def _write_clip(writer: Writer, node: Node, module: Clip, inputs: list[str]) -> str:
    quantizer = writer.only_quantizer(node)
    if quantizer is not None:
        low, high = (bound - quantizer.zero_point for bound in limits(quantizer.bits, quantizer.signed))
        if round(module.low / quantizer.scale) <= low and high <= round(module.high / quantizer.scale):
            return inputs[0]  # the quantizer cuts off at least as much
    return writer.op("Clip", [inputs[0], writer.number(module.low), writer.number(module.high)], str(node.target))


def _traits_of_clip(module: Clip) -> Traits:
    return Traits(
        never_negative=min(module.low, module.high) >= 0,
        rectifier=(lambda clip: (torch.zeros(1), clip.high)) if module.low == 0 else None,
        activation=True,
        limiter=True,
        channels="kept",
    )


def _read_prelu(context: Context, x: Node, slope: Value) -> Node:
    """One slope, or one per channel. A list `[C]` is meant per channel, though ONNX reads it as per column."""
    if isinstance(slope, Node):
        context.refuse("computes its slopes from the image")
    shape, slope_shape = shape_of(x), np.shape(slope)
    flat = np.asarray(slope).reshape(-1)
    if len(slope_shape) == 1:
        by_channel = len(shape) == 2 or shape[-1] != flat.size
    else:
        by_channel = len(slope_shape) >= len(shape) - 1 and slope_shape[1 - len(shape)] == flat.size
    if flat.size == 1 or (flat.size == shape[1] and by_channel):
        return context.add(fill(nn.PReLU(flat.size), weight=flat), x)
    return _prelu_by_place(context, x, context.one_row(slope, len(shape)))


def _prelu_by_place(context: Context, x: Node, slope: np.ndarray) -> Node:
    """With slopes of their own for every place, as Keras makes them: `max(x, 0) + slope · min(x, 0)`."""
    shape, slope_shape = shape_of(x), slope.shape
    sides = ((1,) * (len(shape) - len(slope_shape)) + slope_shape)[-len(shape) :]
    doubtful = len(slope_shape) == 1 and slope_shape[0] == shape[1]
    if (
        doubtful
        or len(slope_shape) > len(shape)
        or not all(a in (1, b) for a, b in zip(sides, (1, *shape[1:]), strict=True))
    ):
        context.refuse(f"has slopes of shape {list(slope_shape)} for {shape[1]} channels")
    negative = context.add(Clip(-UNBOUNDED, 0), x, suffix="_negative")
    scaled = context.add(Mul(), negative, context.node_of(slope), suffix="_scaled")
    return context.add(Add(), context.add(nn.ReLU(), x, suffix="_positive"), scaled)


def _call_prelu(context: TorchContext, x: Node, slope: Tensor) -> Node:
    return context.add(fill(nn.PReLU(slope.numel()), weight=slope.detach()), x)


def _write_prelu(writer: Writer, node: Node, module: nn.PReLU, inputs: list[str]) -> str:
    if not writer.form.integer_prelu:
        return onnx_prelu.emit_prelu(writer, node, module, inputs[0])
    name, slope = f"{node.target}.slope", per_channel(module.weight.detach(), node)
    quantizer = writer.module_of(node.all_input_nodes[0]) if writer.form.integer_slopes else None
    if not isinstance(quantizer, QuantizeDequantize):
        return writer.op("PRelu", [inputs[0], writer.constant(name, slope)], str(node.target))
    slopes = slope_quantizer(module, quantizer.bits)
    dtype = np.dtype(f"uint{slopes.bits}").type
    integers = writer.constant(f"{name}_integers", slopes.integers(slope).numpy().astype(dtype))
    parts = [integers, writer.number(slopes.scale), writer.number(slopes.zero_point, dtype)]
    return writer.op("PRelu", [inputs[0], writer.op("DequantizeLinear", parts, name)], str(node.target))


def slope_quantizer(module: nn.PReLU, bits: int) -> QuantizeDequantize:
    """Unsigned integers of 8 or 16 bits for the slopes of a PReLU, 0 among them.

    Slopes that are such integers already keep their values.
    """
    width = 16 if bits > 8 else 8
    low, high = module.weight.min().clamp(max=0).item(), module.weight.max().clamp(min=0).item()
    scale = float(np.float32(max((high - low) / ((1 << width) - 1), 1e-30)))
    return QuantizeDequantize(scale, round(-low / scale), width, False)


register(
    OpSpec(
        "Relu",
        nn.ReLU,
        onnx={"Relu": OnnxReader(lambda context, x: _clip(context, x, 0), on_integers=True, elementwise=True)},
        torch_calls=dict.fromkeys(("relu", "relu_", torch.relu, nn.functional.relu), call_module(nn.ReLU)),
        write=one_node("Relu"),
        traits=Traits(
            never_negative=True,
            keeps_levels=True,
            rectifier=lambda module: (torch.zeros(1), float("inf")),
            activation=True,
            limiter=True,
            channels="kept",
        ),
    )
)
register(
    OpSpec(
        "PRelu",
        nn.PReLU,
        onnx={"PRelu": OnnxReader(_read_prelu, elementwise=True)},
        torch_calls=dict.fromkeys(("prelu", torch.prelu, nn.functional.prelu), _call_prelu),
        write=_write_prelu,
        largest_tensor=lambda values: ("weight", [values.get("num_parameters", 1)]),
        traits=Traits(
            rectifier=lambda module: (module.weight, float("inf")), activation=True, numbers="slope", channels="kept"
        ),
    )
)
register(
    OpSpec(
        "LeakyRelu",
        nn.LeakyReLU,
        onnx={
            "LeakyRelu": OnnxReader(
                lambda context, x: context.add(nn.LeakyReLU(context.attribute("alpha", 0.01)), x), elementwise=True
            )
        },
        torch_calls=dict.fromkeys(("leaky_relu", nn.functional.leaky_relu), call_module(nn.LeakyReLU)),
        write=one_node("LeakyRelu", lambda module: {"alpha": module.negative_slope}),
        traits=Traits(
            rectifier=lambda module: (torch.tensor([module.negative_slope]), float("inf")),
            activation=True,
            channels="kept",
        ),
    )
)
register(
    OpSpec(
        "Clip",
        Clip,
        onnx={
            "Clip": OnnxReader(_clip, on_integers=True, elementwise=True),
            **dict.fromkeys(("Max", "Min"), OnnxReader(_max_min, on_integers=True, elementwise=True)),
        },
        torch_calls={
            **dict.fromkeys(("clamp", torch.clamp), _call_clamp),
            **dict.fromkeys(("hardtanh", nn.functional.hardtanh), call_module(nn.Hardtanh)),
            **dict.fromkeys(("relu6", nn.functional.relu6), call_module(nn.ReLU6)),
        },
        # ReLU6 is a Hardtanh.
        torch_modules={nn.Hardtanh: lambda context, module, x: context.add(Clip(module.min_val, module.max_val), x)},
        write=_write_clip,
        traits=_traits_of_clip,
    )
)
