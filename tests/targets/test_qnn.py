"""QNN: the file says what is simulated, keeps the provider's rules, and names what breaks one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from bitface.graph import Network
from bitface.targets import TARGETS
from bitface.targets.write import write
from support.qdq_files import Change, broken, changed, embeddings, first, maker, set_constant, student
from support.quantized import Mixed, PreActivation, faces

QNN = TARGETS["qnn"]


@pytest.fixture(scope="module")
def net() -> Network:
    return student(Mixed(), 16)


@pytest.fixture
def path(net: Network, tmp_path: Path) -> Path:
    write("qnn", net, {}, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    ("module", "size", "bits"), [(Mixed, 16, "w8a8"), (Mixed, 16, "w8a16"), (PreActivation, 8, "w8a8")]
)
def test_the_file_is_what_is_simulated(module: type[nn.Module], size: int, bits: str, tmp_path: Path) -> None:
    net = student(module(), size, bits)
    write("qnn", net, {}, tmp_path / "model.onnx")
    assert broken("qnn", tmp_path / "model.onnx") == {}
    assert net.preprocess is not None
    images = net.preprocess(faces(4, size, seed=1))
    assert QNN.simulate is not None
    with torch.inference_mode():
        expected = QNN.simulate(net.graph)(torch.from_numpy(images)).numpy()
    rows = embeddings(tmp_path / "model.onnx", images)
    # A sum in another order may round to the next integer.
    np.testing.assert_allclose(rows, expected, atol=0.02 * np.abs(expected).max())


def test_everything_between_the_first_and_the_last_pair_is_in_integers(path: Path) -> None:
    model = onnx.load(path)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "PRelu", "Add", "MaxPool", "Reshape"):
            data = [name for name in node.input if name in makers]
            assert {makers[name] for name in data} == {"DequantizeLinear"}, node.name
    assert not any(node.op_type == "Relu" for node in model.graph.node)


def a_free_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def a_signed_activation(model: onnx.ModelProto) -> None:
    node = first(model, "QuantizeLinear")
    model.graph.initializer.append(helper.make_tensor("signed", TensorProto.INT8, [], [0]))
    node.input[2] = "signed"


def shifted_weights(model: onnx.ModelProto) -> None:
    name = maker(model, first(model, "Conv").input[1]).input[2]
    size = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == name)
    set_constant(model, name, np.ones(size, np.int8))


def scales_along_another_axis(model: onnx.ModelProto) -> None:
    weight = first(model, "Conv").input[1]
    node = maker(model, weight)
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("axis", 1))


def a_float_bias(model: onnx.ModelProto) -> None:
    node = first(model, "Conv")
    name = maker(model, node.input[2]).input[0]
    size = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == name)
    model.graph.initializer.append(helper.make_tensor("bias", TensorProto.FLOAT, [size], [0.0] * size))
    node.input[2] = "bias"


def float_slopes_of_another_type(model: onnx.ModelProto) -> None:
    name = first(model, "PRelu").input[1]
    node = maker(model, name)
    model.graph.initializer.append(helper.make_tensor("signed", TensorProto.INT8, [], [0]))
    set_constant(model, node.input[0], np.zeros((8, 1, 1), np.int8))
    node.input[2] = "signed"


def sums_into_a_prelu(model: onnx.ModelProto) -> None:
    first(model, "PRelu").input[0] = first(model, "Conv").output[0]


def an_unknown_operator(model: onnx.ModelProto) -> None:
    first(model, "MaxPool").op_type = "Loop"


@pytest.mark.parametrize(
    ("change", "rule", "line"),
    [
        (a_free_batch, "Shapes are fixed", "'image' has the shape"),
        (a_signed_activation, "Activations are uint8 or uint16", "rounds to int8"),
        (shifted_weights, "Weights are int8 without zero points", "has weights of int8 with zero points"),
        (scales_along_another_axis, "one for each output channel", "has 8 scales along axis 1"),
        (a_float_bias, "Biases are int32", "has a bias in float"),
        (float_slopes_of_another_type, "one integer type", "computes with int8 and uint8"),
        (sums_into_a_prelu, "between a layer and its PReLU", "reads the sums of"),
        (an_unknown_operator, "in the provider's list", "is a Loop"),
    ],
)
def test_what_breaks_a_rule_is_named(change: Change, rule: str, line: str, path: Path) -> None:
    assert broken("qnn", path) == {}
    wrong = broken("qnn", changed(path, change))
    text = next(text for text in wrong if rule in text)
    assert any(line in each for each in wrong[text])


def test_each_rule_has_a_source_and_the_usage_its_numbers(net: Network) -> None:
    assert all(rule.source and not rule.text.endswith(".") for rule in QNN.rules)
    assert QNN.usage is not None
    assert "[1, 3, 16, 16]" in QNN.usage(net)
