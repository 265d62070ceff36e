"""Where the files of the two engines differ, and where they don't."""

from collections import Counter

import onnx
import pytest
from onnx import TensorProto

from bitface.graph import Network, to_onnx
from bitface.quant import BitPlan, Calibration, quantize
from support.forms import FORMS
from support.quantized import Mixed, faces, network


@pytest.fixture(scope="module")
def net() -> Network:
    return network(Mixed(), 16)


def files(net: Network, word: str) -> dict[str, onnx.ModelProto]:
    """For either engine, of the integers of a plan."""
    student, _ = quantize(net, faces(16, 16), BitPlan.parse(word), Calibration("minmax", bias_correction=False))
    return {name: to_onnx(student.graph, form) for name, form in FORMS.items()}


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def activation_types(model: onnx.ModelProto) -> set[int]:
    """The integer types of what is quantized in the graph, by the zero points."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {types[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def test_eight_bits(net: Network) -> None:
    openvino, ort = files(net, "w8a8").values()
    assert activation_types(openvino) == {TensorProto.INT8, TensorProto.UINT8}
    assert activation_types(ort) == {TensorProto.UINT8}
    assert operators(openvino)["PRelu"] == 2
    assert operators(ort)["PRelu"] == 0
    assert operators(openvino)["Conv"] < operators(ort)["Conv"]  # cheap layers run again, for each sign


def test_below_eight_bits(net: Network) -> None:
    openvino, ort = files(net, "w4a4").values()
    assert operators(openvino)["Round"] > 0  # what additions alone read, as arithmetic
    assert operators(ort)["Round"] == 0
    for model, integers in ((openvino, False), (ort, True)):
        limited = {node.input[0] for node in model.graph.node if node.op_type == "Clip"}
        made = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        assert bool(limited & made) == integers


def test_the_layers_hold_the_same_integers(net: Network) -> None:
    openvino, ort = files(net, "w6a8").values()
    weights = [
        {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
        for model in (openvino, ort)
    ]
    shared = set(weights[0]) & set(weights[1])
    assert "fc.weight" in shared
    assert all(weights[0][name] == weights[1][name] for name in shared)


def test_layers_that_run_again_lie_in_the_file_once(net: Network) -> None:
    sizes = [
        sum(len(one.raw_data) for one in model.graph.initializer if one.data_type == TensorProto.INT8 and one.dims[1:])
        for model in files(net, "w8a8").values()
    ]
    assert sizes[0] == sizes[1] > 0


def test_a_float_network_differs_in_its_prelus(net: Network) -> None:
    openvino, ort = (to_onnx(net.graph, form) for form in FORMS.values())
    assert operators(openvino)["PRelu"] == 2
    assert operators(ort)["PRelu"] == 0
    assert (operators(ort) - operators(openvino)).keys() <= {"Relu", "Min", "Mul", "Add"}
