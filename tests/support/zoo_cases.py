"""Operators and forms that files of model zoos and other exporters have; cases like those of `operator_cases`."""

import numpy as np

from support.onnx_models import Model
from support.operator_cases import Build, axes, case, each, flat

POSITIVE = "Sigmoid"
TENTHS = np.full((1, 3, 4, 1), 0.1)
NUMBERS = [[[[1.5]], [[2]], [[3]]]]


def rows(m: Model) -> int:
    return m.batch or 1


each("elementwise", {
    **{kind: lambda m, kind=kind: m.add(kind, "image") for kind in (
        "Neg", "Abs", "Exp", "Erf", "Softplus", "Softsign", "Elu", "Selu", "ThresholdedRelu"
    )},
    **{kind: lambda m, kind=kind: m.add(kind, m.add(POSITIVE, "image")) for kind in ("Sqrt", "Reciprocal", "Log")},
    "Elu alpha": lambda m: m.add("Elu", "image", alpha=0.4),
    "Selu numbers": lambda m: m.add("Selu", "image", alpha=1.2, gamma=0.8),
    "ThresholdedRelu alpha": lambda m: m.add("ThresholdedRelu", "image", alpha=-0.2),
    "Pow 2": lambda m: m.add("Pow", "image", m.constant(2, np.float32)),
    "Pow 3": lambda m: m.add("Pow", "image", m.constant([3], np.float32)),
    "Pow root": lambda m: m.add("Pow", m.add(POSITIVE, "image"), m.constant([[-0.5]], np.float32)),
})  # fmt: skip
case("Celu", 12)(lambda m: m.add("Celu", "image", alpha=0.7))
case("Mish", 18)(lambda m: m.add("Mish", "image"))
case("Swish", 24)(lambda m: m.add("Swish", "image"))
case("Swish alpha", 24)(lambda m: m.add("Swish", "image", alpha=1.7))

each("many tensors", {
    "Sum of one": lambda m: m.add("Sum", "image"),
    "Sum": lambda m: m.add("Sum", "image", m.add("Relu", "image"), m.add("Tanh", "image")),
    "Sum with constants": lambda m: m.add("Sum", m.floats(3, 1, 1), m.floats(6), "image"),
    "Mean": lambda m: m.add("Mean", "image", m.add("Relu", "image"), m.floats(3, 8, 1)),
    "Max": lambda m: m.add("Max", "image", m.add("Neg", "image"), m.add("Tanh", "image")),
    "Min": lambda m: m.add("Min", "image", m.add("Neg", "image")),
    "Max with constants": lambda m: m.add("Max", m.floats(3, 1, 1), "image", m.floats(6)),
    "Max of numbers": lambda m: m.add("Max", "image", m.constant(-0.5, np.float32), m.constant([0.1], np.float32)),
    "Max wider": lambda m: m.add("Max", m.add("GlobalAveragePool", "image"), m.constant(TENTHS, "f")),
    "two halves": lambda m: m.add("Max", *m.add("Split", "image", axis=2, outputs=2, **parts(m, 2))),
})  # fmt: skip


def parts(m: Model, count: int) -> dict[str, int]:
    return {"num_outputs": count} if m.opset >= 18 else {}


def zeros(m: Model) -> str:
    return m.add("ConstantOfShape", m.add("Shape", "image"))


each("as large as the batch", {
    "Max": lambda m: m.add("Max", "image", zeros(m)),
    "Add": lambda m: m.add("Add", "image", m.add("Expand", m.floats(3, 1, 1), m.add("Shape", "image"))),
    "Concat": lambda m: m.add("Concat", zeros(m), "image", axis=1),
    "rows of the file": lambda m: m.add("Mul", "image", m.constant(np.tile(NUMBERS, (rows(m), 1, 1, 1)), "f")),
    "limits of the file": lambda m: m.add("Max", "image", m.constant(np.zeros((rows(m), 3, 8, 6)), "f")),
})  # fmt: skip


@case("tiled to the batch")
def _(m: Model) -> str:
    batch = axes(
        m, "Unsqueeze", m.add("Gather", m.add("Shape", "image"), m.constant(0, np.int64)), 0, attribute_before=13
    )
    return m.add("Add", "image", m.add("Tile", m.floats(1, 3, 8, 6), m.add("Concat", batch, m.ints(1, 1, 1), axis=0)))


def token(m: Model) -> str:
    batch = axes(
        m, "Unsqueeze", m.add("Gather", m.add("Shape", "image"), m.constant(0, np.int64)), 0, attribute_before=13
    )
    return m.add("Expand", m.floats(1, 2, 8, 6), m.add("Concat", batch, m.ints(2, 8, 6), axis=0))


each("Concat with constants", {
    "of many numbers": lambda m: m.add("Concat", "image", token(m), axis=1),
    "between images": lambda m: m.add("Concat", "image", zeros(m), "image", axis=2),
    "on both sides": lambda m: m.add("Concat", zeros(m), "image", zeros(m), axis=3),
})  # fmt: skip

for kind in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare"):
    each(kind, {
        "kept": lambda m, kind=kind: axes(m, kind, "image", 2, 3, attribute_before=18),
        "dropped": lambda m, kind=kind: axes(m, kind, "image", 1, attribute_before=18, keepdims=0),
    })  # fmt: skip
each("ReduceSum", {
    "kept": lambda m: axes(m, "ReduceSum", "image", 1, 3, attribute_before=13),
    "dropped": lambda m: axes(m, "ReduceSum", "image", 2, attribute_before=13, keepdims=0),
})  # fmt: skip
case("ReduceSum of no axes", 13)(lambda m: m.add("ReduceSum", "image", noop_with_empty_axes=1))

case("InstanceNormalization")(lambda m: m.add("InstanceNormalization", "image", m.floats(3), m.floats(3), epsilon=1e-3))
case("GroupNormalization of groups", 18, 20)(
    lambda m: m.add("GroupNormalization", wide(m), m.floats(2), m.floats(2), num_groups=2)
)
case("GroupNormalization", 21)(
    lambda m: m.add("GroupNormalization", wide(m), m.floats(6), m.floats(6), num_groups=2, epsilon=1e-3)
)
each("LRN", {
    "plain": lambda m: m.add("LRN", wide(m), size=3),
    "numbers": lambda m: m.add("LRN", wide(m), size=5, alpha=0.3, beta=0.6, bias=2.0),
})  # fmt: skip
each("LpPool", {
    "2": lambda m: m.add("LpPool", "image", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0]),
    "1": lambda m: m.add("LpPool", "image", kernel_shape=[2, 2], p=1),
    "asymmetric": lambda m: m.add("LpPool", "image", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
})  # fmt: skip
each("GlobalLpPool", {
    "2": lambda m: m.add("GlobalLpPool", "image"),
    "3": lambda m: m.add("GlobalLpPool", "image", p=3),
}, last=21)  # fmt: skip


def wide(m: Model) -> str:
    return m.add("Conv", "image", m.floats(6, 3, 1, 1))


def compared(m: Model, relation: str) -> str:
    truth = m.add(relation, "image", m.constant(0.1, np.float32))
    return m.add("Where", truth, m.add("Mul", "image", m.floats(3, 1, 1)), "image")


for relation in ("Greater", "Less"):
    case(f"Where {relation}")(lambda m, relation=relation: compared(m, relation))
for relation in ("GreaterOrEqual", "LessOrEqual"):
    case(f"Where {relation}", 12)(lambda m, relation=relation: compared(m, relation))
case("Where Equal", 11)(
    lambda m: m.add("Where", m.add("Equal", m.add("Relu", "image"), m.constant(0, "f")), "image", m.floats(6))
)
case("mask")(lambda m: m.add("Mul", "image", m.add("Cast", m.add("Greater", "image", m.floats(3, 1, 1)), to=1)))
case("Where of a constant condition")(
    lambda m: m.add("Where", m.constant([True, False, True, True, False, False]), "image", m.floats(3, 1, 1))
)


def resize(sizes: list[int] | None = None, scales: list[float] | None = None, **words: object) -> Build:
    def build(m: Model) -> str:
        if m.opset < 11:
            return m.add("Resize", "image", m.constant(scales, np.float32), mode=words.get("mode", "nearest"))
        region = m.constant(np.zeros(0), np.float32)
        factors = m.constant(scales or np.zeros(0), np.float32)
        sides = [] if sizes is None else [m.ints(rows(m) if m.batch else 3, *sizes)]
        return m.add("Resize", "image", region, factors, *sides, **words)

    return build


for mode in ("nearest", "linear"):
    case(f"Resize {mode} by scales", 10, 10)(resize(scales=[1, 1, 2.5, 0.6], mode=mode))
    case(f"Upsample {mode} by an attribute", 7, 8)(
        lambda m, mode=mode: m.add("Upsample", "image", scales=[1.0, 1.0, 2.0, 1.5], mode=mode)
    )
    case(f"Upsample {mode}", 9, 9)(
        lambda m, mode=mode: m.add("Upsample", "image", m.constant([1, 1, 2, 1.5], "f"), mode=mode)
    )
    for word in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        case(f"Resize {mode} {word}", 11)(
            resize(scales=[1, 1, 1.7, 0.6], mode=mode, coordinate_transformation_mode=word)
        )
for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
    case(f"Resize {rounding}", 11)(resize(scales=[1, 1, 3, 1.5], nearest_mode=rounding))
    case(f"Resize asymmetric {rounding}", 11)(
        resize(scales=[1, 1, 2, 0.7], nearest_mode=rounding, coordinate_transformation_mode="asymmetric")
    )
case("Resize half_pixel_symmetric", 19)(
    resize(scales=[1, 1, 1.3, 2.3], mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
)
case("Resize of axes", 18)(lambda m: m.add("Resize", "image", "", "", m.ints(5, 11), axes=[3, 2], mode="linear"))


@case("Resize to a computed size", 11)
def _(m: Model) -> str:
    """As torch and tf2onnx write `F.interpolate(x, size=...)`."""
    shape = m.add("Slice", m.add("Shape", "image"), m.ints(0), m.ints(2))
    sides = m.add("Concat", shape, m.ints(16, 9), axis=0)
    empty = m.constant(np.zeros(0), np.float32)
    return m.add("Resize", "image", empty, empty, sides, mode="linear", coordinate_transformation_mode="align_corners")


def deep(m: Model) -> str:
    return m.add("Conv", "image", m.floats(8, 3, 1, 1))


case("DepthToSpace")(lambda m: m.add("DepthToSpace", deep(m), blocksize=2))
case("DepthToSpace CRD", 11)(lambda m: m.add("DepthToSpace", deep(m), blocksize=2, mode="CRD"))
case("SpaceToDepth")(lambda m: m.add("SpaceToDepth", "image", blocksize=2))

each("pick", {
    "colours swapped": lambda m: m.add("Gather", "image", m.ints(2, 1, 0), axis=1),
    "channels shuffled": lambda m: m.add("Gather", "image", m.ints(1, 2, 0, 2), axis=1),
    "every other": lambda m: m.add("Gather", "image", m.ints(0, 2, 4), axis=3),
    "in two dimensions": lambda m: m.add("Gather", "image", m.constant([[0, 3], [5, 2]], np.int64), axis=3),
    "twice the same": lambda m: m.add("Gather", "image", m.ints(1, 1), axis=2),
})  # fmt: skip
END, BEGINNING = 2**63 - 1, -(2**63)
each("Slice backwards", {
    "colours": lambda m: m.add("Slice", "image", m.ints(-1), m.ints(BEGINNING), m.ints(1), m.ints(-1)),
    "some": lambda m: m.add("Slice", "image", m.ints(6), m.ints(1), m.ints(2), m.ints(-2)),
    "to the first": lambda m: m.add("Slice", "image", m.ints(6), m.ints(0), m.ints(2), m.ints(-3)),
    "clipped": lambda m: m.add("Slice", "image", m.ints(99, 1), m.ints(-99, END), m.ints(3, 2), m.ints(-1, 3)),
}, first=10)  # fmt: skip
each("Tile", {
    "longer axes": lambda m: m.add("Tile", "image", m.ints(1, 2, 1, 3)),
    "axes of one": lambda m: m.add("Tile", m.add("GlobalAveragePool", "image"), m.ints(1, 2, 5, 1)),
})  # fmt: skip
each("Pad channels", {
    "zeros": lambda m: m.add("Pad", "image", m.ints(0, 1, 0, 0, 0, 2, 0, 0)),
    "and sides": lambda m: m.add("Pad", "image", m.ints(0, 1, 1, 0, 0, 2, 0, 1), m.constant(0.5, np.float32)),
    "flat": lambda m: m.add("Pad", flat(m), m.ints(0, 1, 0, 2)),
    "reflect": lambda m: m.add("Pad", "image", m.ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    "edge": lambda m: m.add("Pad", "image", m.ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
}, first=11)  # fmt: skip
each("PRelu by place", {
    "[C,H,W]": lambda m: m.add("PRelu", "image", m.floats(3, 8, 6)),
    "[1,C,H,W]": lambda m: m.add("PRelu", "image", m.floats(1, 3, 8, 6)),
    "[H,W]": lambda m: m.add("PRelu", "image", m.floats(8, 6)),
    "[W]": lambda m: m.add("PRelu", "image", m.floats(6)),
})  # fmt: skip
