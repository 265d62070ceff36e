"""Padding, as an operator and as what a window begins with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.attributes import UNBOUNDED
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import TorchContext


class Pad(nn.Module):
    """Constant padding of the last two axes: left, right, top, bottom."""

    def __init__(self, pads: tuple[int, int, int, int], value: float = 0.0) -> None:
        super().__init__()
        self.pads, self.value = tuple(pads), max(float(value), -UNBOUNDED)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.pads, value=self.value)


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


def _read(context: Context, x: Node, pads: Value = None, value: Value = None, axes: Value = None) -> Node:
    if context.attribute("mode", "constant") != "constant":
        context.refuse(f"pads by {context.attribute('mode')}")
    rank = len(shape_of(x))
    given = context.ints("pads", pads) or []
    dims = context.ints("axes", axes, range(rank)) or []
    before, after = [0] * rank, [0] * rank
    for dim, first, last in zip(dims, given[: len(dims)], given[len(dims) :], strict=True):
        before[axis_of(dim, rank)], after[axis_of(dim, rank)] = first, last
    if not any(before) and not any(after):
        return x
    if rank != 4 or any(before[:2]) or any(after[:2]):
        context.refuse("pads batch or channels")
    constant = float(np.asarray(value if value is not None else context.attribute("value", 0.0)).item())
    return context.add(Pad((before[3], after[3], before[2], after[2]), constant), x)


def _call(context: TorchContext, x: Node, pad: Any, mode: str = "constant", value: Any = None) -> Node:
    if mode != "constant" or len(pad) not in (2, 4) or len(shape_of(x)) != 4:
        raise ValueError(f"pads {list(pad)} by {mode}")
    return context.add(Pad((*pad, 0, 0)[:4], value or 0.0), x)


def _write(writer: Writer, node: Node, module: Pad, inputs: list[str]) -> str:
    left, right, top, bottom = module.pads
    pads = writer.constant(f"{node.target}.pads", np.array([0, 0, top, left, 0, 0, bottom, right]))
    return writer.op("Pad", [*inputs, pads, writer.number(module.value)], str(node.target))


register(
    OpSpec(
        "Pad",
        Pad,
        onnx={"Pad": OnnxReader(_read)},
        torch_calls=dict.fromkeys(("pad", nn.functional.pad), _call),
        torch_modules={nn.ConstantPad2d: lambda context, module, x: context.add(Pad(module.padding, module.value), x)},
        write=_write,
        traits=lambda module: Traits(border=module.value, channels="kept"),
    )
)
