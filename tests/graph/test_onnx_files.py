"""What an ONNX file may be, and that everything else is refused in one line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bitface.errors import BitfaceError
from bitface.graph import load_network
from support.onnx_models import IMAGE, Model, finished, refused, relative_difference, run_onnx, small_network

Save = Callable[[onnx.ModelProto], Path]


def embedding(path: Path) -> np.ndarray:
    image = torch.linspace(-1, 1, int(np.prod(IMAGE))).reshape(1, *IMAGE)
    with torch.no_grad():
        return load_network(path).graph(image).numpy()


def test_a_network_and_what_is_known_about_it(save: Save) -> None:
    model = finished()
    model.metadata_props.add(key="bitface.preprocess", value="bgr-raw")
    network = load_network(save(model))
    assert (network.size, network.embedding_size, network.name, network.notes) == ((8, 6), 5, "model", ())
    assert network.source_bytes == len(model.SerializeToString())
    assert network.preprocess is not None
    assert network.preprocess.name == "bgr-raw"
    assert load_network(save(model), "rgb-imagenet").preprocess.name == "rgb-imagenet"
    model.metadata_props[0].value = "nonsense"
    with pytest.raises(BitfaceError, match="unknown preprocessing 'nonsense'"):
        load_network(save(model))


@pytest.mark.parametrize("kind", ["Sub", "Mul", "BatchNormalization", None])
def test_a_network_that_normalises_takes_raw_pixels(kind: str | None, save: Save) -> None:
    model = Model()
    operands = [model.floats(3, low=0.5) for _ in range(4)] if kind == "BatchNormalization" else [model.floats(1)]
    x = model.add(kind, "image", *operands) if kind else "image"
    model.add("Flatten", model.add("Conv", x, model.floats(4, 3, 8, 6)))
    preprocess = load_network(save(finished(model))).preprocess
    assert (preprocess and preprocess.name) == (kind and "rgb-raw")


# Files that are no network


@pytest.mark.parametrize("content", [b"", b"\0", b"garbage" * 99, b"\x08\x08", b"PK\x03\x04", b"{}"])
def test_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "face.onnx"
    path.write_bytes(content)
    refused(path, "not an ONNX file")


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "no such file, but a folder")
    refused(tmp_path / ("long" * 200 + ".onnx"), "no such file")
    (tmp_path / "face.dat").touch()
    refused(tmp_path / "face.dat", "unknown kind of model; use .onnx, or .pt")


def test_truncated_anywhere(save: Save, tmp_path: Path) -> None:
    whole = save(finished()).read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        refused(tmp_path / "cut.onnx", "not an ONNX file|damaged|no face network")


# Interfaces


def with_input(model: onnx.ModelProto, name: str, kind: int, sides: list[Any] | None) -> onnx.ModelProto:
    model.graph.input.append(helper.make_tensor_value_info(name, kind, sides))
    return model


def image_of(kind: int, *sides: object) -> onnx.ModelProto:
    model = finished()
    del model.graph.input[:]
    return with_input(model, "image", kind, list(sides))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (image_of(TensorProto.UINT8, 1, *IMAGE), r"\(Conv\) computes with the integers"),
        (image_of(TensorProto.INT8, 1, *IMAGE), "isn't a float image batch"),
        (image_of(TensorProto.FLOAT, 1, 3, 8), "isn't a float image batch"),
        (with_input(finished(), "image", TensorProto.FLOAT, None), "2 inputs"),
        (image_of(TensorProto.FLOAT, 1, 112, 112, 4), "has 112 channels"),
        (image_of(TensorProto.FLOAT, 1, 112, 112, 3), r"Conv2d can't take inputs of \[N, 112, 112, 3\]"),
        (image_of(TensorProto.FLOAT, 1, 1, 112, 112), r"Conv2d can't take inputs of \[N, 1, 112, 112\]"),
        (image_of(TensorProto.FLOAT, 1, 3, 100_000, 112), "100000 x 112 pixels, no face image"),
        (image_of(TensorProto.FLOAT, 1, 3, 16, 16), "Gemm.*can't take inputs of.*1024"),
    ],
)
def test_other_images(model: onnx.ModelProto, message: str, save: Save) -> None:
    refused(save(model), message)


def test_a_free_image_size_is_112(save: Save) -> None:
    model = Model(image=(3, 112, 112))
    model.add("Flatten", model.add("GlobalAveragePool", model.add("Conv", "image", model.floats(4, 3, 3, 3))))
    whole = finished(model)
    for axis in (0, 1, 2, 3):
        whole.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = -1
    assert load_network(save(whole)).size == (112, 112)


def test_outputs(save: Save) -> None:
    other = Model()
    other.add("Conv", "image", other.floats(4, 3, 3, 3))
    refused(save(finished(other)), "gives N x 4 x 6 x 4 per batch instead of one vector")
    other.add("Flatten", other.add("Conv", "image", other.floats(1, 3, 8, 6)))
    refused(save(finished(other)), "gives N x 1 per batch instead of one vector")
    other.add("Relu", other.floats(4))
    refused(save(finished(other)), "output doesn't depend on the image")
    other = Model()
    other.add("Flatten", "image")
    refused(save(finished(other)), "no convolution and no linear layer")


@pytest.mark.parametrize("used", [False, True])
def test_weights_listed_as_inputs(used: bool, save: Save) -> None:
    model = finished()
    expected = embedding(save(model))
    if used:
        for tensor in model.graph.initializer:
            with_input(model, tensor.name, tensor.data_type, list(tensor.dims))
    else:
        with_input(model, "left_over", TensorProto.FLOAT, [3])
    np.testing.assert_array_equal(embedding(save(model)), expected)


# Operators and models outside what is supported


def test_an_unknown_operator_is_named(save: Save) -> None:
    model = small_network()
    model.nodes[1].op_type, model.nodes[1].name = "Shrink", "block/act\nTraceback"
    refused(
        save(finished(model)), r"node 'block/act Traceback' is a 'Shrink' of opset 17, an operator bitface doesn't know"
    )
    model.nodes[1].domain = "com.example"
    refused(save(finished(model)), r"is a 'com.example.Shrink'")


def test_a_refusal_is_short_whatever_the_file_says(save: Save) -> None:
    model = Model()
    model.add("Reshape", "image", model.ints(*[0] * 30_000))
    with pytest.raises(BitfaceError, match=r"reshapes .* … .*mixes the batch") as caught:
        load_network(save(finished(model)))
    assert len(str(caught.value)) < 1500


def test_the_long_name_of_the_standard_domain(save: Save) -> None:
    model = finished()
    expected = embedding(save(model))
    model.opset_import[0].domain = model.graph.node[1].domain = "ai.onnx"
    np.testing.assert_array_equal(embedding(save(model)), expected)


def test_models_of_other_kinds(save: Save) -> None:
    refused(save(finished(small_network(opset=6))), "opset 6 is older than 7")
    model = finished()
    model.opset_import[0].domain = "com.example"
    refused(save(model), "opset 0 is older than 7")
    model = finished()
    imports = [helper.make_opsetid("", 17)]
    relu = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], [relu], imports))
    refused(save(model), r"functions of its own \(Twice\)")
    model = finished()
    values, indices = (
        numpy_helper.from_array(np.array([1], np.float32), "sparse"),
        numpy_helper.from_array(np.array([0])),
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    refused(save(model), "sparse weights aren't supported")


def test_a_loop_of_constants_is_not_run(save: Save) -> None:
    model = small_network()
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["again"])], "body",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in (("n", 7), ("on", 9))],
        [helper.make_tensor_value_info("again", 9, [])],
    )  # fmt: skip
    model.nodes.insert(0, helper.make_node("Loop", [model.ints(2**62), ""], ["turns"], name="forever", body=body))
    model.add("Add", model.nodes[-1].output[0], "turns")
    refused(save(finished(model)), "node 'forever' is a 'Loop'")


# Numbers


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_numbers_are_named(bad: float, save: Save) -> None:
    model = finished()
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 1, 2, 0] = bad
    model.graph.initializer[0].raw_data = weights.tobytes()
    refused(save(model), "weight 'Conv_0.weight' holds NaN or infinity")


def test_negative_variances_are_named(save: Save) -> None:
    model = small_network()
    model.nodes.insert(0, helper.make_node("BatchNormalization", ["image", *"abcd"], ["x"], name="bn"))
    model.nodes[1].input[0] = "x"
    for name in "abcd":
        model.initializers.append(numpy_helper.from_array(np.array([-1, 1, 1], np.float32), name))
    refused(save(finished(model)), "'bn.running_var' holds negative variances")


def test_denormal_weights_are_flushed_to_zero(save: Save) -> None:
    model = finished()
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0, 0] = 1e-40, -1e-44, 2e-38
    model.graph.initializer[0].raw_data = weights.tobytes()
    network = load_network(save(model))
    assert network.notes == ("2 denormal weights flushed to zero",)
    assert network.graph.get_parameter("Conv_0.weight")[0, 0, 0].tolist() == [0, 0, np.float32(2e-38)]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_precisions_become_float32(dtype: type, save: Save) -> None:
    """Equal to ONNX Runtime on the same numbers in float32."""
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model, wide = small_network(dtype=code), small_network()
    for single, other in zip(wide.initializers, model.initializers, strict=True):
        rounded: np.ndarray = numpy_helper.to_array(single).astype(dtype)
        other.CopyFrom(numpy_helper.from_array(rounded, single.name))
        single.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), single.name))
    model.add("Cast", model.nodes[-1].output[0], to=TensorProto.FLOAT)
    image = torch.linspace(-1, 1, int(np.prod(IMAGE))).reshape(1, *IMAGE)
    expected = run_onnx(finished(wide), image.numpy())
    assert relative_difference(embedding(save(finished(model))), expected) <= 1e-5


def test_numbers_beyond_float32(save: Save) -> None:
    model = small_network(dtype=TensorProto.DOUBLE)
    for tensor in model.initializers:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64) * 1e300, tensor.name))
    refused(save(finished(model)), "holds NaN or infinity")


# Weights in files of their own


@pytest.mark.parametrize("place", ["initializer", "Constant node"])
@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("weights.bin", True),
        ("sub/weights.bin", True),
        ("../outside.bin", False),
        ("sub/../../outside.bin", False),
        ("{outside}", False),
        ("{inside}", False),
        ("link.bin", False),
        ("linked/outside.bin", False),
        ("missing.bin", False),
        ("sub", False),
        ("", False),
        ("a\0b", False),
    ],
)
def test_external_data(location: str, allowed: bool, place: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    model = small_network()
    expected = run_onnx(finished(model), np.ones((1, *IMAGE), np.float32))
    bias = model.initializers[-1]
    content = numpy_helper.to_array(bias).tobytes()
    for file in (folder / "weights.bin", folder / "sub" / "weights.bin", tmp_path / "outside.bin"):
        file.write_bytes(content)
    os.symlink(tmp_path / "outside.bin", folder / "link.bin")
    os.symlink(tmp_path, folder / "linked")
    location = location.format(outside=tmp_path / "outside.bin", inside=folder / "weights.bin")
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    bias.external_data.add(key="location", value=location)
    if place != "initializer":
        model.nodes.insert(0, helper.make_node("Constant", [], [bias.name], value=model.initializers.pop()))
    path = folder / "face.onnx"
    path.write_bytes(finished(model).SerializeToString())
    if allowed:
        with torch.no_grad():
            found = load_network(path).graph(torch.ones(1, *IMAGE))
        assert relative_difference(found, expected) <= 1e-5
    else:
        refused(path, "outside the model's folder|missing or larger|can't be read|null byte")


@pytest.mark.parametrize(("key", "value"), [("offset", "12"), ("offset", "-4"), ("length", "9999"), ("length", "x")])
def test_external_data_that_does_not_fit(key: str, value: str, save: Save) -> None:
    model = small_network()
    bias = model.initializers[-1]
    save(finished(model)).with_name("weights.bin").write_bytes(numpy_helper.to_array(bias).tobytes())
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    for entry in (("location", "weights.bin"), (key, value)):
        bias.external_data.add(key=entry[0], value=entry[1])
    refused(save(finished(model)), "weight|damaged")
