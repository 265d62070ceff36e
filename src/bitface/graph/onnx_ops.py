"""One function for each ONNX operator: operands in, modules of the vocabulary out.

A handler is called where at least one operand depends on the image; constants come as numpy arrays. Attributes
that became inputs in later opsets are read from wherever the file has them. What a handler raises means that the
node isn't formed as ONNX says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import TensorProto
from torch import nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph import ops
from bitface.graph.builder import BATCH, Builder, shape_of
from bitface.graph.onnx_integers import IMAGE_VALUES, Integers, Value, dequantize_linear, quantize_linear, rounded

# The types that are computed in float32; casts between them are left out.
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass
class Context:
    """The node at hand and what is needed to import it."""

    node: onnx.NodeProto
    name: str
    builder: Builder
    batch: int | None

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def pair(self, name: str, default: Sequence[int] | None = (1, 1)) -> tuple[int, int]:
        first, second = self.attribute(name, default)
        return first, second

    def ints(self, name: str, operand: Value, default: Sequence[int] | None = None) -> list[int] | None:
        """A list of integers, from the operand (newer opsets) or the attribute (older ones)."""
        if isinstance(operand, Node):
            self.refuse(f"computes its {name} from the image")
        values = operand if operand is not None else self.attribute(name, default)
        return None if values is None else [int(value) for value in np.asarray(values).reshape(-1)]

    def add(self, module: nn.Module, *inputs: Node, suffix: str = "") -> Node:
        return self.builder.add(self.name + suffix, module, *inputs)

    def node_of(self, value: Value) -> Node:
        if isinstance(value, Node):
            return value
        return self.builder.constant(self.name + "_constant", ops.tensor(value))

    def refuse(self, reason: str) -> NoReturn:
        raise BitfaceError(f"node '{self.name}' ({self.node.op_type}) {reason}, which isn't supported")


def compute(context: Context, operands: Sequence[Value]) -> list[Value]:
    """What a node gives for its operands, of which at least one depends on the image.

    Raises:
        BitfaceError: the node has a form that isn't supported.
    """
    kind = context.node.op_type
    integers = next((operand for operand in operands if isinstance(operand, Integers)), None)
    if integers is None or kind in _ON_INTEGERS:
        results = HANDLERS[kind](context, *operands)
        return results if isinstance(results, list) else [results]
    meanings = {
        (operand.scale, operand.zero_point, operand.dtype) if isinstance(operand, Integers) else None
        for operand in operands
        if isinstance(operand, IMAGE_VALUES)
    }
    if kind not in _MOVES or len(meanings) > 1:
        context.refuse("computes with the integers of a QuantizeLinear before they are dequantized")
    moved = compute(context, [operand.numbers if isinstance(operand, Integers) else operand for operand in operands])
    return [replace(integers, numbers=result) if isinstance(result, Node) else result for result in moved]


def refuse_training(context: Context, operands: Sequence[Value]) -> None:
    """Raises BitfaceError for a node, of constants or not, that doesn't do the same at every inference."""
    kind = context.node.op_type
    if kind == "BatchNormalization":
        # Before opset 14 the further outputs, the running statistics, are the mode, whether or not something reads
        # them; since, an attribute is, without which they are invalid.
        training = bool(context.attribute("training_mode", 0)) or any(context.node.output[1:])
    elif kind == "Dropout":
        # Opsets 7 to 11 have no training mode, and the second output, the mask, tells none in any opset.
        training = any(np.any(mode) for mode in operands[2:] if mode is not None)
    else:
        training = False
    if training or kind in _RANDOM:
        reason = "is in training mode" if training else "draws random numbers, as in training"
        raise BitfaceError(f"node '{context.name}' ({kind}) {reason}; export the network again, after `.eval()`")


def conv(context: Context, x: Node, weight: Value, bias: Value = None) -> Node:
    if isinstance(weight, Node) or isinstance(bias, Node):
        context.refuse("has weights computed from the image")
    if np.ndim(weight) != 4:
        context.refuse(f"is a convolution in {np.ndim(weight) - 2} dimensions")
    x, padding = _pads(context, x, weight.shape[2:])
    module = ops.without_init(
        nn.Conv2d,
        in_channels=weight.shape[1] * context.attribute("group", 1),
        out_channels=weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        stride=context.pair("strides"),
        padding=padding,
        dilation=context.pair("dilations"),
        groups=context.attribute("group", 1),
        bias=bias is not None,
    )
    return context.add(ops.fill(module, weight=weight, bias=bias), x)


def _pads(context: Context, x: Node, kernel: Sequence[int], value: float = 0.0) -> tuple[Node, tuple[int, int]]:
    """The symmetric padding of a window; an asymmetric one becomes a Pad of its own before it."""
    mode = context.attribute("auto_pad", "NOTSET")
    top, left, bottom, right = context.attribute("pads", [0, 0, 0, 0])
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        windows = zip(shape_of(x)[2:], kernel, context.pair("strides"), context.pair("dilations"), strict=True)
        for side, size, stride, dilation in windows:
            total = max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
            small, large = total // 2, total - total // 2
            before.append(small if mode == "SAME_UPPER" else large)
            after.append(large if mode == "SAME_UPPER" else small)
        (top, left), (bottom, right) = before, after
    elif mode == "VALID":
        top = left = bottom = right = 0
    if (top, left) == (bottom, right):
        return x, (top, left)
    if context.attribute("ceil_mode", 0):  # the last window may not begin in the padding
        context.refuse("rounds up its size and pads one side more than the other")
    return context.add(ops.Pad((left, right, top, bottom), value), x, suffix="_pad"), (0, 0)


def batch_normalization(context: Context, x: Node, scale: Value, shift: Value, mean: Value, variance: Value) -> Node:
    kind = nn.BatchNorm2d if len(shape_of(x)) == 4 else nn.BatchNorm1d
    module = kind(np.size(scale), eps=context.attribute("epsilon", 1e-5))
    return context.add(ops.fill(module, weight=scale, bias=shift, running_mean=mean, running_var=variance), x)


def prelu(context: Context, x: Node, slope: Value) -> Node:
    """One slope, or one per channel. A list `[C]` is meant per channel, though ONNX reads it as per column."""
    known, given = shape_of(x), np.shape(slope)
    flat = np.asarray(slope).reshape(-1)
    if len(given) == 1:
        per_channel = len(known) == 2 or known[-1] != flat.size
    else:
        per_channel = len(given) >= len(known) - 1 and given[1 - len(known)] == flat.size
    if flat.size != 1 and (flat.size != known[1] or not per_channel):
        context.refuse(f"has slopes of shape {list(given)} for {known[1]} channels")
    return context.add(ops.fill(nn.PReLU(flat.size), weight=flat), x)


def clip(context: Context, x: Node | Integers, low: Value = None, high: Value = None) -> Node | Integers:
    """Limits of integers are integers, those of floats are floats."""
    limits = (low, "min", -ops.UNBOUNDED), (high, "max", ops.UNBOUNDED)
    given = [context.attribute(name) if operand is None else operand for operand, name, _ in limits]
    number = x.number if isinstance(x, Integers) else float
    low, high = (
        default if limit is None else number(np.asarray(limit).item())
        for limit, (_, _, default) in zip(given, limits, strict=True)
    )
    module = nn.ReLU() if low == 0 and high >= ops.UNBOUNDED else ops.Clip(low, high)
    if isinstance(x, Integers):
        return replace(x, numbers=context.add(module, x.numbers))
    return context.add(module, x)


def binary(context: Context, a: Value, b: Value) -> Node:
    if context.node.op_type == "Mul" and (quantizer := rounded(context, a, b)):
        return context.add(*quantizer)
    return context.add(ops.BINARY[context.node.op_type](), context.node_of(a), context.node_of(b))


def gemm(context: Context, x: Value, weight: Value, bias: Value = None) -> Node:
    if isinstance(weight, Node) or isinstance(bias, Node) or context.attribute("transA", 0):
        context.refuse("multiplies by something other than a constant matrix from the right")
    if np.ndim(bias) == 2 and np.shape(bias)[0] != 1:
        context.refuse("adds another bias to every image")
    weight = weight if context.attribute("transB", 0) else weight.T
    weight = weight * np.float32(context.attribute("alpha", 1.0))
    if bias is not None:
        bias = np.asarray(bias).reshape(-1) * np.float32(context.attribute("beta", 1.0))
    return _linear(context, x, weight, bias)


def matmul(context: Context, a: Value, b: Value) -> Node:
    if isinstance(a, Node) and not isinstance(b, Node) and np.ndim(b) == 2:
        return _linear(context, a, b.T, None)
    return binary(context, a, b)


def _linear(context: Context, x: Value, weight: np.ndarray, bias: np.ndarray | None) -> Node:
    """`weight` is `[out, in]`; one bias may stand for all."""
    outputs, inputs = weight.shape
    bias = None if bias is None else np.broadcast_to(bias, (outputs,))
    module = ops.without_init(nn.Linear, in_features=inputs, out_features=outputs, bias=bias is not None)
    return context.add(ops.fill(module, weight=weight, bias=bias), x)


def max_pool(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    x, padding = _pads(context, x, kernel, value=-ops.UNBOUNDED)
    ceil = bool(context.attribute("ceil_mode", 0))
    window = nn.MaxPool2d(kernel, context.pair("strides"), padding, context.pair("dilations"), ceil_mode=ceil)
    return context.add(window, x)


def average_pool(context: Context, x: Node) -> Node:
    kernel = context.pair("kernel_shape", None)
    counted = bool(context.attribute("count_include_pad", 0))
    padded, padding = _pads(context, x, kernel)
    if padded is not x and not counted:
        context.refuse("pads one side more than the other without counting the padding")
    if context.pair("dilations") != (1, 1):
        context.refuse("is dilated")
    ceil = bool(context.attribute("ceil_mode", 0))
    return context.add(nn.AvgPool2d(kernel, context.pair("strides"), padding, ceil, counted), padded)


def global_average_pool(context: Context, x: Node) -> Node:
    return context.add(ops.ReduceMean(tuple(range(2, len(shape_of(x))))), x)


def global_max_pool(context: Context, x: Node) -> Node:
    return context.add(nn.MaxPool2d(shape_of(x)[2:]), x)


def reduce(context: Context, x: Node, axes: Value = None) -> Node:
    dims = context.ints("axes", axes)
    rank = len(shape_of(x))
    chosen = tuple(sorted(_axis(axis, rank) for axis in dims or range(rank)))
    if 0 in chosen:
        context.refuse("reduces the batch")
    kind = ops.ReduceMean if context.node.op_type == "ReduceMean" else ops.ReduceL2
    return context.add(kind(chosen, bool(context.attribute("keepdims", 1))), x)


def lp_normalization(context: Context, x: Node) -> Node:
    axis, p = _axis(context.attribute("axis", -1), len(shape_of(x))), context.attribute("p", 2)
    if axis == 0 or p not in (1, 2):
        context.refuse(f"divides by the L{p} norm along axis {axis}")
    return context.add(ops.Normalize(axis, p), x)


def flatten(context: Context, x: Node) -> Node:
    if _axis(context.attribute("axis", 1), len(shape_of(x))) != 1:
        context.refuse("flattens into the batch, or not all of the image")
    return context.builder.reshape(context.name, x, (-1, -1))


def reshape(context: Context, x: Node, shape: Value) -> Node:
    sides = context.ints("shape", shape) or []
    if context.attribute("allowzero", 0) and 0 in sides:
        context.refuse("reshapes to an empty tensor")
    return context.builder.reshape(context.name, x, tuple(sides), context.batch or 1)


def squeeze(context: Context, x: Node, axes: Value = None) -> Node:
    known = shape_of(x)
    dims = context.ints("axes", axes)
    chosen = {_axis(axis, len(known)) for axis in dims} if dims else {i for i, s in enumerate(known) if s == 1}
    if any(known[axis] != 1 for axis in chosen):
        context.refuse("squeezes an axis longer than 1")
    return context.builder.reshape(context.name, x, tuple(s for i, s in enumerate(known) if i not in chosen))


def unsqueeze(context: Context, x: Node, axes: Value = None) -> Node:
    sides = list(shape_of(x))
    dims = context.ints("axes", axes) or []
    for axis in sorted(_axis(axis, len(sides) + len(dims)) for axis in dims):
        sides.insert(axis, 1)
    return context.builder.reshape(context.name, x, tuple(sides))


def transpose(context: Context, x: Node) -> Node:
    rank = len(shape_of(x))
    order = tuple(context.attribute("perm", range(rank - 1, -1, -1)))
    return x if order == tuple(range(rank)) else context.add(ops.Transpose(order), x)


def concat(context: Context, *parts: Value) -> Node:
    if any(not isinstance(part, Node) for part in parts):
        context.refuse("joins constants to the image")
    return context.add(ops.Concat(_axis(context.attribute("axis"), len(shape_of(parts[0])))), *parts)


def split(context: Context, x: Node, sizes: Value = None) -> list[Node]:
    axis = _axis(context.attribute("axis", 0), len(shape_of(x)))
    side, count = shape_of(x)[axis], len(context.node.output)
    even = -(-side // count)
    lengths = context.ints("split", sizes) or [even] * (count - 1) + [side - even * (count - 1)]
    ends = np.cumsum(lengths).tolist()
    if len(ends) != count or ends[-1] != side:
        context.refuse(f"splits {side} into {lengths}")
    return [
        context.builder.take(f"{context.name}_{index}", x, axis, end - length, end)
        for index, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def slice_(
    context: Context, x: Node, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> Node:
    first, last = context.ints("starts", starts) or [], context.ints("ends", ends) or []
    dims = context.ints("axes", axes, range(len(first))) or []
    strides = context.ints("steps", steps, [1] * len(first)) or []
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        axis = _axis(dim, len(shape_of(x)))
        if axis == 0 and end == context.batch:
            end = BATCH
        start, end, _ = slice(start, end).indices(shape_of(x)[axis])
        x = context.builder.take(context.name, x, axis, start, end, step)
    return x


def gather(context: Context, x: Node, indices: Value) -> Node:
    axis = _axis(context.attribute("axis", 0), len(shape_of(x)))
    if isinstance(indices, Node) or axis == 0 or np.ndim(indices) > 1:
        context.refuse("picks from the batch, or by computed indices")
    side = shape_of(x)[axis]
    wanted = [_axis(int(index), side) for index in np.asarray(indices).reshape(-1)]
    parts = [context.builder.take(f"{context.name}_{index}", x, axis, index, index + 1) for index in wanted]
    if np.ndim(indices) == 1:
        return parts[0] if len(parts) == 1 else context.add(ops.Concat(axis), *parts)
    rest = tuple(side for i, side in enumerate(shape_of(x)) if i != axis)
    return context.builder.reshape(context.name + "_picked", parts[0], rest)


def pad(context: Context, x: Node, pads: Value = None, value: Value = None, axes: Value = None) -> Node:
    if context.attribute("mode", "constant") != "constant":
        context.refuse(f"pads by {context.attribute('mode')}")
    rank = len(shape_of(x))
    given = context.ints("pads", pads) or []
    dims = context.ints("axes", axes, range(rank)) or []
    before, after = [0] * rank, [0] * rank
    for dim, first, last in zip(dims, given[: len(dims)], given[len(dims) :], strict=True):
        before[_axis(dim, rank)], after[_axis(dim, rank)] = first, last
    if not any(before) and not any(after):
        return x
    if rank != 4 or any(before[:2]) or any(after[:2]):
        context.refuse("pads batch or channels")
    constant = float(np.asarray(value if value is not None else context.attribute("value", 0.0)).item())
    return context.add(ops.Pad((before[3], after[3], before[2], after[2]), constant), x)


def shape(context: Context, x: Node) -> np.ndarray:
    return np.array(shape_of(x)[context.attribute("start", 0) : context.attribute("end")], dtype=np.int64)


def expand(context: Context, x: Node, shape: Value) -> Node:
    sides = context.ints("shape", shape) or []
    return context.builder.expand(context.name, x, tuple(sides), context.batch)


def cast(context: Context, x: Node) -> Node:
    if context.attribute("to") not in FLOATS:
        context.refuse("leaves floating point")
    return x


def max_min(context: Context, *operands: Value) -> Node | Integers:
    """With a constant number it is a limit: `max(x, 0)` is a ReLU."""
    images = [operand for operand in operands if isinstance(operand, IMAGE_VALUES)]
    limits = [operand for operand in operands if not isinstance(operand, IMAGE_VALUES)]
    if len(images) != 1 or len(limits) != 1 or np.size(limits[0]) != 1:
        context.refuse("compares more than the image and one number")
    return clip(context, images[0], *(limits if context.node.op_type == "Max" else [None, *limits]))


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise IndexError(f"there is no {axis} among {rank}")
    return axis % rank


def _module(make: Callable[[Context], nn.Module]) -> Callable[..., Any]:
    return lambda context, x: context.add(make(context), x)


HANDLERS: dict[str, Callable[..., Any]] = {
    "Relu": lambda context, x: clip(context, x, 0),
    "Sigmoid": _module(lambda _: nn.Sigmoid()),
    "Tanh": _module(lambda _: nn.Tanh()),
    "HardSwish": _module(lambda _: nn.Hardswish()),
    "Round": _module(lambda _: ops.Round()),
    "LeakyRelu": _module(lambda context: nn.LeakyReLU(context.attribute("alpha", 0.01))),
    "HardSigmoid": _module(
        lambda context: ops.HardSigmoid(context.attribute("alpha", 0.2), context.attribute("beta", 0.5))
    ),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), binary),
    **dict.fromkeys(("Max", "Min"), max_min),
    **dict.fromkeys(("ReduceMean", "ReduceL2"), reduce),
    "Conv": conv, "BatchNormalization": batch_normalization, "PRelu": prelu, "Clip": clip, "Gemm": gemm,
    "MatMul": matmul, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool, "GlobalMaxPool": global_max_pool,
    "LpNormalization": lp_normalization, "Flatten": flatten, "Reshape": reshape, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Transpose": transpose, "Concat": concat, "Split": split, "Slice": slice_,
    "Gather": gather, "Pad": pad, "Shape": shape, "Expand": expand, "Cast": cast,
    "QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear,
    "Dropout": lambda context, x, *_: x, "Identity": lambda context, x: x,
}  # fmt: skip

# What may stand between a QuantizeLinear and its DequantizeLinear: handlers that take `Integers` ...
_ON_INTEGERS = {"DequantizeLinear", "Clip", "Max", "Min", "Relu"}
# ... and operators that only move or pick integers, which thereby do the same to the numbers they stand for.
_MOVES = {
    "Concat", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
