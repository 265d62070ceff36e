"""TensorRT: the file says what is simulated, keeps the parser's rules, and names what breaks one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.targets import TARGETS
from bitface.targets.write import write
from support.qdq_files import Change, broken, changed, embeddings, first, maker, set_constant, student
from support.quantized import PreActivation, faces, network

TENSORRT = TARGETS["tensorrt"]


@pytest.fixture(scope="module")
def net() -> Network:
    """Of PReLU alone, so that every activation is signed."""
    return student(PreActivation(), 8, activations="symmetric")


@pytest.fixture
def path(net: Network, tmp_path: Path) -> Path:
    write("tensorrt", net, {}, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_the_file_is_what_is_simulated(net: Network, path: Path) -> None:
    assert broken("tensorrt", path) == {}
    assert net.preprocess is not None
    images = net.preprocess(faces(4, 8, seed=1))
    with torch.inference_mode():
        expected = net.graph(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(embeddings(path, images), expected, atol=0.02 * np.abs(expected).max())


def test_biases_are_floats_that_mean_the_same(net: Network, path: Path) -> None:
    model = onnx.load(path)
    floats = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layer = net.graph.get_submodule("conv")
    np.testing.assert_array_equal(floats["conv.bias"], layer.float_bias().numpy())


def test_a_float_network_is_written(tmp_path: Path) -> None:
    write("tensorrt", network(PreActivation(), 8), {}, tmp_path / "float.onnx")
    assert broken("tensorrt", tmp_path / "float.onnx") == {}


def test_zero_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match=r"can't be written for TensorRT: '.*' (gives unsigned|has a zero point)"):
        write("tensorrt", student(PreActivation(), 8, activations="asymmetric"), {}, tmp_path / "model.onnx")


def an_unsigned_activation(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("unsigned", TensorProto.UINT8, [], [0]))
    first(model, "QuantizeLinear").input[2] = "unsigned"


def a_zero_point(model: onnx.ModelProto) -> None:
    set_constant(model, first(model, "QuantizeLinear").input[2], np.array(3, np.int8))


def shifted_weights(model: onnx.ModelProto) -> None:
    set_constant(model, maker(model, first(model, "Conv").input[1]).input[2], np.ones(8, np.int8))


def too_few_scales(model: onnx.ModelProto) -> None:
    set_constant(model, maker(model, first(model, "Conv").input[1]).input[1], np.ones(3, np.float32))


def scales_of_an_activation(model: onnx.ModelProto) -> None:
    set_constant(model, first(model, "QuantizeLinear").input[1], np.ones(3, np.float32))


def a_scale_of_zero(model: onnx.ModelProto) -> None:
    set_constant(model, first(model, "QuantizeLinear").input[1], np.array(0, np.float32))


def an_integer_bias(model: onnx.ModelProto) -> None:
    bias = first(model, "Conv").input[2]
    set_constant(model, bias, np.zeros(8, np.int32))
    model.graph.initializer.append(helper.make_tensor("none", TensorProto.INT32, [], [0]))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", [bias, "one", "none"], ["dequantized"], name="bias")
    )
    first(model, "Conv").input[2] = "dequantized"


def a_new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 30


def an_unknown_operator(model: onnx.ModelProto) -> None:
    first(model, "PRelu").op_type = "QLinearConv"


@pytest.mark.parametrize(
    ("change", "rule", "line"),
    [
        (an_unsigned_activation, "Activations are int8", "rounds to uint8"),
        (a_zero_point, "Zero points are 0", "has the zero point 3"),
        (shifted_weights, "Weights are int8 without zero points", "'stem.0' has weights of int8 with zero points"),
        (too_few_scales, "one for each output channel", "'stem.0' has 3 scales along axis 0"),
        (scales_of_an_activation, "Activations have one scale", "has 3 scales"),
        (a_scale_of_zero, "Scales are constants above 0", "isn't a positive constant"),
        (an_integer_bias, "Biases are floats", "'bias' dequantizes int32"),
        (a_new_opset, "The opset is 9 to 20", "the file has opset 30"),
        (an_unknown_operator, "in the parser's list", "is a QLinearConv"),
    ],
)
def test_what_breaks_a_rule_is_named(change: Change, rule: str, line: str, path: Path) -> None:
    wrong = broken("tensorrt", changed(path, change))
    text = next(text for text in wrong if rule in text)
    assert any(line in each for each in wrong[text]), wrong


def test_each_rule_has_a_source_and_the_usage_its_numbers(net: Network) -> None:
    assert all(rule.source and not rule.text.endswith(".") for rule in TENSORRT.rules)
    assert TENSORRT.usage is not None
    text = TENSORRT.usage(net)
    assert "--optShapes=image:1x3x8x8" in text
    assert "Dims4(1, 3, 8, 8)" in text
