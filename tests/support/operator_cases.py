"""Every form of every operator that is imported, as a small model on one image batch `[N, 3, 8, 6]`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from support.onnx_models import Model

Build = Callable[[Model], str]


@dataclass(frozen=True)
class Case:
    name: str
    build: Build
    first: int
    last: int


CASES: list[Case] = []


def case(name: str, first: int = 9, last: int = 99) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        CASES.append(Case(name, build, first, last))
        return build

    return register


def each(prefix: str, forms: dict[str, Build], first: int = 9, last: int = 99) -> None:
    for name, build in forms.items():
        case(f"{prefix} {name}", first, last)(build)


def flat(m: Model) -> str:
    """`[N, 6]`"""
    return m.add("Flatten", m.add("Conv", "image", m.floats(6, 3, 8, 6)))


def axes(m: Model, kind: str, x: str, *dims: int, attribute_before: int, **attributes: Any) -> str:
    """An operator whose axes were an attribute before some opset, and are an input since."""
    if m.opset < attribute_before:
        return m.add(kind, x, axes=list(dims), **attributes)
    return m.add(kind, x, m.ints(*dims), **attributes)


def conv(*weight: int, bias: bool = True, **attributes: Any) -> Build:
    def build(m: Model) -> str:
        biases = [m.floats(weight[0])] if bias else []
        return m.add("Conv", "image", m.floats(*weight), *biases, **attributes)

    return build


each("Conv", {
    "plain": conv(4, 3, 3, 3),
    "no bias": conv(4, 3, 1, 1, bias=False, kernel_shape=[1, 1]),
    "strides and pads": conv(4, 3, 3, 5, strides=[2, 1], pads=[1, 2, 1, 2]),
    "asymmetric pads": conv(4, 3, 3, 3, pads=[0, 1, 2, 3]),
    "depthwise": conv(3, 1, 3, 3, group=3, pads=[1, 1, 1, 1]),
    "depthwise multiplied": conv(6, 1, 3, 3, group=3),
    "dilated": conv(4, 3, 3, 2, dilations=[2, 3]),
    "SAME_UPPER": conv(4, 3, 4, 3, strides=[3, 2], auto_pad="SAME_UPPER"),
    "SAME_LOWER": conv(4, 3, 4, 3, strides=[1, 2], auto_pad="SAME_LOWER"),
    "VALID": conv(4, 3, 3, 3, auto_pad="VALID"),
})  # fmt: skip


@case("Conv groups of two")
def _(m: Model) -> str:
    wide = m.add("Conv", "image", m.floats(4, 3, 1, 1))
    return m.add("Conv", wide, m.floats(6, 2, 3, 3), m.floats(6), group=2)


def batch_norm(x: Callable[[Model], str], channels: int) -> Build:
    def build(m: Model) -> str:
        statistics = [m.floats(channels), m.floats(channels), m.floats(channels)]
        return m.add("BatchNormalization", x(m), *statistics, m.floats(channels, low=0.5, high=2), epsilon=1e-3)

    return build


each("BatchNormalization", {
    "4-D": batch_norm(lambda m: "image", 3),
    "2-D": batch_norm(flat, 6),
    "3-D": batch_norm(lambda m: m.add("Reshape", "image", m.ints(0, 6, -1)), 6),
})  # fmt: skip


each("PRelu", {
    "[C,1,1]": lambda m: m.add("PRelu", "image", m.floats(3, 1, 1)),
    "[1,C,1,1]": lambda m: m.add("PRelu", "image", m.floats(1, 3, 1, 1)),
    "[1]": lambda m: m.add("PRelu", "image", m.floats(1)),
    "[1,1,1]": lambda m: m.add("PRelu", "image", m.floats(1, 1, 1)),
    "[C] on 2-D": lambda m: m.add("PRelu", flat(m), m.floats(6)),
    "[1,C] on 2-D": lambda m: m.add("PRelu", flat(m), m.floats(1, 6)),
})  # fmt: skip

each("activation", {
    "Relu": lambda m: m.add("Relu", "image"),
    "LeakyRelu": lambda m: m.add("LeakyRelu", "image"),
    "LeakyRelu alpha": lambda m: m.add("LeakyRelu", "image", alpha=0.3),
    "Sigmoid": lambda m: m.add("Sigmoid", "image"),
    "Tanh": lambda m: m.add("Tanh", "image"),
    "HardSigmoid": lambda m: m.add("HardSigmoid", "image"),
    "HardSigmoid slope": lambda m: m.add("HardSigmoid", "image", alpha=1 / 6, beta=0.4),
})  # fmt: skip
case("Round", 11)(lambda m: m.add("Round", "image"))
case("HardSwish", 14)(lambda m: m.add("HardSwish", "image"))

each("Clip", {
    "both": lambda m: m.add("Clip", "image", min=-0.5, max=0.7),
    "lower": lambda m: m.add("Clip", "image", min=0.0),
    "upper": lambda m: m.add("Clip", "image", max=0.3),
}, last=10)  # fmt: skip
each("Clip", {
    "both": lambda m: m.add("Clip", "image", m.constant(-0.5, np.float32), m.constant(0.7, np.float32)),
    "lower": lambda m: m.add("Clip", "image", m.constant(0, np.float32)),
    "upper": lambda m: m.add("Clip", "image", "", m.constant(0.3, np.float32)),
    "none": lambda m: m.add("Clip", "image"),
}, first=11)  # fmt: skip


for kind in ("Add", "Sub", "Mul", "Div"):
    each(kind, {
        "two tensors": lambda m, kind=kind: m.add(kind, "image", m.add("Sigmoid", "image")),
        "broadcast": lambda m, kind=kind: m.add(
            kind, "image", m.add("Sigmoid", m.add("GlobalAveragePool", "image"))
        ),
        "scalar": lambda m, kind=kind: m.add(kind, "image", m.constant(1.7, np.float32)),
        "per channel": lambda m, kind=kind: m.add(kind, "image", m.floats(1, 3, 1, 1, low=0.5)),
        "per column": lambda m, kind=kind: m.add(kind, "image", m.floats(6, low=0.5)),
        "per pixel": lambda m, kind=kind: m.add(kind, "image", m.floats(3, 8, 6, low=0.5)),
        "constant first": lambda m, kind=kind: m.add(
            kind, m.floats(3, 1, 1, low=0.5), m.add("Sigmoid", "image")
        ),
        "wider than the image": lambda m, kind=kind: m.add(
            kind, m.add("Conv", "image", m.floats(1, 3, 1, 1)), m.floats(4, 1, 1, low=0.5)
        ),
    })  # fmt: skip

each("Max and Min", {
    "Max": lambda m: m.add("Max", "image", m.constant(0.1, np.float32)),
    "Max first": lambda m: m.add("Max", m.constant([0.0], np.float32), "image"),
    "Min": lambda m: m.add("Min", "image", m.constant([[0.1]], np.float32)),
})  # fmt: skip

each("Gemm", {
    "plain": lambda m: m.add("Gemm", flat(m), m.floats(6, 4), m.floats(4)),
    "transB": lambda m: m.add("Gemm", flat(m), m.floats(4, 6), m.floats(4), transB=1),
    "alpha and beta": lambda m: m.add("Gemm", flat(m), m.floats(6, 4), m.floats(4), alpha=0.3, beta=2.0),
    "bias [1,D]": lambda m: m.add("Gemm", flat(m), m.floats(6, 4), m.floats(1, 4)),
    "bias [1]": lambda m: m.add("Gemm", flat(m), m.floats(6, 4), m.floats(1)),
    "bias scalar": lambda m: m.add("Gemm", flat(m), m.floats(6, 4), m.floats()),
})  # fmt: skip
case("Gemm no bias", 11)(lambda m: m.add("Gemm", flat(m), m.floats(6, 4), alpha=0.5))

each("MatMul", {
    "constant": lambda m: m.add("MatMul", flat(m), m.floats(6, 4)),
    "constant on 4-D": lambda m: m.add("MatMul", "image", m.floats(6, 5)),
    "constant on the left": lambda m: m.add("MatMul", m.floats(5, 8), "image"),
    "constants for each channel": lambda m: m.add("MatMul", "image", m.floats(3, 6, 2)),
    "dynamic": lambda m: m.add("MatMul", "image", m.add("Transpose", "image", perm=[0, 1, 3, 2])),
})  # fmt: skip


def pool(kind: str, **attributes: Any) -> Build:
    return lambda m: m.add(kind, "image", **attributes)


each("MaxPool", {
    "plain": pool("MaxPool", kernel_shape=[2, 2]),
    "strides and pads": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "asymmetric pads": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 1], pads=[0, 1, 1, 0]),
    "SAME_UPPER": pool("MaxPool", kernel_shape=[2, 3], strides=[3, 2], auto_pad="SAME_UPPER"),
    "SAME_LOWER": pool("MaxPool", kernel_shape=[2, 3], strides=[1, 2], auto_pad="SAME_LOWER"),
})  # fmt: skip
each("MaxPool", {
    "ceil": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "ceil and pads": pool("MaxPool", kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    "dilated": pool("MaxPool", kernel_shape=[2, 2], dilations=[3, 2]),
}, first=10)  # fmt: skip
each("AveragePool", {
    "plain": pool("AveragePool", kernel_shape=[2, 3], strides=[2, 1]),
    "pads": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "counted pads": pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "counted asymmetric": pool("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 1, 0], count_include_pad=1),
    "SAME counted": pool("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER", count_include_pad=1),
})  # fmt: skip
each("AveragePool", {
    "ceil": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "ceil and pads": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "ceil and counted pads": pool(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1
    ),
}, first=10)  # fmt: skip
each("global pool", {
    "average": lambda m: m.add("GlobalAveragePool", "image"),
    "max": lambda m: m.add("GlobalMaxPool", "image"),
})  # fmt: skip

each("shape", {
    "Flatten": lambda m: m.add("Flatten", "image"),
    "Flatten negative axis": lambda m: m.add("Flatten", "image", axis=-3) if m.opset > 9 else m.add("Flatten", "image"),
    "Flatten 2-D": lambda m: m.add("Flatten", flat(m)),
    "Reshape 0 and -1": lambda m: m.add("Reshape", "image", m.ints(0, -1)),
    "Reshape 0 inside": lambda m: m.add("Reshape", "image", m.ints(0, 0, -1)),
    "Reshape -1 first": lambda m: m.add("Reshape", "image", m.ints(-1, 144)),
    "Reshape with the file's batch": lambda m: m.add("Reshape", "image", m.ints(m.batch or -1, 12, 12)),
    "Reshape free inside": lambda m: m.add("Reshape", "image", m.ints(m.batch or 0, 12, -1)),
    "Transpose": lambda m: m.add("Transpose", "image", perm=[0, 2, 3, 1]),
    "Transpose not": lambda m: m.add("Transpose", "image", perm=[0, 1, 2, 3]),
    "Identity": lambda m: m.add("Identity", "image"),
    "Concat": lambda m: m.add("Concat", "image", m.add("Relu", "image"), "image", axis=1),
    "Concat last": lambda m: m.add("Concat", "image", m.add("Relu", "image"), axis=-1 if m.opset > 9 else 3),
    "Cast": lambda m: m.add("Cast", "image", to=1),
    "Unsqueeze": lambda m: axes(m, "Unsqueeze", "image", 1, 4, attribute_before=13),
    "Squeeze": lambda m: axes(
        m, "Squeeze", m.add("GlobalAveragePool", "image"), 2, 3, attribute_before=13
    ),
    "Gather list": lambda m: m.add("Gather", "image", m.ints(2, 0, 2), axis=1),
    "Gather one": lambda m: m.add("Gather", "image", m.constant(1, np.int64), axis=2),
    "Gather negative": lambda m: m.add("Gather", "image", m.ints(-1 if m.opset > 9 else 5), axis=3),
    "Expand": lambda m: m.add("Expand", m.add("GlobalAveragePool", "image"), m.ints(1, 3, 4, 5)),
    "Expand shorter": lambda m: m.add("Expand", m.add("GlobalAveragePool", "image"), m.ints(7)),
    "Expand not": lambda m: m.add("Expand", "image", m.ints(1, 1)),
})  # fmt: skip


@case("Reshape computed from Shape")
def _(m: Model) -> str:
    first = m.add("Gather", m.add("Shape", "image"), m.constant(0, np.int64))
    first = axes(m, "Unsqueeze", first, 0, attribute_before=13)
    return m.add("Reshape", "image", m.add("Concat", first, m.ints(-1), axis=0))


@case("Reshape computed from a slice of Shape", 10)
def _(m: Model) -> str:
    kept = m.add("Slice", m.add("Shape", "image"), m.ints(0), m.ints(2))
    product = m.add("Mul", *(m.add("Gather", m.add("Shape", "image"), m.ints(axis)) for axis in (2, 3)))
    return m.add("Reshape", "image", m.add("Concat", kept, product, axis=0))


@case("Reshape computed from a part of Shape", 15)
def _(m: Model) -> str:
    return m.add("Reshape", flat(m), m.add("Concat", m.add("Shape", "image", end=1), m.ints(2, 3), axis=0))


@case("Shape of a constant")
def _(m: Model) -> str:
    shape = m.add("Shape", m.floats(4, 12, 12))
    sides = axes(m, "Slice", shape, 0, attribute_before=10, starts=[1], ends=[3]) if m.opset < 10 else None
    sides = sides or m.add("Slice", shape, m.ints(1), m.ints(3))
    return m.add("Reshape", "image", m.add("Concat", m.ints(m.batch or -1), sides, axis=0))


@case("Expand to the shape of another, as normalising by L2 does", 11)
def _(m: Model) -> str:
    x = flat(m)
    norm = axes(m, "ReduceL2", x, 1, attribute_before=18, keepdims=1)
    norm = m.add("Clip", norm, m.constant(1e-12, np.float32))
    return m.add("Div", x, m.add("Expand", norm, m.add("Shape", x)))


@case("Constant")
def _(m: Model) -> str:
    value = m.add("Constant", value=onnx.numpy_helper.from_array(np.array([[[1]], [[2]], [[3]]], np.float32)))
    return m.add("Mul", "image", m.add("Sqrt", value))


@case("Dropout")
def _(m: Model) -> str:
    return m.add("Dropout", "image")


@case("Dropout with inputs and a mask", 12)
def _(m: Model) -> str:
    ratio, training = m.constant(0.4, np.float32), m.constant(False)
    return m.add("Relu", m.add("Dropout", "image", ratio, training, outputs=2)[0])


def joined(m: Model, parts: list[str]) -> str:
    """Parts along axis 1 in another order, so that it matters which is which."""
    return m.add("Concat", *reversed(parts), axis=1)


case("Split", last=12)(lambda m: joined(m, m.add("Split", "image", axis=1, split=[1, 2], outputs=2)))
case("Split even")(
    lambda m: m.add("Sub", *m.add("Split", "image", axis=2, outputs=2, **({} if m.opset < 18 else {"num_outputs": 2})))
)
case("Split", 13)(lambda m: joined(m, m.add("Split", "image", m.ints(2, 1), axis=1, outputs=2)))
case("Split uneven", 18)(
    lambda m: m.add("Concat", *m.add("Split", "image", axis=2, num_outputs=3, outputs=3)[::-1], axis=2)
)

case("Slice", last=9)(lambda m: m.add("Slice", "image", starts=[1, -3], ends=[2, 2**31 - 1], axes=[1, 3]))
case("Slice without axes", last=9)(lambda m: m.add("Slice", "image", starts=[0, 1], ends=[2**31 - 1, 3]))
each("Slice", {
    "two axes": lambda m: m.add("Slice", "image", m.ints(1, -4), m.ints(3, -1), m.ints(1, -1)),
    "steps": lambda m: m.add("Slice", "image", m.ints(1), m.ints(2**63 - 1), m.ints(2), m.ints(3)),
    "no axes": lambda m: m.add("Slice", "image", m.ints(0, 1), m.ints(m.batch or 2**31, 9)),
    "int32": lambda m: m.add("Slice", "image", *(m.constant([n], np.int32) for n in (0, 2, 3))),
}, first=10)  # fmt: skip

PADS = [0, 0, 1, 2, 0, 0, 0, 3]
case("Pad", last=10)(lambda m: m.add("Pad", "image", pads=PADS, value=0.5))
each("Pad", {
    "value": lambda m: m.add("Pad", "image", m.ints(*PADS), m.constant(-0.5, np.float32)),
    "zeros": lambda m: m.add("Pad", "image", m.ints(*PADS)),
    "cropping": lambda m: m.add("Pad", "image", m.ints(0, 0, -1, 0, 0, 0, 2, -2)),
    "nothing": lambda m: m.add("Pad", "image", m.ints(*[0] * 8)),
}, first=11)  # fmt: skip
case("Pad axes", 18)(lambda m: m.add("Pad", "image", m.ints(1, 2, 3, 0), "", m.ints(-1, 2)))

for kind in ("ReduceMean", "ReduceL2"):
    each(kind, {
        "kept": lambda m, kind=kind: axes(m, kind, "image", 2, 3, attribute_before=18),
        "dropped": lambda m, kind=kind: axes(m, kind, "image", 3, attribute_before=18, keepdims=0),
    })  # fmt: skip
    case(f"{kind} negative axis", 11)(
        lambda m, kind=kind: axes(m, kind, "image", -1, -2, attribute_before=18, keepdims=0)
    )
each("LpNormalization", {
    "L2": lambda m: m.add("LpNormalization", flat(m)),
    "L1": lambda m: m.add("LpNormalization", "image", axis=1, p=1),
    "of zeros": lambda m: m.add("Add", m.add("LpNormalization", m.add("Mul", flat(m), m.floats(1, high=-1))), flat(m)),
})  # fmt: skip


def dequantized(m: Model, weight: np.ndarray, scale: np.ndarray, **attributes: int) -> str:
    zeros = np.full(scale.shape, 3, weight.dtype)
    parts = m.constant(weight), m.constant(scale, np.float32), m.constant(zeros)
    return m.add("Conv", "image", m.add("DequantizeLinear", *parts, **attributes))


INTEGERS = np.random.default_rng(5).integers(-90, 90, (4, 3, 2, 2)).astype(np.int8)
case("DequantizeLinear per tensor", 10)(lambda m: dequantized(m, INTEGERS, np.array(0.02, np.float32)))
case("DequantizeLinear uint8", 10)(lambda m: dequantized(m, INTEGERS.view(np.uint8), np.array(0.02, np.float32)))
case("DequantizeLinear per axis", 13)(
    lambda m: dequantized(m, INTEGERS, np.linspace(0.01, 0.04, 4, dtype=np.float32), axis=0)
)
case("DequantizeLinear blocked", 21)(
    lambda m: dequantized(
        m,
        INTEGERS,
        np.linspace(0.01, 0.04, 8, dtype=np.float32).reshape(2, 1, 2, 2)[:, [0, 0, 0]],
        axis=0,
        block_size=2,
    )
)


@case("QuantizeLinear and DequantizeLinear of an activation", 10)
def _(m: Model) -> str:
    scale, zero = m.constant(0.02, np.float32), m.constant(7, np.int8)
    integers = m.add("QuantizeLinear", "image", scale, zero)
    return m.add("Conv", m.add("DequantizeLinear", integers, scale, zero), m.floats(4, 3, 3, 3))
