"""Small ONNX models, and what ONNX Runtime makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitface.errors import BitfaceError
from bitface.graph import load_network

IMAGE = (3, 8, 6)


class Model:
    """An ONNX model in the making: nodes read `image`, `constant` adds an initialiser.

    `batch` is the number in the file, None where the file leaves it free.
    """

    def __init__(
        self,
        opset: int = 17,
        batch: int | None = None,
        image: Sequence[int] = IMAGE,
        dtype: int = TensorProto.FLOAT,
    ) -> None:
        self.opset, self.batch, self.image, self.dtype = opset, batch, tuple(image), dtype
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.random = np.random.default_rng(3)

    def constant(self, value: Any, dtype: Any = None) -> str:
        array = np.asarray(value, dtype)
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def floats(self, *shape: int, low: float = -1, high: float = 1) -> str:
        return self.constant(self.random.uniform(low, high, shape), np.float32)

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def finish(self, output: str, **options: Any) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", self.dtype, [self.batch or "N", *self.image])
        result = helper.make_tensor_value_info(output, self.dtype, None)
        graph = helper.make_graph(self.nodes, "test", [image], [result], self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, **{"ir_version": 8, **options})


def small_network(**options: Any) -> Model:
    """Convolution, PReLU, flatten, linear layer; the last node's output is the embedding."""
    model = Model(**options)
    x = model.add("Conv", "image", model.floats(4, 3, 3, 3), model.floats(4), pads=[1, 1, 1, 1])
    x = model.add("PRelu", x, model.floats(4, 1, 1))
    x = model.add("Flatten", x)
    model.add("Gemm", x, model.floats(5, 4 * 8 * 6), model.floats(5), transB=1)
    return model


def finished(model: Model | None = None) -> onnx.ModelProto:
    """A model whose last node gives the embedding."""
    model = model or small_network()
    return model.finish(model.nodes[-1].output[0])


def refused(path: Path, message: str) -> None:
    """Importing the file fails in one line, which names the file and matches the message."""
    with pytest.raises(BitfaceError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def run_onnx(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    """The output in ONNX Runtime as the file says it, with nothing optimised away.

    Where ONNX Runtime has no kernel yet for an operator in the newest opset, onnx's reference evaluator says it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        evaluator = onnx.reference.ReferenceEvaluator(model)
        return evaluator.run(None, {evaluator.input_names[0]: image})[0]
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def relative_difference(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected number."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    return float(np.abs(found - expected).max() / np.abs(expected).max())
