"""What a network computes with the number of images: with the file's own, and refused where it is free."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional as F

from bitface.errors import BitfaceError
from bitface.graph import from_onnx
from bitface.graph.torch_reader import from_module
from support.onnx_models import IMAGE, Model, refused, relative_difference, run_onnx
from support.operator_modules import Called

Save = Callable[[onnx.ModelProto], Path]


def batch(m: Model) -> str:
    side: str = m.add("Gather", m.add("Shape", "image"), m.constant(0, np.int64))
    return side


def as_float(m: Model, number: str) -> str:
    result: str = m.add("Cast", number, to=TensorProto.FLOAT)
    return result


def of_one_or_many(m: Model) -> str:
    """What torch writes where a module asks for a batch of 1."""
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["image"], [f"{kind}_result"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}_result", TensorProto.FLOAT, None)],
        )
        for kind in ("Relu", "Sigmoid")
    ]
    condition = m.add("Equal", batch(m), m.constant(1, np.int64))
    result: str = m.add("If", condition, then_branch=branches[0], else_branch=branches[1])
    return result


NUMBERS: dict[str, Callable[[Model], str]] = {
    "divided": lambda m: m.add("Div", "image", as_float(m, batch(m))),
    "divided by all numbers": lambda m: m.add(
        "Div", "image", as_float(m, m.add("ReduceProd", m.add("Shape", "image"), keepdims=0))
    ),
    "added": lambda m: m.add("Add", as_float(m, m.add("Mul", batch(m), m.constant(3, np.int64))), "image"),
    "limited": lambda m: m.add("Clip", "image", "", as_float(m, m.add("Sub", batch(m), m.constant(1, np.int64)))),
    "a power": lambda m: m.add("Pow", "image", as_float(m, batch(m))),
    "where it is small": lambda m: m.add(
        "Where", m.add("Less", batch(m), m.constant(5, np.int64)), "image", m.add("Relu", "image")
    ),
    "a choice": of_one_or_many,
    "channels up to it": lambda m: m.add(
        "Pad", m.add("Slice", "image", m.ints(0), m.add("Unsqueeze", batch(m), m.ints(0)), m.ints(1)),
        m.ints(*[0] * 8),
    ),
    "a choice of rows": lambda m: m.add(
        "Gather", "image", m.add("Mod", m.add("Range", m.constant(0, np.int64), batch(m), m.constant(1, np.int64)),
        m.constant(3, np.int64)), axis=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fixed", [1, 2])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_of_one_batch_has_its_number(name: str, fixed: int, save: Save) -> None:
    m = Model(17, fixed)
    model = m.finish(NUMBERS[name](m))
    images = np.random.default_rng(2).normal(size=(fixed, *IMAGE)).astype(np.float32)
    with torch.no_grad():
        result = from_onnx(save(model))[0](torch.from_numpy(images))
    assert relative_difference(result, run_onnx(model, images)) <= 1e-5


@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_of_any_batch_has_none(name: str, save: Save) -> None:
    m = Model(17)
    refused(save(m.finish(NUMBERS[name](m))), "computes with the number of images in a batch")


@pytest.mark.parametrize("fixed", [None, 1, 2])
def test_what_exporters_compute_of_a_shape_stays(fixed: int | None, save: Save) -> None:
    """Sides alone, a product of all but the batch, and a batch that is multiplied and divided again."""
    m = Model(17, fixed)
    shape = m.add("Shape", "image")
    sides = m.add("Slice", shape, m.ints(1), m.ints(4))
    root = m.add("Sqrt", as_float(m, m.add("Gather", shape, m.constant(3, np.int64))))
    again = m.add("Div", m.add("Mul", batch(m), m.constant(4, np.int64)), m.constant(4, np.int64))
    rows = m.add("Unsqueeze", again, m.ints(0))
    flat = m.add("Concat", rows, m.add("ReduceProd", sides), axis=0)
    x = m.add("Reshape", m.add("Div", "image", root), flat)
    asked = m.add("Concat", rows, m.ints(-1), axis=0)
    kept = m.add("Where", m.add("Equal", asked, m.ints(-1)), m.ints(1), asked)
    model = m.finish(m.add("Expand", x, kept))
    images = np.random.default_rng(2).normal(size=(fixed or 2, *IMAGE)).astype(np.float32)
    with torch.no_grad():
        result = from_onnx(save(model))[0](torch.from_numpy(images))
    assert relative_difference(result, run_onnx(model, images)) <= 1e-5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.size(0),
        lambda x: x.sum((1, 2, 3)) / x.shape[0],
        lambda x: x * (x.shape[0] * 2 - 1),
        lambda x: x + torch.arange(x.size(0)).view(-1, 1, 1, 1),
        lambda x: x + torch.zeros(1).add(x.size(0)),
        lambda x: x + torch.zeros(1).add_(x.size(0)),
        lambda x: x[:, : x.size(0)],
        lambda x: F.pad(x, (0, x.size(0))),
        lambda x: x.clamp(max=x.size(0)),
        lambda x: x.flatten(2).permute(2, 0, 1) * x.size(0),
        lambda x: F.interpolate(x, size=(x.size(0), 4)),
    ],
)
def test_a_module_has_none(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(BitfaceError, match="computes with the number of images in a batch") as caught:
        from_module(Called(function), (8, 6))
    assert "\n" not in str(caught.value)


def test_a_batch_that_another_axis_repeats() -> None:
    with pytest.raises(BitfaceError, match="expands"):
        from_module(Called(lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, x.size(0), 6)), (8, 6))


def shaped(x: Tensor) -> Tensor:
    """Four windows of each image, and together again."""
    n, channels, height, width = x.shape
    windows = x.view(n, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 3, 5, 1)
    windows = windows.reshape(n * 4, height * width // 4, channels)
    count = windows.size(0) // 4
    x = windows.view(count, 2, 2, height // 2, width // 2, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(n, channels, -1) / (height * width) + x.new_ones(n, 1, 1).expand(n, -1, 1)


def test_shapes_of_a_module_stay() -> None:
    images = torch.randn(3, 3, 8, 6)
    torch.testing.assert_close(from_module(Called(shaped), (8, 6))(images), shaped(images))
