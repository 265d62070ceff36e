"""Convolutions and linear layers: their weights in the kernels' order, and what follows their sums."""

from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.artifact.packing import pack
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, IntegerConv2d, IntegerLinear
from bitface.targets.arithmetic import bias_of, multipliers
from bitface.targets.c.memory import ALIGNMENT
from bitface.targets.c.program import Ref, Rows, Span, Struct, Table, Value
from bitface.targets.c.writer import Write, Writer

Layer = nn.Conv2d | nn.Linear | IntegerConv2d | IntegerLinear
Fields = dict[str, Any]

# Of the rows of a kernel, as in kernels/layer.c.
_LARGEST_KERNEL = 64
# Outputs that a kernel computes at once.
BLOCK = 16
_BLOCKS_AT_ONCE = 4
_PIXELS_AT_ONCE = 6
# Of weights that are unpacked or widened at once, where more than one block is.
_MOST_UNPACKED = 1 << 15


def write_layer(writer: Writer, node: Node, module: Any, operands: list[Value]) -> Value:
    value = operands[0]
    if len(value.shape) not in (1, 3) or (len(value.shape) == 3) != isinstance(module, nn.Conv2d | IntegerConv2d):
        raise writer.refusal(node, f"reads {list(value.shape)}")
    if isinstance(module, INTEGER_LAYERS) and module.input_scale:
        return _write_integers(writer, node, module, value)
    return _write_floats(writer, node, module, writer.floats(value))


def _write_integers(writer: Writer, node: Node, module: IntegerConv2d | IntegerLinear, value: Value) -> Value:
    if value.levels is None:
        raise writer.refusal(node, "reads integers that nothing has rounded")
    fields, weight = _geometry(module, value), _weight(module, value)
    if weight.shape[2] > _LARGEST_KERNEL:
        raise writer.refusal(node, f"has a kernel of {weight.shape[2]} rows, the highest are {_LARGEST_KERNEL}")
    fields |= _segments(fields)
    rounded = writer.rounded(node, slopes=True)
    after, levels = rounded or (None, None)
    slope = after.slopes if after else None
    depthwise = 1 < module_groups(module) == weight.shape[0] == value.channels
    bits, values = module.bits, _taps(weight) if depthwise else _blocks(weight, fields)
    if bits == 1 and (depthwise or weight[0].size * BLOCK == fields["block_bytes"]):
        values = np.where(values == 0, 1, values)  # of outputs that there aren't
    else:  # Bytes of other pixels are multiplied by 0, which is none of the integers of a single bit.
        bits = max(bits, 2)
    block = fields["block_bytes"]
    most = _BLOCKS_AT_ONCE if bits == 8 else blocks_unpacked(block)
    order = _order(fields, depthwise)
    result = writer.program.tensor(shape_of(node)[1:], levels)
    unpacked = (values.size if depthwise else most * block) if bits < 8 else 0
    work = writer.program.buffer(_work(fields, unpacked + (0 if depthwise else _widened(block))))
    low, high, zero = levels.arguments() if levels else (np.float32(0), np.float32(0), 0)
    try:
        # Less what the zero point of the input adds to every sum.
        bias = bias_of(module) - value.levels.zero * weight.reshape(len(weight), -1).astype(np.int64).sum(1)
    except ValueError:
        raise writer.refusal(node, f"adds {weight[0].size} products, more than 32 bits hold") from None
    fields |= {
        "bits": bits, "blocks_at_once": most, "input_zero": value.levels.zero,
        "weights": Table(pack(values, bits)), "strips": None, "bias": Table(order(bias.astype(np.int32))),
        "scale": Table(order(multipliers(module, levels.scale if levels else None))),
        "slope": None if slope is None else Table(order(np.broadcast_to(slope, (len(weight),)))),
        "low": low, "high": high, "zero": zero, "lowest": levels.low if levels else 0, "floats": int(levels is None),
    }  # fmt: skip
    by_rows, at_once = Struct("layer", tuple(fields.items())), _at_once(fields)
    reach = (fields["kernel_height"] - 1) * fields["dilation_height"] + 1
    rows = Rows(
        (value.buffer,), result.buffer, fields["height"], fields["out_height"],
        fields["stride_height"], fields["pad_height"], reach, by_rows,
    )  # fmt: skip
    maps = Ref(value.buffer), Ref(result.buffer), Ref(work)
    function = "depthwise" if depthwise else "conv"
    writer.call(function, Struct("layer", tuple(at_once.items())), *maps, Span(at_once["out_height"]), rows=rows)
    return writer.give(after.nodes if after else (), result)


def module_groups(module: Layer) -> int:
    return 1 if isinstance(module, nn.Linear | IntegerLinear) else int(module.groups)


def _weight(module: IntegerConv2d | IntegerLinear, value: Value) -> np.ndarray:
    """int8 `[outputs, inputs of a group, height, width]`, the inputs in their order in memory."""
    weight: np.ndarray = module.weight.numpy()
    return weight if weight.ndim == 4 else _as_listed(weight, value)[:, :, None, None]


def _as_listed(weight: np.ndarray, value: Value) -> np.ndarray:
    """The columns of a linear layer in the order of what it reads."""
    if value.map is None:
        return weight
    return weight.reshape(-1, *value.map).transpose(0, 2, 3, 1).reshape(weight.shape)


def _geometry(module: Layer, value: Value) -> Fields:
    """How the window goes over the map."""
    names = ("kernel", "stride", "pad", "dilation")
    if isinstance(module, nn.Linear | IntegerLinear):
        channels, height, width, out_height, out_width = value.count, 1, 1, 1, 1
        window: tuple[Any, ...] = ((1, 1), (1, 1), (0, 0), (1, 1))
    else:
        channels, height, width = value.shape
        window = (module.kernel_size, module.stride, module.padding, module.dilation)
        sides: Any = zip((height, width), *window, strict=True)
        out_height, out_width = ((s + 2 * p - (k - 1) * d - 1) // t + 1 for s, k, t, p, d in sides)
    return {
        "height": height, "width": width, "channels": channels,
        "out_height": out_height, "out_width": out_width, "outputs": len(module.weight),
        **{f"{name}_{side}": pair[i] for name, pair in zip(names, window, strict=True)
           for i, side in enumerate(("height", "width"))},
        "groups": module_groups(module),
    }  # fmt: skip


def _at_once(fields: Fields) -> Fields:
    """Of a layer that is computed at once; a map that is read pixel by pixel is one row."""
    sides = "kernel", "stride", "pad"
    if [fields[f"{name}_{side}"] for name in sides for side in ("height", "width")] == [1, 1, 1, 1, 0, 0]:
        pixels = fields["height"] * fields["width"]
        fields = fields | {"height": 1, "out_height": 1, "width": pixels, "out_width": pixels}
    return fields | {"map_rows": fields["height"], "result_rows": fields["out_height"]}


def _segments(fields: Fields) -> Fields:
    """How many segments a kernel's row is read in, and the weights of each, and of 16 outputs."""
    width, inputs = fields["kernel_width"], fields["channels"] // fields["groups"]
    parts = 1 if fields["dilation_width"] == fields["groups"] == 1 else width
    length = -(-inputs * width // parts // 4) * 4
    return {
        "segments": parts,
        "segment_bytes": length,
        "block_bytes": fields["kernel_height"] * parts * length * BLOCK,
    }


def _taps(weight: np.ndarray) -> np.ndarray:
    """Of a depthwise layer: `[row, column, channel]`, filled up to a multiple of 8."""
    taps = weight[:, 0].transpose(1, 2, 0).reshape(-1)
    return np.pad(taps, (0, -taps.size % 8))


def _blocks(weight: np.ndarray, fields: Fields) -> np.ndarray:
    """`[block, row, segment, 4 inputs, 16 outputs, 4]`, filled up with zeros."""
    groups, parts, length = fields["groups"], fields["segments"], fields["segment_bytes"]
    outputs, inputs, height, width = weight.shape
    rows = weight.transpose(0, 2, 3, 1).reshape(groups, outputs // groups, height, parts, width * inputs // parts)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % BLOCK), (0, 0), (0, 0), (0, length - rows.shape[-1])))
    blocks = rows.reshape(-1, BLOCK, height, parts, length // 4, 4).transpose(0, 2, 3, 4, 1, 5)
    return np.ascontiguousarray(blocks).reshape(-1)


def _order(fields: Fields, depthwise: bool) -> Any:
    """Numbers of each output in the order of the blocks."""
    groups = fields["groups"]

    def order(numbers: np.ndarray) -> np.ndarray:
        if depthwise:
            return np.ascontiguousarray(numbers)
        rows = numbers.reshape(groups, -1)
        return np.pad(rows, ((0, 0), (0, -rows.shape[1] % BLOCK))).reshape(-1)

    return order


def blocks_unpacked(block: int) -> int:
    """Blocks whose weights are unpacked at once."""
    return min(max(_MOST_UNPACKED // block, 1), _BLOCKS_AT_ONCE)


def _widened(block: int) -> int:
    """The bytes of weights and of what pixels read as 16 bits, as in kernels/conv_plain.c."""
    return -(-2 * (blocks_unpacked(block) * block + _PIXELS_AT_ONCE * block // BLOCK + 16) // ALIGNMENT) * ALIGNMENT


def _work(fields: Fields, weights: int) -> int:
    """The bytes that a layer works in: unpacked and widened weights, and rows with what is set around them."""
    if not (fields["pad_height"] or fields["pad_width"]):
        return weights
    reach = (fields["kernel_height"] - 1) * fields["dilation_height"] + 1
    return int(weights + (reach + 1) * (fields["width"] + 2 * fields["pad_width"]) * fields["channels"])


def _write_floats(writer: Writer, node: Node, module: Layer, value: Value) -> Value:
    if isinstance(module, INTEGER_LAYERS):
        weights, bias = module.float_weight(), module.float_bias()
    else:
        weights, bias = module.weight, module.bias
    weight = weights.detach().numpy()
    numbers = np.zeros(len(weight)) if bias is None else bias.detach().numpy()
    if weight.ndim == 2:
        weight = _as_listed(weight, value)[:, :, None, None]
    elif not isinstance(module.padding, tuple):
        raise writer.refusal(node, f"pads by '{module.padding}'")
    fields = _geometry(module, value) | {
        "weights": Table(np.ascontiguousarray(weight.transpose(0, 2, 3, 1), np.float32).reshape(-1)),
        "bias": Table(numbers.astype(np.float32)),
    }
    result = writer.program.tensor(shape_of(node)[1:])
    writer.call("conv_floats", Struct("float_layer", tuple(fields.items())), writer.read(value), writer.read(result))
    return result


WRITERS: dict[str, Write] = dict.fromkeys(("Conv", "Linear", "IntegerConv", "IntegerLinear"), write_layer)
