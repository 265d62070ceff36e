"""Convolutions and linear layers, and the quantizers beside them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize
from bitface.targets.litert.rounding import runs_in_integers
from bitface.targets.litert.schema import Fused, Op, Padding, Type, convolution, fully_connected
from bitface.targets.litert.tflite_file import Scales
from bitface.targets.litert.writer import Levels, Operand, Value, Write, Writer

_LIMITS = {(0.0, 6.0): Fused.RELU6, (-1.0, 1.0): Fused.RELU_N1_TO_1}
Pair = tuple[int, int]


def _quantize(writer: Writer, node: Node, module: QuantizeDequantize, inputs: list[Operand]) -> Value:
    return writer.quantized(inputs[0], Levels.of(module), str(node.target))


def _layer(writer: Writer, node: Node, module: Any, inputs: list[Operand]) -> Value:
    name, x = str(node.target), inputs[0]
    if isinstance(module, INTEGER_LAYERS) and runs_in_integers(writer.graph, node):
        levels = writer.levels_of(node)
        assert levels is not None
        return _Layer(writer, node, module, x).integers(name, levels, _fused(writer, node))
    return _Layer(writer, node, module, writer.floats(x)).floats(name, _fused(writer, node))


def _fused(writer: Writer, node: Node) -> Fused:
    """The activation behind a layer that it computes itself."""
    reader = next(iter(node.users))
    module = writer.module_of(reader)
    if len(node.users) != 1:
        return Fused.NONE
    if isinstance(module, nn.ReLU):
        fused = Fused.RELU
    else:
        fused = _LIMITS.get((module.low, module.high), Fused.NONE) if isinstance(module, ops.Clip) else Fused.NONE
    if fused:
        writer.fused.add(reader)
    return fused


class _Layer:
    """A layer that reads a tensor: the input arranged for it, and its weights likewise."""

    def __init__(self, writer: Writer, node: Node, module: Any, x: Value) -> None:
        self._writer, self._module = writer, module
        shape = (1, *shape_of(node)[1:])
        self._conv = len(module.weight.shape) == 4
        if self._conv:
            self._x, self._like = writer.channels_last(x), Value(-1, shape, (shape[1], shape[2], shape[3]))
        else:
            # The columns of a flat map are arranged as it lies.
            self._x, self._like = x if len(x.shape) == 2 else writer.plain(x), Value(-1, shape)
        groups = module.groups if self._conv else 1
        self._depthwise = groups > 1 and groups == module.in_channels

    def floats(self, name: str, fused: Fused) -> Value:
        module = self._module
        integer = isinstance(module, INTEGER_LAYERS)
        weight, bias = (module.float_weight(), module.float_bias()) if integer else (module.weight, module.bias)
        shift = torch.zeros(len(weight)) if bias is None else bias.detach()
        numbers = self._arranged(weight.detach()).astype(np.float32)
        constants = (self._constant("weight", numbers), self._constant("bias", shift.numpy()))
        return self._written(name, None, fused, constants)

    def integers(self, name: str, levels: Levels, fused: Fused) -> Value:
        """With a result of these levels."""
        module, source = self._module, self._x.levels
        assert source is not None
        weight, scale = module.weight, module.scale.expand(len(module.weight)).double()
        bias = torch.zeros(len(weight)) if module.bias is None else module.bias
        wide = levels.element is Type.INT16
        scales = Scales(tuple(scale.float().tolist()), 0, 3 if self._depthwise else 0)
        products = Scales(tuple((scale * source.scale).float().tolist()))
        constants = (
            self._constant("weight", self._arranged(weight), scales),
            self._constant("bias", bias.numpy().astype(np.int64 if wide else np.int32), products),
        )
        return self._writer.limited(self._written(name, self._writer.whole(levels), fused, constants), levels)

    def _constant(self, name: str, numbers: np.ndarray, scales: Scales | None = None) -> int:
        return self._writer.file.constant(name, numbers, scales)

    def _arranged(self, weight: Tensor) -> np.ndarray:
        numbers = weight.numpy()
        if self._conv:
            return numbers.transpose((1, 2, 3, 0) if self._depthwise else (0, 2, 3, 1))
        if self._x.image is None:
            return numbers
        return numbers.reshape(-1, *self._x.image).transpose(0, 2, 3, 1).reshape(len(numbers), -1)

    def _written(self, name: str, levels: Levels | None, fused: Fused, constants: tuple[int, int]) -> Value:
        writer, module, x, like = self._writer, self._module, self._x, self._like
        if not self._conv:
            options = fully_connected(fused, len(x.shape) > 2)
            return writer.op(Op.FULLY_CONNECTED, name, [x, *constants], like, levels, options)
        window = Window(module.kernel_size, module.stride, module.padding, module.dilation)
        x, padding = window.applied(writer, x, like)
        multiplier = module.out_channels // module.in_channels if self._depthwise else None
        options = convolution(padding, module.stride, module.dilation, fused, multiplier)
        op = Op.DEPTHWISE_CONV_2D if self._depthwise else Op.CONV_2D
        return writer.op(op, name, [x, *constants], like, levels, options)


class Window:
    """How an operator's window goes over its map, (height, width) each."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> None:
        self._kernel, self._stride, self._padding, self._dilation = kernel, stride, padding, dilation

    def applied(self, writer: Writer, x: Value, like: Value, border: float = 0.0) -> tuple[Value, Padding]:
        """The map that the window goes over, padded where LiteRT's own two ways of padding don't say it.

        Args:
            like: has the shape of the result.
            border: what is set around; of an operator that leaves out what SAME sets around, the lowest number.
        """
        if self._same(x, like):
            return x, Padding.SAME
        reach = [
            (out - 1) * stride + dilation * (kernel - 1) + 1
            for out, stride, dilation, kernel in zip(
                like.shape[2:], self._stride, self._dilation, self._kernel, strict=True
            )
        ]
        after = [max(0, total - side - pad) for total, side, pad in zip(reach, x.shape[2:], self._padding, strict=True)]
        top, left = self._padding
        pads = ((0, 0), (top, after[0]), (left, after[1]))
        return padded(writer, x, pads, border), Padding.VALID

    def _same(self, x: Value, like: Value) -> bool:
        """Whether LiteRT's SAME is this window's padding."""
        if not any(self._padding):
            return False
        for axis, (kernel, stride, pad, dilation) in enumerate(
            zip(self._kernel, self._stride, self._padding, self._dilation, strict=True), start=2
        ):
            side, out = x.shape[axis], like.shape[axis]
            total = max((out - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
            if out != -(-side // stride) or (total // 2, total - total // 2) != (pad, pad):
                return False
        return True


def padded(writer: Writer, x: Value, pads: tuple[Pair, ...], border: float = 0.0) -> Value:
    """A tensor with a number around; pads: before and after each axis of the graph's shape but the batch."""
    if not any(sum(pads, ())):
        return x
    shape = (1, *(side + sum(pad) for side, pad in zip(x.shape[1:], pads, strict=True)))
    like = Value(-1, shape, None if x.image is None else (shape[1], shape[2], shape[3]))
    numbers = np.zeros((len(shape), 2), np.int32)
    for axis, pad in enumerate(pads, start=1):
        numbers[x.axis(axis)] = pad
    inputs: list[Value | int] = [x, writer.file.constant("pads", numbers)]
    if border == 0:
        return writer.op(Op.PAD, "padded", inputs, like=like, levels=x.levels)
    number = np.array([border], np.float32)
    if x.levels is not None:
        number = np.array([x.levels.place(border)], x.levels.dtype)
    inputs.append(writer.file.constant("border", number, x.levels.scales if x.levels else None))
    return writer.op(Op.PADV2, "padded", inputs, like=like, levels=x.levels)


WRITERS: dict[str, Write] = {
    "QuantizeDequantize": _quantize,
    **dict.fromkeys(("Conv", "Linear", "IntegerConv", "IntegerLinear"), _layer),
}
