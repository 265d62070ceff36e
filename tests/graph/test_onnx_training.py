"""Nodes in training mode, by what each opset says of the mode and by what ONNX Runtime makes of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bitface.graph import from_onnx
from support.onnx_models import IMAGE, Model, refused, relative_difference, run_onnx

Save = Callable[[onnx.ModelProto], Path]

IMAGES = np.random.default_rng(1).normal(size=(4, *IMAGE)).astype(np.float32)
TRAINING = r"is in training mode; export the network again, after `\.eval\(\)`"


def embed(path: Path) -> np.ndarray:
    graph, _ = from_onnx(path)
    with torch.no_grad():
        return graph(torch.from_numpy(IMAGES)).numpy()


def batch_norm(opset: int, further: Sequence[str] = (), x: str = "image", **attributes: Any) -> Model:
    """One BatchNormalization with the given further outputs."""
    model = Model(opset)
    numbers = [model.floats(3), model.floats(3), model.floats(3), model.floats(3, low=0.5, high=2)]
    node = helper.make_node("BatchNormalization", [x, *numbers], ["y", *further], name="norm", **attributes)
    model.nodes.append(node)
    return model


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("further", [["a", "b", "c", "d"], ["a", "b", "", ""]], ids=" ".join)
def test_further_outputs_are_the_training_mode_before_opset_14(further: list[str], opset: int, save: Save) -> None:
    """Nothing reads them, and still ONNX Runtime takes mean and variance from the batch."""
    plain = run_onnx(batch_norm(opset).finish("y"), IMAGES)
    training = batch_norm(opset, further).finish("y")
    assert relative_difference(run_onnx(training, IMAGES), plain) > 0.1
    refused(save(training), f"node 'norm' .BatchNormalization. {TRAINING}")


@pytest.mark.parametrize("opset", [9, 13])
def test_further_outputs_that_are_read(opset: int, save: Save) -> None:
    model = batch_norm(opset, ["a", "b", "c", "d"])
    refused(save(model.finish(model.add("Add", "y", model.add("Unsqueeze", "c", axes=[1, 2])))), TRAINING)


@pytest.mark.parametrize("opset", [14, 15, 17])
def test_the_training_mode_since_opset_14(opset: int, save: Save) -> None:
    refused(save(batch_norm(opset, ["a", "b"], training_mode=1).finish("y")), TRAINING)
    refused(save(batch_norm(opset, ["a", "b"]).finish("y")), TRAINING)  # invalid: outputs of a mode that isn't on
    plain = batch_norm(opset, training_mode=0).finish("y")
    assert relative_difference(embed(save(plain)), run_onnx(plain, IMAGES)) <= 1e-4


@pytest.mark.parametrize("opset", [9, 13])
def test_further_outputs_without_a_name_are_none(opset: int, save: Save) -> None:
    expected = run_onnx(batch_norm(opset).finish("y"), IMAGES)
    assert relative_difference(embed(save(batch_norm(opset, ["", "", "", ""]).finish("y"))), expected) <= 1e-4


@pytest.mark.parametrize("opset", [9, 13, 14, 17])
def test_batch_norm_of_a_constant(opset: int, save: Save) -> None:
    def of_constant(*further: str, **attributes: Any) -> onnx.ModelProto:
        model = batch_norm(opset, further, "weight", **attributes)
        model.initializers.append(
            onnx.numpy_helper.from_array(np.array([[1, -2, 3]], np.float32).reshape(1, 3, 1, 1), "weight")
        )
        return model.finish(model.add("Add", "image", "y"))

    assert relative_difference(embed(save(of_constant())), run_onnx(of_constant(), IMAGES)) <= 1e-4
    refused(save(of_constant("a", "b", "c", "d") if opset < 14 else of_constant("a", "b", training_mode=1)), TRAINING)


# Dropout


def dropout(m: Model, *training: bool, x: str = "image", outputs: int = 1) -> str:
    inputs = ["", m.constant(training[0])] if training else []
    found = m.add("Dropout", x, *inputs, outputs=outputs)
    return found if outputs == 1 else found[0]


@pytest.mark.parametrize(
    ("opset", "build"),
    [
        *((opset, dropout) for opset in (9, 10, 11, 12, 13, 17)),
        # ONNX Runtime reads opset 9's mask as another type, and refuses it.
        *((opset, lambda m: dropout(m, outputs=2)) for opset in (10, 11, 12, 13, 17)),
        *((opset, lambda m: dropout(m, False, outputs=2)) for opset in (12, 13, 17)),
        (17, lambda m: m.add("Add", "image", dropout(m, x=m.floats(3, 1, 1)))),
    ],
)
def test_dropout_in_inference(opset: int, build: Callable[[Model], str], save: Save) -> None:
    model = Model(opset)
    onnx_model = model.finish(model.add("Relu", build(model)))
    assert relative_difference(embed(save(onnx_model)), run_onnx(onnx_model, IMAGES)) <= 1e-4


@pytest.mark.parametrize("opset", [12, 13, 17, 22])
def test_dropout_in_training_mode(opset: int, save: Save) -> None:
    model = Model(opset)
    refused(save(model.finish(dropout(model, True))), TRAINING)
    model = Model(opset)
    refused(save(model.finish(model.add("Conv", "image", dropout(model, True, x=model.floats(4, 3, 1, 1))))), TRAINING)


def test_outputs_that_are_not_computed(save: Save) -> None:
    model = Model()
    y, mask = model.add("Dropout", "image", outputs=2)
    kept = model.add("Mul", y, model.add("Cast", mask, to=TensorProto.FLOAT))
    refused(save(model.finish(kept)), "'Dropout_0_1' is a further output of a Dropout")


# Chance, which belongs to training too


@pytest.mark.parametrize(
    "noise",
    [
        lambda m: m.add("RandomNormal", shape=[3, 8, 6]),
        lambda m: m.add("RandomUniformLike", m.floats(3, 1, 1)),
        lambda m: m.add("Cast", m.add("Bernoulli", m.floats(3, 1, 1, low=0)), to=TensorProto.FLOAT),
    ],
    ids=["normal", "uniform", "bernoulli"],
)
def test_random_numbers_are_not_drawn_once_for_all(noise: Callable[[Model], str], save: Save) -> None:
    model = Model()
    refused(save(model.finish(model.add("Add", "image", noise(model)))), "draws random numbers")
