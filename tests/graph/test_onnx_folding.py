"""What constants may cost: bombs end in a line before they take memory, and what networks need is computed."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bitface.errors import BitfaceError
from bitface.graph import from_onnx, load_network
from support.onnx_models import Model, finished, refused, relative_difference, run_onnx

Build = Callable[[Model], str]
Save = Callable[[onnx.ModelProto], Path]


def einsum(m: Model, equation: str, *operands: str) -> str:
    return m.add("Einsum", *operands, equation=equation)


def doubled(m: Model, x: str, times: int, axis: int = 0) -> str:
    for _ in range(times):
        x = m.add("Concat", x, x, axis=axis)
    return x


def grown(m: Model, x: str, times: int, kind: str = "Mul") -> str:
    """Each node gives as many numbers as the last, and all of them are asked for."""
    for _ in range(times):
        x = m.add(kind, x, x)
    return x


def row_and_column(m: Model, side: int) -> tuple[str, str]:
    row = m.add("Range", m.constant(0, np.int64), m.constant(side, np.int64), m.constant(1, np.int64))
    return row, m.add("Unsqueeze", row, m.ints(1))


BOMBS: dict[str, Build] = {
    "ConstantOfShape": lambda m: m.add("Neg", m.add("ConstantOfShape", m.ints(1 << 20, 1 << 20))),
    "ConstantOfShape to the image": lambda m: m.add("ConstantOfShape", m.ints(1, 3, 1 << 15, 1 << 15)),
    "Expand": lambda m: m.add("Neg", m.add("Expand", m.floats(1), m.ints(1 << 20, 1 << 20))),
    "Expand and reshape": lambda m: m.add("Reshape", m.add("Expand", m.floats(1), m.ints(1 << 33)), m.ints(-1)),
    "Tile": lambda m: m.add("Tile", m.floats(4, 4), m.ints(1 << 20, 1 << 20)),
    "Range": lambda m: m.add("Range", m.constant(0, np.int64), m.constant(1 << 40, np.int64), m.constant(1, np.int64)),
    "Range of small steps": lambda m: m.add(
        "Range", m.constant(0, np.float32), m.constant(1, np.float32), m.constant(1e-30, np.float32)
    ),
    "Pad": lambda m: m.add("Pad", m.floats(2, 2), m.ints(1 << 20, 1 << 20, 0, 0)),
    "Pad of one axis": lambda m: m.add("Pad", m.floats(2, 2), m.ints(1 << 40, 0), "", m.ints(-1)),
    "Resize by scales": lambda m: m.add(
        "Resize", m.floats(1, 1, 2, 2), "", m.constant([1, 1, 1e6, 1e6], np.float32), mode="nearest"
    ),
    "Resize to sizes": lambda m: m.add("Resize", m.floats(1, 1, 2, 2), "", "", m.ints(1, 1, 1 << 20, 1 << 20)),
    "Resize that keeps the form": lambda m: m.add(
        "Resize", m.floats(1, 1, 1, 4000), "", "", m.ints(1 << 20, 1),
        axes=[2, 3], keep_aspect_ratio_policy="not_larger", mode="nearest",
    ),
    "OneHot": lambda m: m.add(
        "OneHot", m.ints(*range(1000)), m.constant(1 << 30, np.int64), m.constant([0, 1], np.float32)
    ),
    "Einsum": lambda m: einsum(m, "ab,cd->abcd", m.floats(200, 200), m.floats(200, 200)),
    "Einsum without an arrow": lambda m: einsum(m, "ab,cd", m.floats(200, 200), m.floats(200, 200)),
    "Einsum of long work": lambda m: einsum(
        m, "ab,cd,ef->a", m.floats(200, 200), m.floats(200, 200), m.floats(200, 200)
    ),
    "broadcasting Mul": lambda m: m.add("Mul", *row_and_column(m, 1 << 15)),
    "broadcasting Where": lambda m: m.add("Where", m.constant([True]), *row_and_column(m, 1 << 15)),
    "MatMul of a column and a row": lambda m: m.add("MatMul", m.floats(1 << 15, 1), m.floats(1, 1 << 15)),
    "Gemm of a column and a row": lambda m: m.add("Gemm", m.floats(1 << 15, 1), m.floats(1, 1 << 15)),
    "MatMul of long work": lambda m: m.add(
        "MatMul", m.add("Cast", m.floats(900, 900), to=TensorProto.INT64),
        m.add("Cast", m.floats(900, 900), to=TensorProto.INT64),
    ),
    "Concat chain": lambda m: doubled(m, m.floats(8), 40),
    "Mul chain": lambda m: grown(m, doubled(m, m.floats(8), 16), 200),
    "Gather": lambda m: m.add("Gather", m.floats(1, 1 << 14), m.constant(np.zeros(1 << 14), np.int64)),
    "GatherND": lambda m: m.add("GatherND", m.floats(1, 1 << 12), m.constant(np.zeros((1 << 12, 1)), np.int64)),
    "EyeLike": lambda m: m.add("EyeLike", m.add("Expand", m.floats(1), m.ints(1 << 20, 1 << 20))),
    "NonZero": lambda m: m.add("NonZero", m.add("Expand", m.floats(1), m.ints(1 << 20, 1 << 20))),
    "Cast to text": lambda m: m.add("Cast", m.floats(4), to=TensorProto.STRING),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_constants_end_in_a_line(name: str, save: Save) -> None:
    model = Model(opset=18)
    model.add("Add", "image", BOMBS[name](model))
    path = save(finished(model))
    tracemalloc.start()
    try:
        refused(path, r"more than a face network needs|makes text|can't take inputs|isn't as ONNX says")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "build",
    [
        lambda m: doubled(m, "image", 40, axis=1),
        lambda m: m.add("Expand", m.add("ReduceMean", "image", axes=[1]), m.ints(1, 1 << 40, 8, 6)),
        lambda m: m.add("Pad", "image", m.ints(0, 0, 1 << 30, 0, 0, 0, 0, 0)),
        lambda m: m.add("Gather", "image", m.constant(np.zeros(1 << 24), np.int64), axis=2),
    ],
)
def test_images_that_grow_without_end_are_refused(build: Build, save: Save) -> None:
    model = Model()
    model.add("Relu", build(model))
    refused(
        save(finished(model)), r"more numbers than a face network has|no face network is as large|isn't as ONNX says"
    )


def test_operators_that_are_not_computed_are_named(save: Save) -> None:
    model = Model()
    model.add("Add", "image", model.add("DFT", model.floats(1, 4, 1)))
    refused(save(finished(model)), r"node 'DFT_0' \(DFT\).*simplifier")


def zeros_like(m: Model, *, value: float = 0) -> str:
    fill = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
    return m.add("ConstantOfShape", m.add("Shape", "image"), value=fill)


@pytest.mark.parametrize(
    "build",
    [
        lambda m: m.add("Add", "image", zeros_like(m, value=0.5)),
        lambda m: m.add("Mul", "image", m.add("Cos", m.add("Neg", zeros_like(m, value=0.5)))),
        lambda m: m.add("Sub", m.add("Expand", m.floats(3, 1, 6), m.add("Shape", "image")), "image"),
        lambda m: m.add("Add", "image", m.add("Mul", zeros_like(m, value=2), m.floats(8, 1))),
    ],
)
def test_a_batch_of_constants_is_one_row(build: Build, save: Save) -> None:
    model = Model()
    model.add("Gemm", model.add("Flatten", build(model)), model.floats(144, 5))
    file = finished(model)
    image = np.random.default_rng(0).standard_normal((3, 3, 8, 6)).astype(np.float32)
    graph = load_network(save(file)).graph
    with torch.no_grad():
        assert relative_difference(graph(torch.from_numpy(image)), run_onnx(file, image)) < 1e-5
    assert sum(tensor.numel() for tensor in graph.state_dict().values()) < 2000


def test_weights_of_any_size_may_be_dequantized(save: Save) -> None:
    """What a file holds may be computed with some times over, however large it is."""
    model = Model()
    weight = model.constant(model.random.integers(-9, 9, (144, 50_000)), np.int8)
    weight = model.add("DequantizeLinear", weight, model.floats(low=0.1))
    for _ in range(3):
        weight = model.add("Transpose", model.add("Neg", model.add("Transpose", weight)))
    model.add("Gemm", model.add("Flatten", "image"), weight)
    assert load_network(save(finished(model))).embedding_size == 50_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.graph.node.extend([m.graph.node[0]] * 20_001), r"20,00\d nodes.*onnxsim"),
        (lambda m: m.graph.initializer.extend([TensorProto(name="x")] * 50_001), r"50,00\d tensors"),
        (lambda m: m.graph.node[0].attribute.append(helper.make_attribute("x", [1] * (1 << 20))), "attributes"),
        (lambda m: setattr(m.graph.node[0], "name", "x" * 2000), "1,000 letters"),
    ],
)
def test_what_a_file_may_hold(change: Callable[[onnx.ModelProto], None], message: str, save: Save) -> None:
    model = finished()
    change(model)
    refused(save(model), message)


def test_nodes_that_read_the_same_weights_over_and_over(save: Save) -> None:
    """Each would hold its own."""
    model = Model()
    weight, x = model.floats(144, 144), model.add("Flatten", "image")
    for _ in range(300):
        x = model.add("Gemm", x, weight)
    refused(save(finished(model)), "same weights over and over")


def test_weights_beside_the_file_are_read_once(tmp_path: Path) -> None:
    """A hundred tensors that each are the whole of a file would take a hundred times its memory."""
    model = finished()
    (tmp_path / "weights").write_bytes(bytes(4 << 20))
    for index in range(40):
        tensor = TensorProto(
            name=f"t{index}", data_type=TensorProto.FLOAT, dims=[1 << 20], data_location=TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="location", value="weights")
        model.graph.initializer.append(tensor)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BitfaceError, match="would read"):
        load_network(tmp_path / "a.onnx")


ALONG = [(kind, axis) for kind in ("Softmax", "LogSoftmax", "Hardmax") for axis in (None, 0, 2, -2, -1)]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        *((kind, {} if axis is None else {"axis": axis}) for kind, axis in ALONG),
        *(("LpNormalization", {"axis": axis, "p": p}) for axis in (0, 1, -1) for p in (1, 2)),
    ],
)
def test_constants_are_what_onnx_runtime_makes_of_them(
    kind: str, attributes: dict[str, Any], opset: int, save: Save
) -> None:
    model = Model(opset)
    weight = model.random.uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32)
    weight[0] = weight[:, 1] = 0
    file = model.finish(model.add("Conv", "image", model.add(kind, model.constant(weight), **attributes)))
    graph, images = from_onnx(save(file))[0], np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype(np.float32)
    with torch.no_grad():
        assert relative_difference(graph(torch.from_numpy(images)), run_onnx(file, images)) <= 1e-5


def test_a_part_of_a_pixel(save: Save) -> None:
    """Aligned at the corners, ONNX Runtime places pixels by whole sizes, and the reference by parts of them."""
    model = Model(13)
    form: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    scales = model.constant([1, 1, 1, 0.7], np.float32)
    weight = model.add("Resize", model.floats(4, 3, 3, 3), "", scales, **form)
    refused(save(model.finish(model.add("Conv", "image", weight))), "resizes constants to a part of a pixel")
