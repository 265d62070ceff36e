"""How each operator of the vocabulary is written in ncnn's layers; what isn't in the table, ncnn has no layer for.

Blobs have no batch: axis 1 of a tensor is ncnn's axis 0.
"""

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import shape_of
from bitface.graph.op_spec import traits_of
from bitface.graph.operators.resizing import Resize
from bitface.targets.ncnn.layers import write_convolution, write_linear
from bitface.targets.ncnn.model_files import Parameter
from bitface.targets.ncnn.writer import WriteOperator, Writer

# Of BinaryOp and UnaryOp.
_ADD, _SUB, _MUL, _DIV, _MAX, _MIN, _POW, _RSUB, _RDIV = range(9)
_ABS, _NEG, _SQUARE, _SQRT, _EXP, _LOG, _RECIPROCAL, _ROUND = 0, 1, 4, 5, 7, 8, 15, 18
# Of Reduction.
_REDUCTIONS = {
    "ReduceSum": 0, "ReduceSumSquare": 2, "ReduceMean": 3, "ReduceMax": 4, "ReduceMin": 5, "ReduceL1": 7, "ReduceL2": 8,
}  # fmt: skip
# The keys of arrays of Crop.
_STARTS, _ENDS, _AXES = 9, 10, 11
# An end that lies behind every axis.
_BEHIND = 2**31 - 1
# Below it a norm counts as this, as in torch.
_SMALLEST_NORM = 1e-12


def _layer(kind: str, parameters: Callable[[Any], Mapping[int, Parameter]] = lambda module: {}) -> WriteOperator:
    """An operator that is one layer without numbers of its own."""

    def write(writer: Writer, node: Node, module: nn.Module) -> None:
        writer.layer(kind, node, [writer.read(node.args[0])], parameters(module))

    return write


def _unary(code: int) -> WriteOperator:
    return _layer("UnaryOp", lambda module: {0: code})


def _scalar(code: int, number: float) -> dict[int, Parameter]:
    """The parameters of a BinaryOp whose second operand is a number."""
    return {0: code, 1: 1, 2: float(number)}


def _binary(code: int, reverse: int) -> WriteOperator:
    """Arithmetic on two tensors.

    Args:
        reverse: the code of the same with its operands exchanged.
    """

    def write(writer: Writer, node: Node, module: nn.Module) -> None:
        a, b = node.args
        if (number := writer.number(b)) is not None:
            writer.layer("BinaryOp", node, [writer.read(a)], _scalar(code, number))
        elif (number := writer.number(a)) is not None:
            writer.layer("BinaryOp", node, [writer.read(b)], _scalar(reverse, number))
        else:
            rank = len(shape_of(node)) - 1
            if {len(shape_of(x)) - 1 for x in (a, b) if writer.constant(x) is None} != {rank}:  # type: ignore[arg-type]
                raise writer.refusal(node, "computes on tensors of different ranks")
            writer.layer("BinaryOp", node, [writer.read(a, rank), writer.read(b, rank)], {0: code})

    return write


def _write_prelu(writer: Writer, node: Node, module: nn.PReLU) -> None:
    writer.layer("PReLU", node, [writer.read(node.args[0])], {0: module.weight.numel()})
    writer.files.numbers(module.weight.detach().numpy())


def _write_power(writer: Writer, node: Node, module: Any) -> None:
    """ncnn takes a logarithm first, which no negative number has."""
    exponent, x = module.exponent, writer.read(node.args[0])
    codes = {2.0: _SQUARE, 0.5: _SQRT, -1.0: _RECIPROCAL}
    if exponent in codes:
        writer.layer("UnaryOp", node, [x], {0: codes[exponent]})
    elif exponent == 3:
        x, other = writer.halves(node, x)
        square = writer.part("UnaryOp", node, "square", [x], {0: _SQUARE})
        writer.layer("BinaryOp", node, [square, other], {0: _MUL})
    elif traits_of(writer.module_of(node.all_input_nodes[0])).never_negative:
        writer.layer("BinaryOp", node, [x], _scalar(_POW, exponent))
    else:
        raise writer.refusal(node, f"raises numbers that may be negative to the power of {exponent}")


def _write_softplus(writer: Writer, node: Node, module: nn.Softplus) -> None:
    if module.beta != 1:
        raise writer.refusal(node, f"is a Softplus with beta {module.beta}")
    writer.layer("Softplus", node, [writer.read(node.args[0])])


def _write_softsign(writer: Writer, node: Node, module: nn.Softsign) -> None:
    x, other = writer.halves(node, writer.read(node.args[0]))
    size = writer.part("UnaryOp", node, "size", [other], {0: _ABS})
    divisor = writer.part("BinaryOp", node, "divisor", [size], _scalar(_ADD, 1.0))
    writer.layer("BinaryOp", node, [x, divisor], {0: _DIV})


def _write_batch_norm(writer: Writer, node: Node, module: Any) -> None:
    writer.layer("BatchNorm", node, [writer.read(node.args[0])], {0: module.num_features, 1: float(module.eps)})
    for values in (module.weight, module.running_mean, module.running_var, module.bias):
        writer.files.numbers(values.detach().numpy())


def _write_affine(writer: Writer, node: Node, module: Any) -> None:
    writer.layer("Scale", node, [writer.read(node.args[0])], {0: module.channels, 1: 1})
    for values in (module.scale, module.shift):
        writer.files.numbers(values.detach().numpy())


def _write_group_norm(writer: Writer, node: Node, module: nn.GroupNorm) -> None:
    parameters: dict[int, Parameter] = {0: module.num_groups, 1: module.num_channels, 2: float(module.eps), 3: 1}
    writer.layer("GroupNorm", node, [writer.read(node.args[0])], parameters)
    for values in (module.weight, module.bias):
        writer.files.numbers(values.detach().numpy())


def _write_layer_norm(writer: Writer, node: Node, module: nn.LayerNorm) -> None:
    size = int(np.prod(module.normalized_shape))
    if len(module.normalized_shape) > 2:
        raise writer.refusal(node, f"normalises over {len(module.normalized_shape)} axes")
    writer.layer("LayerNorm", node, [writer.read(node.args[0])], {0: size, 1: float(module.eps), 2: 1})
    zeros = torch.zeros(size)
    for values in (module.weight, zeros if module.bias is None else module.bias):
        writer.files.numbers(values.detach().numpy())


def _write_normalize(writer: Writer, node: Node, module: Any) -> None:
    """By a reduction, which every rank has."""
    x, other = writer.halves(node, writer.read(node.args[0]))
    code = _REDUCTIONS["ReduceL1" if module.p == 1 else "ReduceL2"]
    norm = writer.part("Reduction", node, "norm", [other], _reduced(code, (module.dim,), True))
    divisor = writer.part("BinaryOp", node, "divisor", [norm], _scalar(_MAX, _SMALLEST_NORM))
    writer.layer("BinaryOp", node, [x, divisor], {0: _DIV})


def _reduction(name: str) -> WriteOperator:
    return _layer("Reduction", lambda module: _reduced(_REDUCTIONS[name], module.dims, module.keepdim))


def _reduced(code: int, dims: tuple[int, ...], keepdim: bool) -> dict[int, Parameter]:
    return {0: code, 1: 0, 3: [dim - 1 for dim in dims], 4: int(keepdim), 5: 1}


def _write_pool(writer: Writer, node: Node, module: nn.MaxPool2d | nn.AvgPool2d) -> None:
    average = isinstance(module, nn.AvgPool2d)
    kernel, stride, padding = map(_pair, (module.kernel_size, module.stride, module.padding))
    if not average and _pair(module.dilation) != (1, 1):
        raise writer.refusal(node, "is a dilated MaxPool")
    if average and module.divisor_override:
        raise writer.refusal(node, "is an AveragePool with a divisor of its own")
    padded = [side + 2 * pad for side, pad in zip(shape_of(node.all_input_nodes[0])[2:], padding, strict=True)]
    windows = list(zip(padded, shape_of(node)[2:], kernel, stride, strict=True))
    # Rounded up: the last window may lie over the border.
    beyond = any((count - 1) * step + size > side for side, count, size, step in windows)
    if module.ceil_mode and any(-(-(side - size) // step) + 1 != count for side, count, size, step in windows):
        raise writer.refusal(node, "is a pooling whose last window would begin in the padding")
    counted = average and bool(module.count_include_pad)
    if counted and beyond:
        raise writer.refusal(node, "is an AveragePool that rounds up its size and counts the padding")
    parameters: dict[int, Parameter] = {
        0: int(average), 1: kernel[1], 11: kernel[0], 2: stride[1], 12: stride[0], 3: padding[1], 13: padding[0],
        5: int(not beyond), 6: int(counted),
    }  # fmt: skip
    writer.layer("Pooling", node, [writer.read(node.args[0])], parameters)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _write_pad(writer: Writer, node: Node, module: Any) -> None:
    pads = [*module.pads, *[0] * (6 - len(module.pads))]
    if len(shape_of(node)) != 4 or len(pads) > 6 or min(pads) < 0:
        raise writer.refusal(node, f"pads {list(module.pads)} of {len(shape_of(node)) - 1} axes")
    left, right, top, bottom, front, behind = pads
    kind = {"constant": 0, "edge": 1, "reflect": 2}[module.mode]
    parameters: dict[int, Parameter] = {
        0: top, 1: bottom, 2: left, 3: right, 4: kind, 5: float(module.value), 7: front, 8: behind,
    }  # fmt: skip
    writer.layer("Padding", node, [writer.read(node.args[0])], parameters)


def _write_concat(writer: Writer, node: Node, module: Any) -> None:
    rank = len(shape_of(node)) - 1
    writer.layer("Concat", node, [writer.read(part, rank) for part in node.args], {0: module.dim - 1})


def _write_reshape(writer: Writer, node: Node, module: Any) -> None:
    writer.layer("Reshape", node, [writer.read(node.args[0])], writer.sides(node, module.tail))


def _write_transpose(writer: Writer, node: Node, module: Any) -> None:
    """ncnn counts axes from the last, and the orders of them so that the last one's place changes last."""
    rank = len(module.dims) - 1
    if module.dims[0] != 0 or not 2 <= rank <= 4:
        raise writer.refusal(node, f"is a Transpose of {rank} axes")
    order = tuple(rank - dim for dim in reversed(module.dims[1:]))
    orders = sorted(permutations(range(rank)), key=lambda one: [-axis for axis in reversed(one)])
    writer.layer("Permute", node, [writer.read(node.args[0])], {0: orders.index(order)})


def _write_gather(writer: Writer, node: Node, module: Any) -> None:
    _pick_channels(writer, node, module.dim, torch.tensor(module.indices))


def _pick_channels(writer: Writer, node: Node, dim: int, places: Tensor) -> None:
    """Channels of a map in any order, by a convolution of ones and zeros, as ncnn has no layer that picks."""
    if dim != 1 or len(shape_of(node)) != 4:
        raise writer.refusal(node, f"picks places of axis {dim} that aren't beside each other")
    weight = torch.eye(shape_of(node.all_input_nodes[0])[1])[places]
    parameters: dict[int, Parameter] = {0: len(weight), 1: 1, 6: weight.numel()}
    writer.layer("Convolution", node, [writer.read(node.args[0])], parameters)
    writer.files.weights(weight.numpy())


def _write_slice(writer: Writer, node: Node, module: Any) -> None:
    if module.step != 1:
        places = torch.arange(shape_of(node.all_input_nodes[0])[module.dim])
        shape = [1] * module.dim + [-1]
        return _pick_channels(writer, node, module.dim, module(places.view(shape)).flatten())
    end = _BEHIND if module.end is None else module.end
    parameters: dict[int, Parameter] = {_STARTS: [module.start], _ENDS: [end], _AXES: [module.dim - 1]}
    writer.layer("Crop", node, [writer.read(node.args[0])], parameters)


def _write_matmul(writer: Writer, node: Node, module: nn.Module) -> None:
    rank = len(shape_of(node)) - 1
    if {len(shape_of(x)) - 1 for x in node.all_input_nodes} != {rank} or rank < 2:
        raise writer.refusal(node, "multiplies tensors of different ranks")
    writer.layer("MatMul", node, [writer.read(x, rank) for x in node.args])


def _picks_alike(module: Resize, old: int, new: int, scale: float) -> bool:
    """Whether the nearest pixels along an axis are those that ncnn takes: where the new ones begin."""
    along = Resize((new,), (scale,), module.mode, module.coordinates, module.rounding)
    begins = (np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))).astype(int)
    return np.array_equal(along(torch.arange(old)[None])[0].numpy(), begins.clip(max=old - 1))


def _write_resize(writer: Writer, node: Node, module: Any) -> None:
    before, after = shape_of(node.all_input_nodes[0])[1:], module.sizes
    axes = list(zip(before, after, module.scales, strict=True))
    aligned = module.coordinates == "align_corners"
    if module.mode == "nearest":
        fits = all(_picks_alike(module, *axis) for axis in axes)
    else:  # of one new pixel it takes the middle
        middle = module.coordinates == "half_pixel" or all(new > 1 or old == 1 for old, new, _ in axes)
        fits = aligned or (middle and module.coordinates in ("half_pixel", "pytorch_half_pixel"))
    exact = all(np.isclose(new / old, scale) for old, new, scale in axes)
    if len(after) != 3 or before[0] != after[0] or not exact or not fits:
        raise writer.refusal(node, f"is a Resize by {module.mode}, {module.coordinates}, {module.rounding}")
    kind = 2 if module.mode == "linear" else 1
    parameters: dict[int, Parameter] = {0: kind, 3: after[1], 4: after[2], 6: int(aligned)}
    writer.layer("Interp", node, [writer.read(node.args[0])], parameters)


OPERATORS: dict[str, WriteOperator] = {
    "Conv": write_convolution,
    "IntegerConv": write_convolution,
    "Linear": write_linear,
    "IntegerLinear": write_linear,
    "Relu": _layer("ReLU"),
    "LeakyRelu": _layer("ReLU", lambda module: {0: float(module.negative_slope)}),
    "PRelu": _write_prelu,
    "Clip": _layer("Clip", lambda module: {0: module.low, 1: module.high}),
    "Sigmoid": _layer("Sigmoid"),
    "Tanh": _layer("TanH"),
    "HardSigmoid": _layer("HardSigmoid", lambda module: {0: float(module.alpha), 1: float(module.beta)}),
    "HardSwish": _layer("HardSwish", lambda module: {0: 1 / 6, 1: 0.5}),
    "Silu": _layer("Swish"),
    "Mish": _layer("Mish"),
    "Elu": _layer("ELU", lambda module: {0: float(module.alpha)}),
    "Celu": _layer("CELU", lambda module: {0: float(module.alpha)}),
    "Selu": _layer("SELU", lambda module: {0: module.alpha, 1: module.gamma}),
    "Gelu": _layer("GELU", lambda module: {0: int(module.approximate == "tanh")}),
    "Softplus": _write_softplus,
    "Softsign": _write_softsign,
    "Add": _binary(_ADD, _ADD),
    "Sub": _binary(_SUB, _RSUB),
    "Mul": _binary(_MUL, _MUL),
    "Div": _binary(_DIV, _RDIV),
    "Max": _binary(_MAX, _MAX),
    "Min": _binary(_MIN, _MIN),
    "MatMul": _write_matmul,
    "Abs": _unary(_ABS),
    "Neg": _unary(_NEG),
    "Sqrt": _unary(_SQRT),
    "Exp": _unary(_EXP),
    "Log": _unary(_LOG),
    "Reciprocal": _unary(_RECIPROCAL),
    "Round": _unary(_ROUND),
    "Erf": _layer("Erf"),
    "Pow": _write_power,
    "BatchNorm": _write_batch_norm,
    "BatchNorm1d": _write_batch_norm,
    "ChannelAffine": _write_affine,
    "GroupNorm": _write_group_norm,
    "LayerNorm": _write_layer_norm,
    "LRN": _layer(
        "LRN",
        lambda module: {0: 0, 1: module.size, 2: float(module.alpha), 3: float(module.beta), 4: float(module.k)},
    ),
    "Normalize": _write_normalize,
    "Softmax": _layer("Softmax", lambda module: {0: module.dim - 1, 1: 1}),
    "MaxPool": _write_pool,
    "AveragePool": _write_pool,
    **{name: _reduction(name) for name in _REDUCTIONS},
    "Pad": _write_pad,
    "Concat": _write_concat,
    "Reshape": _write_reshape,
    "Transpose": _write_transpose,
    "Slice": _write_slice,
    "Gather": _write_gather,
    "Resize": _write_resize,
}
