"""Everything but layers: roundings, activations, additions and other arithmetic, pooling, views."""

from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize
from bitface.targets.arithmetic import affine_of, limits_of, slopes_of
from bitface.targets.c.program import Levels, Ref, Struct, Table, Value
from bitface.targets.c.writer import Operand, Write, Writer, name_of

_BINARY = {
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Max": "maximum", "Min": "minimum",
}  # fmt: skip
_UNARY = {"Sigmoid": "sigmoid", "Tanh": "hyperbolic_tangent", "HardSwish": "hard_swish", "Silu": "swish"}


def _write_quantizer(writer: Writer, node: Node, module: QuantizeDequantize, operands: list[Value]) -> Value:
    value, levels = writer.floats(operands[0]), Levels.of(module)
    result = writer.like(value, levels)
    numbers = value.per_row(value.count), np.float32(levels.scale), *levels.arguments()
    writer.call("quantize", writer.read(value), writer.read(result), *numbers)
    return result


def _write_limits(writer: Writer, node: Node, module: nn.Module, operands: list[Value]) -> Value:
    value = writer.floats(operands[0])
    result = writer.like(value)
    low, high = (np.float32(limit) for limit in limits_of(module))
    writer.call("clip", writer.read(value), writer.read(result), value.per_row(value.count), low, high)
    return result


def _write_prelu(writer: Writer, node: Node, module: nn.Module, operands: list[Value]) -> Value:
    value = writer.floats(operands[0])
    result, slopes = writer.like(value), writer.per_channel(value, slopes_of(module))
    writer.call("prelu", writer.read(value), writer.read(result), value.per_row(value.pixels), value.channels, slopes)
    return result


def _write_affine(writer: Writer, node: Node, module: Any, operands: list[Value]) -> Value:
    """Of integers that only a quantizer reads, with its rounding."""
    value = operands[0]
    factors, shifts = (writer.per_channel(value, numbers) for numbers in affine_of(module))
    rounded = writer.rounded(node, slopes=False) if value.levels else None
    if rounded is None:
        value = writer.floats(value)
        result = writer.like(value)
        sides = value.per_row(value.pixels), value.channels
        writer.call("affine", writer.read(value), writer.read(result), *sides, factors, shifts)
        return result
    assert value.levels
    after, levels = rounded
    result = writer.like(value, levels)
    fields = {
        "zero_x": value.levels.zero, "scale_x": np.float32(value.levels.scale), "factors": factors, "shifts": shifts,
        **_rounding(levels),
    }  # fmt: skip
    affine = Struct("channel_affine", tuple(fields.items()), passed=True)
    sides = value.per_row(value.pixels), value.channels
    writer.call("affine_levels", writer.read(value), writer.read(result), *sides, affine)
    return writer.give(after.nodes, result)


def _rounding(levels: Levels) -> dict[str, object]:
    low, high, zero = levels.arguments()
    return {"scale": np.float32(levels.scale), "low": low, "high": high, "zero": zero}


def _write_sum(writer: Writer, node: Node, module: nn.Module, operands: list[Operand]) -> Value:
    """Of two tensors in integers, with what rounds it."""
    integers = all(isinstance(operand, Value) and operand.levels for operand in operands)
    alike = integers and len({(operand.shape, operand.map) for operand in operands}) == 1
    rounded = writer.rounded(node, slopes=False) if alike else None
    if rounded is None:
        return _write_binary(writer, node, module, operands)
    after, levels = rounded
    a, b = operands
    result = writer.like(a, levels)
    fields = {
        "zero_a": a.levels.zero, "scale_a": np.float32(a.levels.scale),
        "zero_b": b.levels.zero, "scale_b": np.float32(b.levels.scale), **_rounding(levels),
        "inverse": _inverse(a.levels, b.levels, levels),
    }  # fmt: skip
    addition = Struct("addition", tuple(fields.items()), passed=True)
    writer.call("add_levels", writer.read(a), writer.read(b), writer.read(result), a.per_row(a.count), addition)
    return writer.give(after.nodes, result)


def _inverse(a: Levels, b: Levels, levels: Levels) -> np.float32:
    """What sums may be multiplied by instead of divided, as all pairs of integers show; 0: nothing."""
    first, second = ((np.arange(256) - one.zero).astype(np.float32) * np.float32(one.scale) for one in (a, b))
    low, high, _ = levels.arguments()
    scale, sums = np.float32(levels.scale), first[:, None] + second
    expected = np.rint(np.clip(sums / scale, low, high))
    with np.errstate(over="ignore", under="ignore"):
        inverse = np.float32(1) / scale
        for factor in (inverse, np.nextafter(inverse, np.float32(np.inf)), np.nextafter(inverse, np.float32(0))):
            if np.array_equal(np.rint(np.clip(sums * factor, low, high)), expected):
                return factor
    return np.float32(0)


def _write_binary(writer: Writer, node: Node, module: nn.Module, operands: list[Operand]) -> Value:
    shape = shape_of(node)[1:]
    maps = [one.map for one in operands if isinstance(one, Value) and one.shape == shape]
    result = writer.program.tensor(shape, None, maps[0] if maps else None)
    arguments: list[object] = []
    steps: list[int] = []
    for operand in operands:
        read = _of_tensor if isinstance(operand, Value) else _of_constant
        argument, step = read(writer, node, operand, result)
        arguments.append(argument)
        steps.extend(step)
    names = ("a_pixel", "a_channel", "b_pixel", "b_channel")
    fields = {"pixels": result.pixels, "channels": result.channels, **dict(zip(names, steps, strict=True))}
    pairing = Struct("pairing", tuple(fields.items()), passed=True)
    writer.call(_BINARY[name_of(module)], *arguments, writer.read(result), pairing)
    return result


def _of_tensor(writer: Writer, node: Node, value: Any, result: Value) -> tuple[Ref, tuple[int, int]]:
    """A tensor, and how far apart its pixels and its channels are."""
    one_pixel = (result.shape[0], *[1] * (len(result.shape) - 1))
    if value.shape == result.shape and value.map == result.map:
        steps = result.channels, 1
    elif value.shape == one_pixel and value.map is None and result.map is None:
        steps = 0, 1
    elif value.shape == (1, *result.shape[1:]) and result.map is None:
        steps = 1, 0
    else:
        raise writer.refusal(node, f"joins {list(value.shape)} to {list(result.shape)}")
    return writer.read(writer.floats(value)), steps


def _of_constant(writer: Writer, node: Node, value: Any, result: Value) -> tuple[Table, tuple[int, int]]:
    shape = (1,) * (1 + len(result.shape) - value.ndim) + value.shape
    if value.size == 1:
        return Table(value.reshape(1)), (0, 0)
    if value.size != result.channels or shape[1] != value.size:
        raise writer.refusal(node, f"has a constant of {list(value.shape)}")
    return writer.per_channel(result, value), (0, 1)


def _write_unary(writer: Writer, node: Node, module: nn.Module, operands: list[Value]) -> Value:
    value = writer.floats(operands[0])
    result = writer.like(value)
    writer.call(_UNARY[name_of(module)], writer.read(value), writer.read(result), value.per_row(value.count))
    return result


def _write_hard_sigmoid(writer: Writer, node: Node, module: Any, operands: list[Value]) -> Value:
    value = writer.floats(operands[0])
    result = writer.like(value)
    numbers = np.float32(module.alpha), np.float32(module.beta)
    writer.call("hard_sigmoid", writer.read(value), writer.read(result), value.per_row(value.count), *numbers)
    return result


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _pooling(node: Node, value: Value, module: Any, dilation: Any) -> Struct:
    channels, height, width = value.shape
    _, out_height, out_width = shape_of(node)[1:]
    fields = {
        "height": height, "width": width, "channels": channels, "out_height": out_height, "out_width": out_width,
    }  # fmt: skip
    for name, pair in {
        "kernel": module.kernel_size, "stride": module.stride, "pad": module.padding, "dilation": dilation,
    }.items():  # fmt: skip
        fields |= dict(zip((f"{name}_height", f"{name}_width"), _pair(pair), strict=True))
    return Struct("pooling", tuple(fields.items()))


def _write_max_pool(writer: Writer, node: Node, module: nn.MaxPool2d, operands: list[Value]) -> Value:
    """Integers stay integers."""
    value = operands[0]
    result = writer.program.tensor(shape_of(node)[1:], value.levels)
    kernel = "max_pool_levels" if value.levels else "max_pool"
    window = _pooling(node, value, module, module.dilation)
    writer.call(kernel, window, writer.read(value), writer.read(result))
    return result


def _write_average_pool(writer: Writer, node: Node, module: nn.AvgPool2d, operands: list[Value]) -> Value:
    if _pair(module.padding) != (0, 0) or module.ceil_mode:
        raise writer.refusal(node, "averages over windows with padding")
    value = writer.floats(operands[0])
    result = writer.program.tensor(shape_of(node)[1:])
    window = _pooling(node, value, module, 1)
    writer.call("average_pool", window, writer.read(value), writer.read(result))
    return result


def _write_mean(writer: Writer, node: Node, module: Any, operands: list[Value]) -> Value:
    """Of a whole map."""
    value = writer.floats(operands[0])
    if len(value.shape) != 3 or tuple(module.dims) != (2, 3):
        raise writer.refusal(node, f"takes a mean along the axes {list(module.dims)}")
    result = writer.program.tensor(shape_of(node)[1:])
    _, height, width = value.shape
    fields = {
        "height": height, "width": width, "channels": value.channels, "out_height": 1, "out_width": 1,
        "kernel_height": height, "kernel_width": width, "stride_height": 1, "stride_width": 1,
        "pad_height": 0, "pad_width": 0, "dilation_height": 1, "dilation_width": 1,
    }  # fmt: skip
    writer.call("average_pool", Struct("pooling", tuple(fields.items())), writer.read(value), writer.read(result))
    return result


def _write_reshape(writer: Writer, node: Node, module: ops.Reshape, operands: list[Value]) -> Value:
    """A map becomes a list, or what has one number for each channel another form of that."""
    value, shape = operands[0], shape_of(node)[1:]
    if len(shape) > 1:
        value = value if value.map is None else writer.listed(value)
    if value.count == value.channels and shape[0] == value.count:
        return Value(value.buffer, shape, value.levels, value.map if len(shape) == 1 else None)
    if shape == value.shape:
        return value
    if len(value.shape) == 3 and shape == (value.count,):
        return Value(value.buffer, shape, value.levels, value.shape)
    raise writer.refusal(node, f"gives {list(value.shape)} the form {list(shape)}")


def _write_concat(writer: Writer, node: Node, module: ops.Concat, operands: list[Operand]) -> Value:
    result = writer.program.tensor(shape_of(node)[1:])
    if module.dim != 1 or not all(isinstance(one, Value) and one.map is None for one in operands):
        raise writer.refusal(node, f"joins along axis {module.dim}, or constants")
    first = 0
    for value in map(writer.floats, operands):
        place = Ref(result.buffer, True, first)
        sides = value.pixels, value.channels, result.channels
        writer.call("place_channels", writer.read(value), place, *sides)
        first += value.channels
    return result


def _write_normalize(writer: Writer, node: Node, module: ops.Normalize, operands: list[Value]) -> Value:
    value = writer.listed(operands[0])
    if module.p != 2 or value.count != value.channels or module.dim not in (1, -1):
        raise writer.refusal(node, f"divides by the L{module.p} norm along axis {module.dim}")
    result = writer.like(value)
    writer.call("normalize", writer.read(value), writer.read(result), value.count)
    return result


WRITERS: dict[str, Write] = {
    "QuantizeDequantize": _write_quantizer,
    **dict.fromkeys(("Relu", "Clip"), _write_limits),
    **dict.fromkeys(("PRelu", "LeakyRelu"), _write_prelu),
    **dict.fromkeys(("ChannelAffine", "BatchNorm", "BatchNorm1d"), _write_affine),
    "Add": _write_sum,
    **dict.fromkeys(("Sub", "Mul", "Div", "Max", "Min"), _write_binary),
    **dict.fromkeys(_UNARY, _write_unary),
    "HardSigmoid": _write_hard_sigmoid,
    "MaxPool": _write_max_pool,
    "AveragePool": _write_average_pool,
    "ReduceMean": _write_mean,
    "Reshape": _write_reshape,
    "Concat": _write_concat,
    "Normalize": _write_normalize,
}
