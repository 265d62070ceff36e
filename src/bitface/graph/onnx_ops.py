"""One function for each ONNX operator: operands in, modules of the vocabulary out.

A handler is called where at least one operand depends on the image; constants come as numpy arrays. Attributes
that became inputs in later opsets are read from wherever the file has them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.errors import BitfaceError
from bitface.graph import ops
from bitface.graph.builder import BATCH, Builder, shape_of
from bitface.graph.integer import QuantizeDequantize

Value = Any  # a Node where the value depends on the image, otherwise a numpy array or None


@dataclass
class Context:
    """The node at hand and what is needed to import it."""

    node: onnx.NodeProto
    name: str
    where: str
    builder: Builder
    opset: int
    batch: int | None

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def ints(self, name: str, operand: Value, default: Sequence[int] | None = None) -> list[int] | None:
        """A list of integers, from the operand (newer opsets) or the attribute (older ones)."""
        if isinstance(operand, Node):
            self.refuse(f"computes its {name} from the image")
        values = operand if operand is not None else self.attribute(name, default)
        return None if values is None else [int(value) for value in np.asarray(values).reshape(-1)]

    def add(self, module: nn.Module, *inputs: Node, suffix: str = "") -> Node:
        return self.builder.add(self.name + suffix, module, *inputs)

    def node_of(self, value: Value) -> Node:
        return (
            value
            if isinstance(value, Node)
            else self.builder.constant(self.name + "_constant", tensor(value))
        )

    def refuse(self, reason: str) -> None:
        raise BitfaceError(f"{self.where} ({self.node.op_type}) {reason}, which isn't supported")


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
        stride=tuple(context.attribute("strides", [1, 1])),
        padding=padding,
        dilation=tuple(context.attribute("dilations", [1, 1])),
        groups=context.attribute("group", 1),
        bias=bias is not None,
    )
    fill(module, weight=weight) if bias is None else fill(module, weight=weight, bias=bias)
    return context.add(module, x)


def _pads(
    context: Context, x: Node, kernel: Sequence[int], value: float = 0.0
) -> tuple[Node, tuple[int, int]]:
    """The symmetric padding of a window; an asymmetric one becomes a Pad of its own before it."""
    mode = context.attribute("auto_pad", "NOTSET")
    top, left, bottom, right = context.attribute("pads", [0, 0, 0, 0])
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        strides = context.attribute("strides", [1, 1])
        dilations = context.attribute("dilations", [1, 1])
        before, after = [], []
        for side, size, stride, dilation in zip(shape_of(x)[2:], kernel, strides, dilations, strict=True):
            total = max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
            small, large = total // 2, total - total // 2
            before.append(small if mode == "SAME_UPPER" else large)
            after.append(large if mode == "SAME_UPPER" else small)
        (top, left), (bottom, right) = before, after
    elif mode == "VALID":
        top = left = bottom = right = 0
    if (top, left) == (bottom, right):
        return x, (top, left)
    return context.add(ops.Pad((left, right, top, bottom), value), x, suffix="_pad"), (0, 0)


def batch_normalization(
    context: Context, x: Node, scale: Value, shift: Value, mean: Value, variance: Value
) -> Node:
    if context.attribute("training_mode", 0):
        context.refuse("is in training mode")
    kind = nn.BatchNorm2d if len(shape_of(x)) == 4 else nn.BatchNorm1d
    module = kind(np.size(scale), eps=context.attribute("epsilon", 1e-5))
    fill(module, weight=scale, bias=shift, running_mean=mean, running_var=variance)
    return context.add(module, x)


def prelu(context: Context, x: Node, slope: Value) -> Node:
    channels = shape_of(x)[1]
    flat = np.asarray(slope).reshape(-1)
    per_channel = np.ndim(slope) == 1 or np.shape(slope)[-(len(shape_of(x)) - 1)] == flat.size
    if flat.size != 1 and (flat.size != channels or not per_channel):
        context.refuse(f"has slopes of shape {list(np.shape(slope))} for {channels} channels")
    return context.add(fill(nn.PReLU(flat.size), weight=flat), x)


def clip(context: Context, x: Node, low: Value = None, high: Value = None) -> Node:
    bounds = []
    for operand, name, default in ((low, "min", -ops.UNBOUNDED), (high, "max", ops.UNBOUNDED)):
        value = operand if operand is not None else context.attribute(name, default)
        bounds.append(float(np.clip(np.asarray(value).item(), -ops.UNBOUNDED, ops.UNBOUNDED)))
    if bounds == [0.0, ops.UNBOUNDED]:
        return context.add(nn.ReLU(), x)
    return context.add(ops.Clip(*bounds), x)


def binary(context: Context, a: Value, b: Value) -> Node:
    return context.add(ops.BINARY[context.node.op_type](), context.node_of(a), context.node_of(b))


def linear(context: Context, x: Value, weight: Value, bias: Value = None) -> Node:
    """`weight` is `[out, in]`."""
    module = ops.without_init(
        nn.Linear, in_features=weight.shape[1], out_features=weight.shape[0], bias=bias is not None
    )
    fill(module, weight=weight)
    if bias is not None:
        fill(module, bias=np.broadcast_to(np.asarray(bias).reshape(-1), (weight.shape[0],)))
    return context.add(module, x)


def gemm(context: Context, x: Value, weight: Value, bias: Value = None) -> Node:
    if isinstance(weight, Node) or isinstance(bias, Node) or context.attribute("transA", 0):
        context.refuse("multiplies by something other than a constant matrix from the right")
    weight = weight if context.attribute("transB", 0) else weight.T
    scaled = None if bias is None else np.asarray(bias) * np.float32(context.attribute("beta", 1.0))
    return linear(context, x, weight * np.float32(context.attribute("alpha", 1.0)), scaled)


def matmul(context: Context, a: Value, b: Value) -> Node:
    if isinstance(a, Node) and not isinstance(b, Node) and np.ndim(b) == 2:
        return linear(context, a, b.T)
    return binary(context, a, b)


def max_pool(context: Context, x: Node) -> Node:
    kernel = context.attribute("kernel_shape")
    x, padding = _pads(context, x, kernel, value=-ops.UNBOUNDED)
    return context.add(
        nn.MaxPool2d(
            tuple(kernel),
            stride=tuple(context.attribute("strides", [1, 1])),
            padding=padding,
            dilation=tuple(context.attribute("dilations", [1, 1])),
            ceil_mode=bool(context.attribute("ceil_mode", 0)),
        ),
        x,
    )


def average_pool(context: Context, x: Node) -> Node:
    kernel = context.attribute("kernel_shape")
    counted = bool(context.attribute("count_include_pad", 0))
    padded, padding = _pads(context, x, kernel)
    if padded is not x and not counted:
        context.refuse("pads one side more than the other without counting the padding")
    if any(step != 1 for step in context.attribute("dilations", [1, 1])):
        context.refuse("is dilated")
    return context.add(
        nn.AvgPool2d(
            tuple(kernel),
            stride=tuple(context.attribute("strides", [1, 1])),
            padding=padding,
            ceil_mode=bool(context.attribute("ceil_mode", 0)),
            count_include_pad=counted,
        ),
        padded,
    )


def global_average_pool(context: Context, x: Node) -> Node:
    return context.add(ops.ReduceMean(tuple(range(2, len(shape_of(x))))), x)


def global_max_pool(context: Context, x: Node) -> Node:
    return context.add(nn.MaxPool2d(tuple(shape_of(x)[2:])), x)


def reduce(context: Context, x: Node, axes: Value = None) -> Node:
    dims = context.ints("axes", axes)
    rank = len(shape_of(x))
    chosen = tuple(sorted(axis % rank for axis in dims)) if dims else tuple(range(rank))
    if 0 in chosen:
        context.refuse("reduces the batch")
    kind = ops.ReduceMean if context.node.op_type == "ReduceMean" else ops.ReduceL2
    return context.add(kind(chosen, bool(context.attribute("keepdims", 1))), x)


def lp_normalization(context: Context, x: Node) -> Node:
    axis = context.attribute("axis", -1) % len(shape_of(x))
    return context.add(ops.Normalize(axis, context.attribute("p", 2)), x)


def flatten(context: Context, x: Node) -> Node:
    axis = context.attribute("axis", 1)
    if axis % len(shape_of(x)) != 1:
        context.refuse(f"flattens at axis {axis}, into the batch")
    return context.builder.reshape(context.name, x, (-1, _size(shape_of(x)[1:])))


def reshape(context: Context, x: Node, shape: Value = None) -> Node:
    sides = context.ints("shape", shape) or []
    if sides and context.attribute("allowzero", 0) and 0 in sides:
        context.refuse("reshapes to an empty tensor")
    return context.builder.reshape(context.name, x, tuple(sides), context.batch or 1)


def squeeze(context: Context, x: Node, axes: Value = None) -> Node:
    shape = shape_of(x)
    dims = context.ints("axes", axes)
    chosen = (
        {axis % len(shape) for axis in dims} if dims else {i for i, side in enumerate(shape) if side == 1}
    )
    if any(shape[axis] != 1 for axis in chosen):
        context.refuse("squeezes an axis longer than 1")
    return context.builder.reshape(context.name, x, tuple(s for i, s in enumerate(shape) if i not in chosen))


def unsqueeze(context: Context, x: Node, axes: Value = None) -> Node:
    shape = list(shape_of(x))
    dims = context.ints("axes", axes) or []
    for axis in sorted(axis % (len(shape) + len(dims)) for axis in dims):
        shape.insert(axis, 1)
    return context.builder.reshape(context.name, x, tuple(shape))


def transpose(context: Context, x: Node) -> Node:
    rank = len(shape_of(x))
    order = tuple(context.attribute("perm", range(rank - 1, -1, -1)))
    if order[0] != 0:
        context.refuse("moves the batch")
    return x if order == tuple(range(rank)) else context.add(ops.Transpose(order), x)


def concat(context: Context, *parts: Value) -> Node:
    nodes = [context.node_of(part) for part in parts]
    axis = context.attribute("axis", 1) % len(shape_of(nodes[0]))
    if axis == 0 or any(not isinstance(part, Node) for part in parts):
        context.refuse("joins along the batch, or joins constants")
    return context.add(ops.Concat(axis), *nodes)


def split(context: Context, x: Node, sizes: Value = None) -> list[Node]:
    axis = context.attribute("axis", 0) % len(shape_of(x))
    count = len(context.node.output)
    side = shape_of(x)[axis]
    even = -(-side // count)
    lengths = context.ints("split", sizes) or [even] * (count - 1) + [side - even * (count - 1)]
    starts = np.cumsum([0, *lengths]).tolist()
    return [
        context.builder.take(f"{context.name}_{index}", x, axis, starts[index], starts[index + 1])
        for index in range(count)
    ]


def slice_(
    context: Context,
    x: Node,
    starts: Value = None,
    ends: Value = None,
    axes: Value = None,
    steps: Value = None,
) -> Node:
    first = context.ints("starts", starts) or []
    last = context.ints("ends", ends) or []
    dims = context.ints("axes", axes, range(len(first))) or []
    strides = context.ints("steps", steps, [1] * len(first)) or []
    for start, end, axis, step in zip(first, last, dims, strides, strict=True):
        side = shape_of(x)[axis]
        if axis == 0 and step == 1 and start == 0 and end in (context.batch, BATCH):
            continue
        start, end, _ = slice(start, end).indices(side)
        x = context.builder.take(context.name, x, axis, start, end, step)
    return x


def gather(context: Context, x: Node, indices: Value) -> Node:
    axis = context.attribute("axis", 0) % len(shape_of(x))
    if isinstance(indices, Node) or axis == 0 or np.ndim(indices) > 1:
        context.refuse("picks from the batch, or by computed indices")
    side = shape_of(x)[axis]
    wanted = [int(index) % side for index in np.asarray(indices).reshape(-1)]
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
    for index, axis in enumerate(dims):
        before[axis], after[axis] = given[index], given[index + len(dims)]
    if not any(before) and not any(after):
        return x
    if rank != 4 or any(before[:2]) or any(after[:2]):
        context.refuse("pads batch or channels")
    constant = float(np.asarray(value if value is not None else context.attribute("value", 0.0)).item())
    return context.add(ops.Pad((before[3], after[3], before[2], after[2]), constant), x)


def shape(context: Context, x: Node) -> np.ndarray:
    sides = list(shape_of(x))[context.attribute("start", 0) : context.attribute("end")]
    return np.array(sides, dtype=np.int64)


def expand(context: Context, x: Node, shape: Value) -> Node:
    """Left to the operator that follows, which broadcasts by itself."""
    users = context.node.output[0]
    if isinstance(shape, Node) or not users:
        context.refuse("expands to a computed shape")
    return x


def cast(context: Context, x: Node) -> Node:
    if context.attribute("to") != onnx.TensorProto.FLOAT:
        context.refuse("leaves 32-bit floating point")
    return x


def dropout(context: Context, x: Node, *_: Value) -> list[Value]:
    return [x, None]


def max_min(context: Context, a: Value, b: Value) -> Node:
    """With a constant number it is a limit: `max(x, 0)` is a ReLU."""
    x, limit = (a, b) if isinstance(a, Node) else (b, a)
    if isinstance(limit, Node) or np.size(limit) != 1:
        context.refuse("compares two tensors")
    return clip(context, x, limit, None) if context.node.op_type == "Max" else clip(context, x, None, limit)


def quantize_linear(context: Context, x: Node, scale: Value, zero_point: Value = None) -> Node:
    """A QDQ pair of an activation: its dequantization does nothing more."""
    dtype = np.uint8 if zero_point is None else np.asarray(zero_point).dtype
    if isinstance(scale, Node) or np.size(scale) != 1 or dtype not in (np.int8, np.uint8):
        context.refuse("quantizes an activation per channel, or to other integers than int8 and uint8")
    zero = 0 if zero_point is None else int(np.asarray(zero_point).item())
    return context.add(QuantizeDequantize(float(np.asarray(scale).item()), zero, 8, dtype == np.int8), x)


def dequantize_linear(context: Context, x: Node, *_: Value) -> Node:
    return x


def _module(make: Callable[[Context], nn.Module]) -> Callable[..., Any]:
    return lambda context, x: context.add(make(context), x)


def _size(sides: Sequence[int]) -> int:
    return int(np.prod(sides))


HANDLERS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "BatchNormalization": batch_normalization,
    "PRelu": prelu,
    "Relu": _module(lambda context: nn.ReLU()),
    "LeakyRelu": _module(lambda context: nn.LeakyReLU(context.attribute("alpha", 0.01))),
    "Clip": clip,
    "Sigmoid": _module(lambda context: nn.Sigmoid()),
    "Tanh": _module(lambda context: nn.Tanh()),
    "HardSigmoid": _module(
        lambda context: ops.HardSigmoid(context.attribute("alpha", 0.2), context.attribute("beta", 0.5))
    ),
    "HardSwish": _module(lambda context: nn.Hardswish()),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), binary),
    **dict.fromkeys(("Max", "Min"), max_min),
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMean": reduce,
    "ReduceL2": reduce,
    "LpNormalization": lp_normalization,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "Shape": shape,
    "Expand": expand,
    "Cast": cast,
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "Identity": lambda context, x: x,
    "Dropout": dropout,
}
