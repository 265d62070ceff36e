"""Networks of every form of input and output, the whole way: from the file to integers in both engines, on crops."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitface import load

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]


def file_of(path: Path, channels: int, outputs: tuple[str, ...]) -> Path:
    """A network of uint8 images with the channels last, which normalises them, to 48 numbers `[N, 48, 1, 1]` named
    `first`, and others named `second`."""
    rng = np.random.default_rng(7)

    def weight(*shape: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)

    weights = {
        "mean": np.array(127.5, np.float32), "a.w": weight(8, channels, 7, 7), "b.w": weight(16, 8, 3, 3),
        "c.w": weight(48, 16, 7, 7), "d.w": weight(48, 16, 7, 7),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "mean"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned", "a.w"], ["a"], name="a", strides=[4, 4], pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "b.w"], ["b"], name="b", strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "c.w"], ["first"], name="c"),
        helper.make_node("Conv", ["br", "d.w"], ["second"], name="d"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 112, 112, channels])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", [image], results, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("channels", "preprocess"), [(3, "rgb-raw"), (1, "grey-raw")])
def test_from_the_file_to_integers(channels: int, preprocess: str, crops: Path, bitface: Run, tmp_path: Path) -> None:
    net, out = file_of(tmp_path / "net.onnx", channels, ("first", "second")), tmp_path / "out"
    unnamed = bitface("quantize", net, "--images", crops, "--out", out)
    ends_in_one_line(unnamed, 1, "of which 'first' and 'second' may be the embedding")
    code, _, error = bitface("quantize", net, "--images", crops, "--out", out, "--output", "second", "--max-images", 40)
    assert code == 0, error
    assert f"the file takes uint8 images [N, 112, 112, {channels}]" in " ".join(error.split())
    code, _, error = bitface("inspect", net, "--output", "second", "--json", tmp_path / "net.json")
    assert code == 0, error
    said = json.loads((tmp_path / "net.json").read_text())
    assert (said["preprocess"], said["channels"], said["embedding_size"]) == (preprocess, channels, 48)
    faces = sorted(map(str, crops.glob("*/*.png")))[:12]
    teacher, others = (load(net, output=name).embed(faces) for name in ("second", "first"))
    for model in (out / "model.bitface", *out.glob("model*.onnx")):
        assert cosine(teacher, load(model).embed(faces)) > 0.98, model
    assert cosine(teacher, others) < 0.9
    ends_in_one_line(bitface("inspect", net, "--output", "secund"), 2, "did you mean 'second'?")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over rows."""
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return float((first * second).sum(1).mean())


def test_a_grey_network_that_says_no_preprocessing_is_inspected(bitface: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 1, 16, 16)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "w"], ["a"]), helper.make_node("Flatten", ["a"], ["embedding"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 16, 16])
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 48])
    graph = helper.make_graph(nodes, "net", [image], [result], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    code, printed, error = bitface("inspect", tmp_path / "net.onnx")
    assert code == 0
    assert "16 x 16, grey" in printed
    assert "can't be quantized" not in error
