"""Written files of targets, and files that break their rules on purpose."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, numpy_helper
from torch import nn

from bitface.graph import Network
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets import TARGETS
from support.quantized import faces, network

Change = Callable[[onnx.ModelProto], None]


def student(module: nn.Module, size: int, bits: str = "w8a8", **plan: str) -> Network:
    """The integers of a small network, by a plan such as `activations="symmetric"`."""
    calibration = Calibration("minmax", bias_correction=False)
    rules = BitPlan.from_json({**BitPlan.parse(bits).to_json(), **plan})
    return quantize(network(module, size), faces(16, size), rules, calibration)[0]


def broken(target: str, path: Path) -> dict[str, list[str]]:
    """What breaks which rule of a target."""
    found = {rule.text: rule.broken(path) for rule in TARGETS[target].rules}
    return {text: lines for text, lines in found.items() if lines}


def changed(path: Path, change: Change) -> Path:
    """A file, changed in its place."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def first(model: onnx.ModelProto, kind: str, place: int = 0) -> NodeProto:
    return [node for node in model.graph.node if node.op_type == kind][place]


def maker(model: onnx.ModelProto, name: str) -> NodeProto:
    return next(node for node in model.graph.node if name in node.output)


def set_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors[name].CopyFrom(numpy_helper.from_array(value, name))


def embeddings(path: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime computes one by one, without optimizations: what the file says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
