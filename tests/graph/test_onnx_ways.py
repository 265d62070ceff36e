"""Refusals say what to do."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from support.onnx_models import Model, finished, refused

Save = Callable[[onnx.ModelProto], Path]


@pytest.mark.parametrize(
    ("kind", "domain", "way"),
    [
        ("FusedConv", "com.microsoft", r"'com.microsoft.FusedConv' of opset 17.*ONNX Runtime's optimizer"),
        ("ATen", "org.pytorch.aten", r"dynamo=True"),
        ("Normalizer", "ai.onnx.ml", r"embedding alone"),
        ("NonMaxSuppression", "", r"detector.*embedding alone"),
        ("GridSample", "", r"aligned faces"),
        ("SequenceAt", "", r"fixed image size.*onnxsim"),
        ("LSTM", "", r"node 'LSTM_0' is a 'LSTM' of opset 17.*simpler operators.*report it.*extend/operator.md"),
    ],
)
def test_unknown_operators(kind: str, domain: str, way: str, save: Save) -> None:
    model = Model()
    model.add(kind, "image", domain=domain)
    file = finished(model)
    if domain:
        file.opset_import.add(domain=domain, version=1)
    refused(save(file), way)


@pytest.mark.parametrize(
    ("build", "way"),
    [
        (lambda m: m.add("Gather", "image", m.ints(0), axis=0), r"first dimension stays the batch"),
        (lambda m: m.add("Conv", "image", m.add("Relu", "image")), r"one image size.*dynamic axes.*onnxsim"),
        (lambda m: m.add("Conv", "image", m.floats(4, 3, 3)), r"without it.*onnxsim"),
    ],
)
def test_forms_that_are_not_supported(build: Callable[[Model], str], way: str, save: Save) -> None:
    model = Model()
    build(model)
    refused(save(finished(model)), way)
