"""Branches that exporters keep: the one that is always taken is read, and any other file is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bitface.graph import from_onnx, load_network
from support.onnx_models import IMAGE, Model, refused, relative_difference, run_onnx

Save = Callable[[onnx.ModelProto], Path]
IMAGES = np.random.default_rng(1).standard_normal((2, *IMAGE), np.float32)


def branch(prefix: str, source: str, kind: str, **attributes: Any) -> onnx.GraphProto:
    """What an operator gives of a tensor around it, and a number of its own."""
    number = numpy_helper.from_array(np.array(3, np.float32), f"{prefix}_number")
    nodes = [
        helper.make_node(kind, [source], [f"{prefix}_inner"], **attributes),
        helper.make_node("Add", [f"{prefix}_inner", f"{prefix}_number"], [f"{prefix}_result"]),
    ]
    result = helper.make_tensor_value_info(f"{prefix}_result", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, prefix, [], [result], [number])


def choice(m: Model, condition: str, source: str) -> str:
    name = f"at_{len(m.nodes)}"
    then, other = branch(f"{name}_then", source, "Relu"), branch(f"{name}_else", source, "Sigmoid")
    result: str = m.add("If", condition, then_branch=then, else_branch=other)
    return result


def finished(m: Model, x: str) -> onnx.ModelProto:
    return m.finish(m.add("Flatten", m.add("Conv", x, m.floats(4, 3, 8, 5))))


def right(m: Model, x: str, save: Save) -> None:
    model = finished(m, x)
    with torch.no_grad():
        result = from_onnx(save(model))[0](torch.from_numpy(IMAGES)).numpy()
    assert relative_difference(result, run_onnx(model, IMAGES)) <= 1e-5


@pytest.mark.parametrize("value", [True, False])
def test_of_a_constant(value: bool, save: Save) -> None:
    m = Model()
    right(m, choice(m, m.constant(value), m.add("Tanh", "image")), save)


@pytest.mark.parametrize("axis", [1, 3])
def test_of_a_side(axis: int, save: Save) -> None:
    """Whether it is 3, as torch asks of the side that it squeezes; and what lies behind reads the result."""
    m = Model()
    side = m.add("Gather", m.add("Shape", "image"), m.constant(axis, np.int64))
    x = choice(m, m.add("Equal", side, m.constant(3, np.int64)), "image")
    right(m, m.add("Mul", x, m.add("Neg", "image")), save)


def test_one_behind_the_other_and_one_in_the_other(save: Save) -> None:
    m = Model()
    x = choice(m, m.constant(True), choice(m, m.constant(False), "image"))
    inner = helper.make_node(
        "If", [m.constant(True)], ["deep"],
        then_branch=branch("deepest", x, "Tanh"), else_branch=branch("unused", x, "Exp"),
    )  # fmt: skip
    outer = helper.make_graph([inner], "outer", [], [helper.make_tensor_value_info("deep", TensorProto.FLOAT, None)])
    right(m, m.add("If", m.constant(False), then_branch=branch("no", x, "Exp"), else_branch=outer), save)


def test_of_training(save: Save) -> None:
    """The branch of evaluation is taken, whatever stands in the other one."""
    m = Model()
    training = helper.make_graph(
        [helper.make_node("RandomNormalLike", ["image"], ["noise"])], "training", [],
        [helper.make_tensor_value_info("noise", TensorProto.FLOAT, None)],
    )  # fmt: skip
    x = m.add("If", "phase_train", then_branch=training, else_branch=branch("evaluation", "image", "Relu"))
    model = finished(m, x)
    model.graph.input.append(helper.make_tensor_value_info("phase_train", TensorProto.BOOL, []))
    network = load_network(save(model))
    assert network.notes[0].endswith("its input 'phase_train' is taken as false")
    for node in model.graph.node:  # what ONNX Runtime takes for it
        node.input[:] = ["evaluation" if name == "phase_train" else name for name in node.input]
    del model.graph.input[1:]
    model.graph.initializer.append(numpy_helper.from_array(np.array(False), "evaluation"))
    with torch.no_grad():
        result = network.graph(torch.from_numpy(IMAGES)).numpy()
    assert relative_difference(result, run_onnx(model, IMAGES)) <= 1e-5


def test_what_the_image_decides_is_refused(save: Save) -> None:
    m = Model()
    mean = m.add("ReduceMean", "image", axes=[0, 1, 2, 3], keepdims=0)
    x = choice(m, m.add("Greater", mean, m.constant(0, np.float32)), "image")
    refused(save(finished(m, x)), "reduces the batch")
    m = Model()
    refused(save(finished(m, choice(m, m.add("Greater", "image", m.floats()), "image"))), "'If' .* control flow")


def test_names_twice_are_refused(save: Save) -> None:
    m = Model()
    x = m.add("Tanh", "image")
    for other in ("one", "another"):
        x = m.add("If", m.constant(True), then_branch=branch("same", x, "Relu"), else_branch=branch(other, x, "Exp"))
    refused(save(finished(m, x)), "names a tensor of its branch as another one")


def test_weights_of_a_branch_outside_the_folder_are_refused(save: Save) -> None:
    m = Model()
    inside = branch("inside", "image", "Relu")
    number = inside.initializer[0]
    number.ClearField("raw_data")
    number.data_location = TensorProto.EXTERNAL
    number.external_data.add(key="location", value="../../secret")
    x = m.add("If", m.constant(True), then_branch=inside, else_branch=branch("other", "image", "Exp"))
    refused(save(finished(m, x)), "outside the model's folder")


def test_nodes_of_branches_count(save: Save) -> None:
    m = Model()
    many = branch("many", "image", "Relu")
    many.node.extend(helper.make_node("Relu", ["image"], [f"many_{index}"]) for index in range(20_000))
    x = m.add("If", m.constant(True), then_branch=many, else_branch=branch("other", "image", "Exp"))
    refused(save(finished(m, x)), "has 20,007 nodes")
