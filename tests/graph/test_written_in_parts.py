"""What files and modules write in parts is recognised as the operator that it is, and gives the same numbers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface.graph import from_onnx, ops
from bitface.graph.torch_reader import from_module
from support.onnx_models import Model, relative_difference, run_onnx
from support.operator_cases import axes, flat

Build = Callable[[Model], str]
Save = Callable[[onnx.ModelProto], Path]


def number(m: Model, value: float) -> str:
    return m.constant(value, np.float32)


def slopes(m: Model, sign: float = 1.0) -> str:
    return m.constant([[[[sign * 0.25]], [[sign * -0.3]], [[sign * 1.5]]]], np.float32)


def negated_relu(m: Model) -> str:
    return m.add("Relu", m.add("Neg", "image"))


def difference(m: Model) -> str:
    return m.add("Sub", "image", m.add("Abs", "image"))


RECTIFIERS: dict[str, Build] = {
    "relu - a relu(-x)": lambda m: m.add("Sub", m.add("Relu", "image"), m.add("Mul", slopes(m), negated_relu(m))),
    "relu + -a relu(-x)": lambda m: m.add("Add", m.add("Mul", negated_relu(m), slopes(m, -1)), m.add("Relu", "image")),
    "relu + a min": lambda m: m.add(
        "Add", m.add("Relu", "image"), m.add("Mul", m.add("Min", "image", number(m, 0)), slopes(m))
    ),
    "max + a clip": lambda m: m.add(
        "Add", m.add("Max", "image", number(m, 0)), m.add("Mul", m.add("Min", number(m, 0), "image"), slopes(m))
    ),
    "relu + (x - |x|) a / 2": lambda m: m.add(
        "Add", m.add("Relu", "image"), m.add("Mul", m.add("Mul", difference(m), slopes(m)), number(m, 0.5))
    ),
    "relu + a/2 (x - |x|)": lambda m: m.add(
        "Add", m.add("Mul", m.add("Mul", slopes(m), number(m, 0.5)), difference(m)), m.add("Relu", "image")
    ),
    "relu - a relu(x * -1)": lambda m: m.add(
        "Sub", m.add("Relu", "image"), m.add("Mul", m.add("Relu", m.add("Mul", "image", number(m, -1))), slopes(m))
    ),
    "relu - a (relu - x)": lambda m: m.add(
        "Sub", m.add("Relu", "image"), m.add("Mul", m.add("Sub", m.add("Relu", "image"), "image"), slopes(m))
    ),
    "where greater": lambda m: m.add(
        "Where", m.add("Greater", "image", number(m, 0)), "image", m.add("Mul", "image", slopes(m))
    ),
    "where less": lambda m: m.add(
        "Where", m.add("Less", "image", number(m, 0)), m.add("Mul", "image", slopes(m)), "image"
    ),
    "where zero is greater": lambda m: m.add(
        "Where", m.add("Greater", number(m, 0), "image"), m.add("Mul", "image", slopes(m)), "image"
    ),
}
OTHERS: dict[str, tuple[str, Build]] = {
    "leaky maximum": ("LeakyRelu", lambda m: m.add("Max", m.add("Mul", "image", number(m, 0.1)), "image")),
    "half of x and |x|": (
        "Relu", lambda m: m.add("Mul", m.add("Add", "image", m.add("Abs", "image")), number(m, 0.5))
    ),
    "one slope": (
        "PRelu", lambda m: m.add("Sub", m.add("Relu", "image"), m.add("Mul", number(m, 0.2), negated_relu(m)))
    ),
    "x * sigmoid(x)": ("Silu", lambda m: m.add("Mul", "image", m.add("Sigmoid", "image"))),
    "mish": ("Mish", lambda m: m.add("Mul", m.add("Tanh", m.add("Softplus", "image")), "image")),
    "mish by log and exp": ("Mish", lambda m: m.add("Mul", "image", m.add("Tanh", m.add(
        "Log", m.add("Add", m.add("Exp", "image"), number(m, 1)))))),
    "hard-swish x * (clip / 6)": ("HardSwish", lambda m: m.add("Mul", "image", m.add("Div", six(m), number(m, 6)))),
    "hard-swish (x * clip) / 6": ("HardSwish", lambda m: m.add("Div", m.add("Mul", "image", six(m)), number(m, 6))),
    "hard-swish (clip * x) * 1/6": (
        "HardSwish", lambda m: m.add("Mul", m.add("Mul", six(m), "image"), number(m, 1 / 6))
    ),
    "hard-swish (x / 6) * clip": ("HardSwish", lambda m: m.add("Mul", m.add("Div", "image", number(m, 6)), six(m))),
    "hard-swish by a hard-sigmoid": (
        "HardSwish", lambda m: m.add("Mul", "image", m.add("HardSigmoid", "image", alpha=1 / 6))
    ),
    "hard-swish by relu and min": ("HardSwish", lambda m: m.add("Mul", "image", m.add("Mul", m.add(
        "Min", m.add("Relu", m.add("Add", "image", number(m, 3))), number(m, 6)), number(m, 1 / 6)))),
    "hard-sigmoid clip / 6": ("HardSigmoid", lambda m: m.add("Div", six(m), number(m, 6))),
    "hard-sigmoid of keras": ("HardSigmoid", lambda m: m.add("Clip", m.add(
        "Add", m.add("Mul", "image", number(m, 0.2)), number(m, 0.5)), number(m, 0), number(m, 1))),
}  # fmt: skip


def six(m: Model) -> str:
    return m.add("Clip", m.add("Add", number(m, 3), "image"), number(m, 0), number(m, 6))


def squares(m: Model, x: str, kind: str) -> str:
    if kind == "ReduceSumSquare":
        return axes(m, kind, x, 1, attribute_before=18)
    product = m.add("Pow", x, number(m, 2)) if kind == "Pow" else m.add("Mul", x, x)
    return axes(m, "ReduceSum", product, 1, attribute_before=13)


NORMS: dict[str, Callable[[Model, str], str]] = {
    "ReduceL2": lambda m, x: m.add("Div", x, axes(m, "ReduceL2", x, 1, attribute_before=18)),
    "as torch writes it": lambda m, x: m.add("Div", x, m.add("Expand", m.add("Clip", axes(
        m, "ReduceL2", x, 1, attribute_before=18), number(m, 1e-12)), m.add("Shape", x))),
    "square root": lambda m, x: m.add("Div", x, m.add("Sqrt", squares(m, x, "Pow"))),
    "root of products": lambda m, x: m.add("Div", x, m.add("Sqrt", m.add(
        "Add", squares(m, x, "Mul"), number(m, 1e-10)))),
    "power": lambda m, x: m.add("Div", x, m.add("Pow", squares(m, x, "ReduceSumSquare"), number(m, 0.5))),
    "as tf2onnx writes it": lambda m, x: m.add("Mul", x, m.add("Reciprocal", m.add("Sqrt", m.add(
        "Max", squares(m, x, "Mul"), number(m, 1e-12))))),
    "inverse power": lambda m, x: m.add("Mul", m.add("Pow", squares(m, x, "Mul"), number(m, -0.5)), x),
    "one divided": lambda m, x: m.add("Mul", x, m.add("Div", number(m, 1), m.add("Sqrt", squares(m, x, "Pow")))),
    "a tiny number after": lambda m, x: m.add("Div", x, m.add("Add", axes(
        m, "ReduceL2", x, 1, attribute_before=18), number(m, 1e-7))),
    "squeezed and back": lambda m, x: m.add("Div", x, axes(m, "Unsqueeze", axes(
        m, "ReduceL2", x, 1, attribute_before=18, keepdims=0), 1, attribute_before=13)),
}  # fmt: skip
CASES: list[tuple[str, Build]] = [
    *(("PRelu", build) for build in RECTIFIERS.values()),
    *OTHERS.values(),
    *(("Normalize", lambda m, build=build: build(m, flat(m))) for build in NORMS.values()),
]
NAMES = [*RECTIFIERS, *OTHERS, *NORMS]


def kinds(graph: nn.Module) -> list[str]:
    return [name for module in graph.modules() if (name := ops.op_name(module)) not in (None, "Conv", "Reshape")]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("kind", "build"), CASES, ids=NAMES)
def test_it_is_recognised_and_gives_the_same(kind: str, build: Build, opset: int, save: Save) -> None:
    images = np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype(np.float32) * 3
    model = Model(opset)
    file = model.finish(build(model))
    graph, _ = from_onnx(save(file))
    assert kinds(graph) == [kind]
    with torch.no_grad():
        assert relative_difference(graph(torch.from_numpy(images)), run_onnx(file, images)) <= 1e-5


def square(m: Model) -> str:
    """`[N, 3, 6, 6]`"""
    return m.add("Slice", "image", m.ints(0), m.ints(6), m.ints(2))


def of_a_square(build: Callable[[Model, str], str], m: Model) -> str:
    return build(m, square(m))


def turned_norm(m: Model, x: str) -> str:
    """Of each row, beside the column of its number."""
    norm = m.add("ReduceL2", x, axes=[3], keepdims=0)
    return m.add("Unsqueeze", norm, m.ints(2))


LIKE_THEM: dict[str, Build] = {
    "of another tensor": lambda m: m.add("Add", m.add("Relu", m.add("Tanh", "image")), m.add(
        "Mul", m.add("Min", "image", number(m, 0)), slopes(m))),
    "of another slope above": lambda m: m.add("Add", m.add("Mul", m.add("Relu", "image"), number(m, 2)), m.add(
        "Mul", m.add("Min", "image", number(m, 0)), slopes(m))),
    "slopes of columns": lambda m: m.add("Sub", m.add("Relu", "image"), m.add("Mul", m.floats(6), negated_relu(m))),
    "limit above zero": lambda m: m.add("Where", m.add("Greater", "image", number(m, 0.1)), "image", m.add(
        "Mul", "image", slopes(m))),
    "gate of another tensor": lambda m: m.add("Mul", "image", m.add("Sigmoid", m.add("Tanh", "image"))),
    "clip at 5": lambda m: m.add("Mul", "image", m.add("Div", m.add(
        "Clip", m.add("Add", "image", number(m, 3)), number(m, 0), number(m, 5)), number(m, 6))),
    "shifted by 2": lambda m: m.add("Mul", "image", m.add("Div", m.add(
        "Clip", m.add("Add", "image", number(m, 2)), number(m, 0), number(m, 6)), number(m, 6))),
    "large number in the norm": lambda m: m.add("Div", "image", m.add("Sqrt", m.add(
        "Add", squares(m, "image", "Mul"), number(m, 0.1)))),
    "norm of another": lambda m: m.add("Div", m.add("Tanh", "image"), m.add("Sqrt", squares(m, "image", "Pow"))),
    "cubes": lambda m: m.add("Div", "image", m.add("Sqrt", axes(m, "ReduceSum", m.add(
        "Abs", m.add("Pow", "image", number(m, 3))), 1, attribute_before=13))),
    **{f"norm of rows beside columns, {name}": partial(of_a_square, build) for name, build in {
        "divided": lambda m, x: m.add("Div", x, turned_norm(m, x)),
        "multiplied": lambda m, x: m.add("Mul", m.add("Reciprocal", turned_norm(m, x)), x),
        "one divided": lambda m, x: m.add("Mul", x, m.add("Div", number(m, 1), turned_norm(m, x))),
        "repeated": lambda m, x: m.add("Div", x, m.add("Mul", turned_norm(m, x), m.constant(
            np.ones((1, 1, 6, 1)), np.float32))),
    }.items()},
}  # fmt: skip


@pytest.mark.parametrize("build", LIKE_THEM.values(), ids=LIKE_THEM)
def test_what_is_only_like_it_stays(build: Build, save: Save) -> None:
    images = np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype(np.float32) * 3
    model = Model(13)
    file = model.finish(build(model))
    graph, _ = from_onnx(save(file))
    assert not {"PRelu", "LeakyRelu", "Silu", "HardSwish", "Normalize"} & set(kinds(graph))
    with torch.no_grad():
        assert relative_difference(graph(torch.from_numpy(images)), run_onnx(file, images)) <= 1e-5


MODULES: dict[str, Callable[[Tensor], Tensor]] = {
    "PRelu": lambda x: F.relu(x) - torch.tensor([0.2, 0.3, -0.1]).view(3, 1, 1) * F.relu(-x),
    "LeakyRelu": lambda x: torch.max(0.2 * x, x),
    "Silu": lambda x: x * torch.sigmoid(x),
    "Mish": lambda x: x * torch.tanh(F.softplus(x)),
    "HardSwish": lambda x: x * F.relu6(x + 3) / 6,
    "HardSigmoid": lambda x: F.relu6(x + 3) / 6,
    "Normalize": lambda x: x / x.pow(2).sum(1, keepdim=True).sqrt(),
}


@pytest.mark.parametrize(("kind", "function"), MODULES.items(), ids=MODULES)
def test_modules_write_in_parts_too(kind: str, function: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    graph, image = from_module(Net(), (8, 6)), torch.randn(2, 3, 8, 6)
    assert kinds(graph) == [kind]
    torch.testing.assert_close(graph(image), function(image))
