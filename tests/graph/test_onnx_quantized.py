"""Files that were quantized before: integers stand between a QuantizeLinear and its DequantizeLinear, and nowhere else.

The oracle is ONNX Runtime on the same file, with nothing optimised away. All numbers are sums of powers of two that
float32 holds exactly, so that no rounding to the next integer hangs on the order of a sum.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from bitface.graph import from_onnx
from support.onnx_models import IMAGE, Model, refused, relative_difference, run_onnx

Save = Callable[[onnx.ModelProto], Path]
Step = Callable[[Model, str], str]

IMAGES = np.random.default_rng(1).integers(-100, 100, (2, *IMAGE)).astype(np.float32) / 16
SCALE = 1 / 16


def imported_right(model: Model, output: str, save: Save) -> None:
    onnx_model = model.finish(output)
    graph, _ = from_onnx(save(onnx_model))
    with torch.no_grad():
        found = graph(torch.from_numpy(IMAGES))
    expected = run_onnx(onnx_model, IMAGES)
    assert np.ptp(expected) > 0, "says nothing: every number is the same"
    assert relative_difference(found, expected) <= 1e-4


def pair(
    m: Model,
    x: str,
    between: Step = lambda m, x: x,
    scale: float = SCALE,
    zero_point: np.int8 | np.uint8 | None = np.int8(-5),
) -> str:
    """A QuantizeLinear and its DequantizeLinear, and what stands between them."""
    numbers = [m.constant(scale, np.float32)] + ([] if zero_point is None else [m.constant(zero_point)])
    return m.add("DequantizeLinear", between(m, m.add("QuantizeLinear", x, *numbers)), *numbers)


# Limits of floats, in every form in which a file can hold a constant


def constant_node(m: Model, limit: float) -> str:
    return m.add("Constant", value=numpy_helper.from_array(np.array(limit, np.float32)))


def cast(dtype: type) -> Callable[[Model, float], str]:
    return lambda m, limit: m.add("Cast", m.constant(limit, dtype), to=TensorProto.FLOAT)


def dequantized(dtype: type, zero_point: int) -> Callable[[Model, float], str]:
    def limit_of(m: Model, limit: float) -> str:
        integer = m.constant(limit * 16 + zero_point, dtype)
        return m.add("DequantizeLinear", integer, m.constant(1 / 16, np.float32), m.constant(zero_point, dtype))

    return limit_of


LIMITS: dict[str, Callable[[Model, float], str]] = {
    "initializer": lambda m, limit: m.constant(limit, np.float32),
    "Constant": constant_node,
    "Identity": lambda m, limit: m.add("Identity", m.constant(limit, np.float32)),
    "Cast of int64": cast(np.int64),
    "Cast of float16": cast(np.float16),
    "DequantizeLinear of int8": dequantized(np.int8, -3),
    "DequantizeLinear of uint8": dequantized(np.uint8, 40),
    "DequantizeLinear of a quantized constant": lambda m, limit: pair(m, m.constant(limit, np.float32)),
}

FLOAT_STEPS: dict[str, Step] = {
    **{f"Clip by {name}": lambda m, x, of=of: m.add("Clip", x, of(m, -1), of(m, 2)) for name, of in LIMITS.items()},
    **{f"Max by {name}": lambda m, x, of=of: m.add("Max", x, of(m, -1)) for name, of in LIMITS.items()},
    **{f"Min by {name}": lambda m, x, of=of: m.add("Min", of(m, 2), x) for name, of in LIMITS.items()},
    "ReLU6": lambda m, x: m.add("Clip", x, m.constant(0, np.float32), m.constant(6, np.float32)),
    "Clip without upper limit": lambda m, x: m.add("Clip", x, m.constant(-1, np.float32)),
    "Clip without lower limit": lambda m, x: m.add("Clip", x, "", m.constant(1, np.float32)),
    "Clip without limits": lambda m, x: m.add("Clip", x),
    "Clip behind Identity": lambda m, x: m.add(
        "Clip", m.add("Identity", x), m.constant(-1, np.float32), m.constant(2, np.float32)
    ),
    "Clip behind Cast": lambda m, x: m.add(
        "Clip", m.add("Cast", x, to=TensorProto.FLOAT), m.constant(-1, np.float32), m.constant(2, np.float32)
    ),
    "Clip of a Clip": lambda m, x: m.add("Clip", m.add("Clip", x, m.constant(-1, np.float32)), "", m.floats(low=1)),
    "Relu": lambda m, x: m.add("Relu", x),
    "LeakyRelu": lambda m, x: m.add("LeakyRelu", x, alpha=0.25),
    "PRelu": lambda m, x: m.add("PRelu", x, m.constant(np.array([0.5, -0.25, 2], np.float32).reshape(3, 1, 1))),
    "Add": lambda m, x: m.add("Add", x, m.add("Relu", x)),
    "Add of two pairs": lambda m, x: m.add("Add", x, pair(m, x, scale=0.25, zero_point=np.uint8(90))),
    "Mul": lambda m, x: m.add("Mul", x, m.constant(0.5, np.float32)),
    "Concat": lambda m, x: m.add("Gather", m.add("Concat", x, m.add("Relu", x), axis=1), m.ints(2, 3, 4), axis=1),
    "Reshape": lambda m, x: m.add("Reshape", m.add("Flatten", x), m.ints(0, *IMAGE)),
    "MaxPool": lambda m, x: m.add("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool": lambda m, x: m.add("AveragePool", x, kernel_shape=[1, 2], pads=[0, 1, 0, 0], count_include_pad=1),
    "Relu with the batch behind": lambda m, x: m.add(
        "Transpose", m.add("Relu", m.add("Transpose", x, perm=[1, 0, 2, 3])), perm=[1, 0, 2, 3]
    ),
    "Pad": lambda m, x: m.add("MaxPool", m.add("Pad", x, m.ints(0, 0, 1, 1, 0, 0, 1, 1)), kernel_shape=[3, 3]),
}  # fmt: skip


@pytest.mark.parametrize("step", FLOAT_STEPS.values(), ids=FLOAT_STEPS)
@pytest.mark.parametrize("zero_point", [None, np.int8(0), np.int8(-5), np.uint8(130)], ids=repr)
def test_behind_a_pair_everything_is_in_floats(step: Step, zero_point: np.int8 | np.uint8 | None, save: Save) -> None:
    model = Model(13)
    imported_right(model, step(model, pair(model, "image", zero_point=zero_point)), save)


@pytest.mark.parametrize("limits", [{"min": -1.0, "max": 2.0}, {"min": 0.0}, {"max": 1.0}, {}], ids=str)
def test_limits_as_attributes(limits: dict[str, Any], save: Save) -> None:
    model = Model(10)
    imported_right(model, model.add("Clip", pair(model, "image"), **limits), save)


# Between the halves of a pair


def integer_steps(zero_point: np.int8 | np.uint8) -> dict[str, Step]:
    """Steps on integers around the zero point, as limits are; all keep the shape."""
    dtype = type(zero_point)
    low, high = max(int(zero_point) - 12, np.iinfo(dtype).min), int(zero_point) + 25
    only_signed: dict[str, Step] = {"Relu": lambda m, x: m.add("Relu", x)} if dtype is np.int8 else {}
    return only_signed | {
        "nothing": lambda m, x: x,
        "Clip": lambda m, x: m.add("Clip", x, m.constant(low, dtype), m.constant(high, dtype)),
        "Clip without upper limit": lambda m, x: m.add("Clip", x, m.constant(low, dtype)),
        "Clip without lower limit": lambda m, x: m.add("Clip", x, "", m.constant(high, dtype)),
        "Clip behind Identity": lambda m, x: m.add("Clip", m.add("Identity", x), m.constant(low, dtype)),
        "Clip of a view": lambda m, x: m.add(
            "Reshape", m.add("Clip", m.add("Flatten", x), m.constant(low, dtype)), m.ints(0, *IMAGE)
        ),
        "Max": lambda m, x: m.add("Max", x, m.constant(low, dtype)),
        "Min": lambda m, x: m.add("Min", m.constant([high], dtype), x),
        "MaxPool": lambda m, x: m.add("MaxPool", x, kernel_shape=[3, 3], pads=[0, 1, 2, 1]),
        "Pad": lambda m, x: m.add(
            "MaxPool", m.add("Pad", x, m.ints(0, 0, 1, 0, 0, 0, 1, 2), m.constant(low, dtype)), kernel_shape=[3, 3]
        ),
        "Pad by zeros": lambda m, x: m.add(
            "MaxPool", m.add("Pad", x, m.ints(0, 0, 1, 0, 0, 0, 1, 2)), kernel_shape=[3, 3]
        ),
        "Transpose": lambda m, x: m.add("Transpose", m.add("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2]),
        "Transpose of the batch": lambda m, x: m.add(
            "Transpose",
            m.add("Clip", m.add("Transpose", x, perm=[2, 0, 3, 1]), m.constant(low, dtype)),
            perm=[1, 3, 0, 2],
        ),
        "Squeeze": lambda m, x: m.add("Squeeze", m.add("Unsqueeze", x, m.ints(4)), m.ints(4)),
        "Slice": lambda m, x: m.add(
            "Concat", *(m.add("Slice", x, m.ints(i), m.ints(j), m.ints(1)) for i, j in ((1, 3), (0, 1))), axis=1
        ),
        "Split": lambda m, x: m.add("Concat", *m.add("Split", x, m.ints(2, 1), axis=1, outputs=2)[::-1], axis=1),
        "Gather": lambda m, x: m.add("Gather", x, m.ints(2, 0, 1), axis=1),
    }


BETWEEN = [
    (name, step, zero_point)
    for zero_point in (np.int8(0), np.int8(-5), np.uint8(0), np.uint8(130))
    for name, step in integer_steps(zero_point).items()
]


@pytest.mark.parametrize(
    ("step", "zero_point"), [case[1:] for case in BETWEEN], ids=[f"{name}-{zero!r}" for name, _, zero in BETWEEN]
)
def test_between_the_halves_limits_are_integers(step: Step, zero_point: np.int8 | np.uint8, save: Save) -> None:
    model = Model(17)
    imported_right(model, pair(model, "image", step, zero_point=zero_point), save)


def test_integers_named_by_an_attribute(save: Save) -> None:
    model = Model(21)
    scale = model.constant(SCALE, np.float32)
    integers = model.add("QuantizeLinear", "image", scale, output_dtype=TensorProto.INT8)
    imported_right(model, model.add("DequantizeLinear", integers, scale), save)


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (lambda m, x: m.add("Cast", x, to=TensorProto.FLOAT), r"\(Cast\) computes with the integers"),
        (lambda m, x: m.add("Add", x, m.constant(3, np.int8)), r"\(Add\) computes with the integers"),
        (lambda m, x: m.add("Mul", x, x), r"\(Mul\) computes with the integers"),
        (lambda m, x: m.add("Cast", m.add("Flatten", x), to=TensorProto.FLOAT), r"\(Cast\) computes with the integers"),
        (lambda m, x: m.add("Concat", x, m.add("QuantizeLinear", "image", m.floats(low=0.5), m.constant(-5, np.int8)),
                            axis=1), r"\(Concat\) computes with the integers"),
        (lambda m, x: m.add("Concat", x, "image", axis=1), r"\(Concat\) computes with the integers"),
        (lambda m, x: m.add("Concat", x, m.constant(np.zeros((1, 3, 8, 6), np.int8)), axis=1), "joins constants"),
        (lambda m, x: m.add("Clip", x, x), "isn't as ONNX says"),
        (lambda m, x: m.add("DequantizeLinear", x, m.constant(SCALE, np.float32), m.constant(-4, np.int8)),
         "doesn't give back what was quantized"),
        (lambda m, x: x, "its output is in integers"),
    ],
)  # fmt: skip
def test_other_arithmetic_on_integers_is_refused(between: Step, message: str, save: Save) -> None:
    model = Model(17)
    scale, zero_point = model.constant(SCALE, np.float32), model.constant(-5, np.int8)
    integers = model.add("QuantizeLinear", "image", scale, zero_point)
    refused(save(model.finish(between(model, integers))), message)


# Combinations of all of these


def random_weight(m: Model) -> str:
    """`[3, 3, 1, 1]`, in one of the forms in which quantized files hold weights."""
    integers = m.random.integers(-16, 16, (3, 3, 1, 1))
    form, axis = m.random.integers(3 if m.opset < 13 else 5), int(m.random.integers(2))
    if form == 0:
        return m.constant(integers / 16, np.float32)
    dtype = (np.int8, np.uint8)[m.random.choice(2)]
    count = 1 if form < 3 else 3
    scale = m.constant((2.0 ** -m.random.integers(3, 5, count)).squeeze(), np.float32)
    zero_point = m.constant(m.random.integers(10, 20, count).squeeze(), dtype)
    attributes = {} if form < 3 else {"axis": axis}
    quantized = m.constant(integers + 16, dtype)
    if form in (2, 4):
        quantized = m.add("QuantizeLinear", m.constant(integers / 16, np.float32), scale, zero_point, **attributes)
    return m.add("DequantizeLinear", quantized, scale, zero_point, **attributes)


def random_pair(m: Model, x: str) -> str:
    dtype = (np.int8, np.uint8)[m.random.choice(2)]
    limits = np.iinfo(dtype)
    zero_point = dtype(m.random.integers(limits.min + 40, limits.max - 40))
    steps = integer_steps(zero_point)
    step = steps[m.random.choice(list(steps))] if m.opset >= 14 else steps["nothing"]
    return pair(m, x, step, 2.0 ** -m.random.integers(2, 5), zero_point)


@pytest.mark.parametrize("seed", range(40))
def test_random_combinations(seed: int, save: Save) -> None:
    model = Model((10, 14, 17, 21)[seed % 4])
    model.random = np.random.default_rng(seed)
    in_every_opset = ("Relu", "LeakyRelu", "Add", "Mul", "MaxPool", "AveragePool")
    steps = [FLOAT_STEPS[name] for name in (FLOAT_STEPS if model.opset >= 13 else in_every_opset)]
    x = random_pair(model, "image")
    for _ in range(model.random.integers(2, 5)):
        if model.random.random() < 0.5:
            x = random_pair(model, model.add("Conv", x, random_weight(model)))
        x = random_pair(model, steps[model.random.integers(len(steps))](model, x))
    imported_right(model, x, save)


def test_a_convolution_as_exporters_quantize_it(save: Save) -> None:
    """int8 weights per channel, an int32 bias, ReLU6 behind a symmetric pair of its own."""
    model = Model(13)
    scales = np.array([0.125, 0.25, 0.0625], np.float32)
    weight = model.add(
        "DequantizeLinear", model.constant(model.random.integers(-9, 9, (3, 3, 3, 3)), np.int8),
        model.constant(scales), model.constant([0, 0, 0], np.int8), axis=0,
    )  # fmt: skip
    bias = model.add("DequantizeLinear", model.constant([30, -20, 10], np.int32), model.constant(scales / 16), axis=0)
    x = pair(model, model.add("Conv", pair(model, "image"), weight, bias), zero_point=np.int8(0))
    x = model.add("Clip", x, *(model.constant(limit, np.float32) for limit in (0, 6)))
    imported_right(model, pair(model, x, zero_point=np.int8(0)), save)
