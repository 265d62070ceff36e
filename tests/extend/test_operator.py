"""The operator of `docs/extend/operator.md`, as a package outside bitface: imported, quantized, exported and run."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from support.extension import bitface, blocks, install, python, write_faces
from support.quantized import faces as noise

SIZE = 16


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (code,), (project,) = blocks("operator.md", "python"), blocks("operator.md", "toml")
    return install(tmp_path / "site", code, project)


def save_network(path: Path) -> None:
    """Convolution, Shrink, depthwise convolution, Shrink, linear layer."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(8, 3, 3, 3)) / 5,
        "second": random.normal(size=(8, 1, 3, 3)) / 3,
        "last": random.normal(size=(8, 8 * 12 * 12)) / 30,
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"]),
        helper.make_node("Shrink", ["a"], ["b"], lambd=0.1),
        helper.make_node("Conv", ["b", "second"], ["c"], group=8),
        helper.make_node("Shrink", ["c"], ["d"], lambd=0.05),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "last"], ["embedding"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def run(model: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


@pytest.mark.slow
def test_a_package_adds_an_operator(site: Path, tmp_path: Path) -> None:
    path, crops, out = tmp_path / "net.onnx", write_faces(tmp_path / "crops", 12, SIZE), tmp_path / "out"
    save_network(path)
    command = "quantize", path, "--images", crops, "--bits", "w8a8", "--out", out, "--preprocess", "rgb-127.5-128"
    assert "an operator bitface doesn't know" in bitface(*command, code=1)
    bitface(*command, site=site)
    images = ((noise(12, SIZE).transpose(0, 3, 1, 2) - 127.5) / 128).astype(np.float32)
    expected = run(path, images)
    for file in out.glob("*.onnx"):
        kinds = [node.op_type for node in onnx.load(file).graph.node]
        assert kinds.count("Shrink") == 2
        assert "QuantizeLinear" in kinds
        found = run(file, images)
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > 0.99
    assert len(list(out.glob("*.onnx"))) == 2
    assert "unknown operator 'Shrink'" in bitface("inspect", out / "model.bitface", code=1)


def test_its_torch_readers(site: Path) -> None:
    script = """
import torch
from torch import nn
from bitface.errors import BitfaceError
from bitface.graph import from_module, ops

class Net(nn.Module):
    def __init__(self, lambd):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 4, 3), nn.Hardshrink(lambd), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(nn.functional.hardshrink(self.act(self.conv(x)).mean((2, 3))))

module = Net(0.2).eval()
graph = from_module(module, size=(8, 8)).graph
assert [ops.op_name(m) for m in graph.modules()].count("Shrink") == 2
image = torch.randn(2, 3, 8, 8)
torch.testing.assert_close(graph(image), module(image))
try:
    from_module(Net(-1.0), size=(8, 8))
except BitfaceError as error:
    assert "'act' is a Hardshrink, which bitface doesn't know in this form" in str(error), error
else:
    raise AssertionError
"""
    python("-c", script, site=site)
