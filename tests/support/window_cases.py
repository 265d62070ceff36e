"""Windows along one axis and three, matrices and picks of tensors in other forms; cases like those of
`operator_cases`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from support.onnx_models import Model
from support.operator_cases import Build, axes, case, each, flat
from support.zoo_cases import resize, wide


def image(m: Model) -> str:
    return "image"


def line(m: Model) -> str:
    """`[N, 3, 48]`"""
    return m.add("Reshape", "image", m.ints(0, 3, 48))


def conv(*weight: int, **attributes: Any) -> Build:
    return lambda m: m.add("Conv", line(m), m.floats(*weight), m.floats(weight[0]), **attributes)


each("Conv along a line", {
    "plain": conv(4, 3, 5),
    "everything": conv(6, 1, 3, group=3, strides=[2], dilations=[4], pads=[3, 1]),
    "SAME_UPPER": conv(2, 3, 4, strides=[3], auto_pad="SAME_UPPER"),
})  # fmt: skip


@case("channel attention by a line", 13)
def _(m: Model) -> str:
    """ECA (Wang et al., 2020)"""
    means = m.add("Squeeze", m.add("GlobalAveragePool", wide(m)), m.ints(-1))
    mixed = m.add("Conv", m.add("Transpose", means, perm=[0, 2, 1]), m.floats(1, 1, 3), pads=[1, 1])
    gate = m.add("Unsqueeze", m.add("Transpose", mixed, perm=[0, 2, 1]), m.ints(-1))
    return m.add("Mul", wide(m), m.add("Sigmoid", gate))


def box(m: Model) -> str:
    """`[N, 2, 3, 8, 6]`"""
    return m.add("Reshape", m.add("Concat", "image", m.add("Relu", "image"), axis=1), m.ints(0, 2, 3, 8, 6))


BOX: dict[str, Any] = {"kernel_shape": [2, 3, 4], "strides": [1, 2, 3], "pads": [1, 0, 2, 1, 1, 2]}
LINE: dict[str, Any] = {"kernel_shape": [5], "strides": [2], "pads": [2, 1]}


def averages(source: Callable[[Model], str], **window: Any) -> Build:
    return lambda m: m.add("AveragePool", source(m), **window)


for counting in (0, 1):
    each(f"AveragePool counting {counting}", {
        "one side": averages(image, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], count_include_pad=counting),
        "SAME_LOWER": averages(image, kernel_shape=[4, 3], auto_pad="SAME_LOWER", count_include_pad=counting),
        "line": averages(line, count_include_pad=counting, **LINE),
        "box": averages(box, count_include_pad=counting, **BOX),
    })  # fmt: skip
each("MaxPool", {
    "line": lambda m: m.add("MaxPool", line(m), **LINE),
    "box": lambda m: m.add("MaxPool", box(m), **BOX),
    "depth alone": lambda m: m.add("MaxPool", box(m), kernel_shape=[2, 1, 1]),
    "sides alone": lambda m: m.add("MaxPool", box(m), kernel_shape=[1, 2, 3]),
})  # fmt: skip


@case("LRN by pooling", 11)
def _(m: Model) -> str:
    """As torch writes `F.local_response_norm`."""
    x = wide(m)
    squares = m.add("Reshape", m.add("Mul", x, x), m.ints(0, 1, 6, 8, 6))
    padded = m.add("Pad", squares, m.ints(0, 0, 1, 0, 0, 0, 0, 1, 0, 0), "")
    means = m.add("AveragePool", padded, kernel_shape=[3, 1, 1], strides=[1, 1, 1], count_include_pad=1)
    near = m.add("Mul", m.add("Reshape", means, m.ints(0, 6, 8, 6)), m.constant(0.3, np.float32))
    return m.add("Div", x, m.add("Pow", m.add("Add", near, m.floats(low=1)), m.constant(0.75, np.float32)))


def channels_in_front(m: Model) -> str:
    """`[3, N, 8, 6]`"""
    return m.add("Transpose", "image", perm=[1, 0, 2, 3])


each("channels in front", {
    "GatherND": lambda m: m.add("Transpose", m.add(
        "GatherND", channels_in_front(m), m.constant([[2], [1], [-3]], np.int64)), perm=[1, 0, 2, 3]),
    "GatherND of rows and columns": lambda m: m.add("Transpose", m.add(
        "GatherND", m.add("Transpose", "image", perm=[2, 3, 0, 1]),
        m.constant([[[0, 5], [-1, 2]], [[3, 3], [7, -6]], [[1, 0], [2, 4]]], np.int64)), perm=[2, 3, 0, 1]),
    "Gather": lambda m: m.add(
        "Transpose", m.add("Gather", channels_in_front(m), m.constant([[0, 2], [1, 1]], np.int64)),
        perm=[2, 0, 3, 1, 4]),
    "curves": lambda m: m.add("Transpose", m.add("Mul", m.add("Log", m.add(
        "Softplus", channels_in_front(m))), m.floats(3, 1, 1, 6)), perm=[1, 0, 2, 3]),
    "Where": lambda m: m.add("Transpose", m.add(
        "Where", m.add("Less", channels_in_front(m), m.floats()), m.floats(8, 1), channels_in_front(m)),
        perm=[1, 0, 2, 3]),
    "Max": lambda m: m.add("Transpose", m.add(
        "Max", channels_in_front(m), m.add("Neg", channels_in_front(m))), perm=[1, 0, 2, 3]),
}, first=12)  # fmt: skip


def batch(m: Model) -> str:
    return axes(m, "Unsqueeze", m.add("Gather", m.add("Shape", "image"), m.ints(0), axis=0), 1, attribute_before=13)


@case("GatherND of places in each image", 13)
def _(m: Model) -> str:
    places = m.constant([[[1, 7], [-1, 0]], [[0, 3], [2, 2]]], np.int64)
    rows = m.add("Gather", m.add("Shape", "image"), m.ints(0), axis=0)
    each_image = m.add("Expand", m.add("Unsqueeze", places, m.ints(0)), m.add("Concat", rows, m.ints(2, 2, 2), axis=0))
    return m.add("GatherND", "image", each_image, batch_dims=1)


@case("images one behind the other", 13)
def _(m: Model) -> str:
    """As torch writes `as_strided`."""
    rows = m.add("Squeeze", m.add("Gather", m.add("Shape", "image"), m.ints(0), axis=0), m.ints(0))
    starts = m.add("Mul", m.add("Range", m.constant(0), rows, m.constant(1)), m.constant(144))
    places = m.add("Add", m.add("Unsqueeze", starts, m.ints(1, 2)), m.constant([[[5, 0, 143], [77, 2, 2]]]))
    return m.add("Gather", m.add("Reshape", "image", m.ints(-1)), places, axis=0)


def rows_of(m: Model) -> str:
    """`[N · 24, 6]`"""
    return m.add("Reshape", "image", m.ints(-1, 6))


def gemm(m: Model, *bias: str, **attributes: Any) -> str:
    product = m.add("Gemm", rows_of(m), m.floats(5, 6), *bias, transB=1, **attributes)
    return m.add("Reshape", product, m.ints(-1, 3, 8, 5))


each("Gemm", {
    "of rows of all images": lambda m: gemm(m, alpha=0.5, beta=0.0),
    "of rows, with a bias": lambda m: gemm(m, m.floats(5), alpha=0.5, beta=2.0),
    "of rows, with another product": lambda m: gemm(
        m, m.add("Gemm", m.add("Tanh", rows_of(m)), m.floats(6, 5)), alpha=0.5, beta=2.0),
    "with another product": lambda m: m.add("Gemm", flat(m), m.floats(6, 5), m.add(
        "Gemm", flat(m), m.floats(6, 5)), beta=0.5),
}, first=11)  # fmt: skip

for word in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
    case(f"Resize cubic {word}", 11)(resize(scales=[1, 1, 1.7, 0.6], mode="cubic", coordinate_transformation_mode=word))
case("Resize cubic to sizes", 18)(
    lambda m: m.add("Resize", "image", "", "", m.ints(5, 11), axes=[3, 2], mode="cubic", cubic_coeff_a=-0.5)
)
case("Resize cubic of what lies inside", 11)(resize(scales=[1, 1, 1, 1.8], mode="cubic", exclude_outside=1))
