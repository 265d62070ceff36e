"""Padding, as an operator and as what a window begins with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Integers, Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext


class Pad(nn.Module):
    """Padding by a constant, or by what lies at the border.

    Args:
        pads: before and after each axis, the last one first: left, right, top, bottom, and perhaps channels.
        mode: `constant`, or of the last two axes `reflect` or `edge`, as in ONNX.
    """

    def __init__(self, pads: tuple[int, ...], value: float = 0.0, mode: str = "constant") -> None:
        super().__init__()
        if mode not in _MODES:
            raise ValueError(f"pads by {mode}")
        self.pads, self.value, self.mode = tuple(pads), max(float(value), -UNBOUNDED), mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "constant":
            return nn.functional.pad(x, self.pads, value=self.value)
        return nn.functional.pad(x, self.pads, _MODES[self.mode])


# Of ONNX → torch's word.
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def padded(context: Context, x: Node, kernel: Sequence[int], value: float = 0.0) -> tuple[Node, tuple[int, int]]:
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
    return context.add(Pad((left, right, top, bottom), value), x, suffix="_pad"), (0, 0)


def _read(
    context: Context, x: Node | Integers, pads: Value = None, value: Value = None, axes: Value = None
) -> Node | Integers:
    """Integers are padded by an integer."""
    if isinstance(x, Integers):
        constant = x.number(int(np.asarray(0 if value is None else value).item()))
        return replace(x, numbers=_read(context, x.numbers, pads, np.float32(constant), axes))
    rank = len(shape_of(x))
    widths = context.ints("pads", pads) or []
    dims = context.ints("axes", axes, range(rank)) or []
    before, after = [0] * rank, [0] * rank
    for dim, first, last in zip(dims, widths[: len(dims)], widths[len(dims) :], strict=True):
        before[axis_of(dim, rank)], after[axis_of(dim, rank)] = first, last
    if before[0] or after[0]:
        context.refuse("pads the batch")
    constant = float(np.asarray(value if value is not None else context.attribute("value", 0.0)).item())
    return _pad(context, x, list(zip(before, after, strict=True))[1:], constant, context.attribute("mode", "constant"))


def _pad(context: Context | TorchContext, x: Node, pads: Sequence[tuple[int, int]], value: float, mode: str) -> Node:
    """Pads of every axis but the batch; of images four numbers at least."""
    backwards = [number for pair in reversed(pads) for number in pair]
    while len(backwards) > 4 and backwards[-2:] == [0, 0]:
        del backwards[-2:]
    if not any(backwards):
        return x
    if mode != "constant" and (len(shape_of(x)) != 4 or len(backwards) > 4):
        raise ValueError(f"pads other axes than height and width by {mode}")
    return context.add(Pad(tuple(backwards), value, mode), x)


def _call(context: TorchContext, x: Node, pad: Any, mode: str = "constant", value: Any = None) -> Node:
    words = {word: name for name, word in _MODES.items()}
    pads = [(0, 0)] * (len(shape_of(x)) - len(pad) // 2) + _pairs(pad)[::-1]
    if mode not in words or len(pads) != len(shape_of(x)) or any(pads[0]):
        raise ValueError(f"pads {list(pad)} by {mode}")
    return _pad(context, x, pads[1:], value or 0.0, words[mode])


def _pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _write(writer: Writer, node: Node, module: Pad, inputs: list[str]) -> str:
    before, after = (list(side)[::-1] for side in zip(*_pairs(module.pads), strict=True))
    zeros = [0] * (len(shape_of(node)) - len(before))
    pads = writer.constant(f"{node.target}.pads", np.array([*zeros, *before, *zeros, *after]))
    number = [writer.number(module.value)] if module.mode == "constant" else []
    return writer.op("Pad", [*inputs, pads, *number], str(node.target), mode=module.mode)


def _traits(module: Pad) -> Traits:
    constant = module.mode == "constant"
    return Traits(
        keeps_sign=not constant or module.value >= 0,
        keeps_levels=not constant,
        border=module.value if constant else None,
        channels="kept" if len(module.pads) <= 4 else "lost",
    )


register(
    OpSpec(
        "Pad",
        Pad,
        onnx={"Pad": OnnxReader(_read, on_integers=True)},
        torch_calls=dict.fromkeys(("pad", nn.functional.pad), _call),
        torch_modules={
            nn.ConstantPad2d: lambda context, module, x: _call(context, x, module.padding, value=module.value),
            nn.ReflectionPad2d: lambda context, module, x: _call(context, x, module.padding, "reflect"),
            nn.ReplicationPad2d: lambda context, module, x: _call(context, x, module.padding, "replicate"),
        },
        write=_write,
        traits=_traits,
    )
)
