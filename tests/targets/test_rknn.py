"""RKNN: a folder of the file and of the script that converts it; what breaks a rule is named."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bitface.graph import Network
from bitface.targets import TARGETS
from bitface.targets.every_tensor import every_tensor_rounded
from bitface.targets.write import write
from support.qdq_files import Change, broken, changed, embeddings, first, student
from support.quantized import Mixed, faces

RKNN = TARGETS["rknn"]
# A toolkit that notes what it is asked for.
TOOLKIT = """\
class RKNN:
    def config(self, **options): print(sorted(options.items()))
    def load_onnx(self, model): print(model.rpartition('/')[2]); return 0
    def build(self, do_quantization): print(do_quantization); return 0
    def export_rknn(self, path): open(path, 'wb').write(b'rknn'); return 0
    def release(self): pass
"""


@pytest.fixture(scope="module")
def net() -> Network:
    return student(Mixed(), 16)


@pytest.fixture
def folder(net: Network, tmp_path: Path) -> Path:
    write("rknn", net, {"bitface.profile": "rknn"}, tmp_path / "model.rknn")
    return tmp_path / "model.rknn"


def test_the_file_has_every_tensor_in_integers(net: Network, folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} >= {"model.onnx", "convert.py"}
    assert broken("rknn", folder) == {}
    assert net.preprocess is not None
    images = net.preprocess(faces(4, 16, seed=1))
    with torch.inference_mode():
        expected = every_tensor_rounded(net.graph)(torch.from_numpy(images)).numpy()
    rows = embeddings(folder / "model.onnx", images)
    np.testing.assert_allclose(rows, expected, atol=0.02 * np.abs(expected).max())


def test_the_script_converts_it_with_the_networks_own_mean(folder: Path, tmp_path: Path) -> None:
    ast.parse((folder / "convert.py").read_text())
    (tmp_path / "rknn").mkdir()
    (tmp_path / "rknn" / "api.py").write_text(TOOLKIT)
    run = [sys.executable, str(folder / "convert.py"), "--platform", "rk3576"]
    done = subprocess.run(run, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    config, model, quantized = done.stdout.splitlines()
    assert "('target_platform', 'rk3576')" in config
    assert "('mean_values', [[127.5, 127.5, 127.5]])" in config
    assert (model, quantized) == ("model.onnx", "False")
    assert (folder / "model.rknn").read_bytes() == b"rknn"


def sums_into_a_prelu(model: onnx.ModelProto) -> None:
    first(model, "PRelu").input[0] = first(model, "Conv").output[0]


def a_free_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def an_old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def a_new_version(model: onnx.ModelProto) -> None:
    model.ir_version = 12


def a_layer_of_a_sequence(model: onnx.ModelProto) -> None:
    first(model, "Gemm").op_type = "MatMul"


def an_unknown_operator(model: onnx.ModelProto) -> None:
    first(model, "MaxPool").op_type = "Einsum"


@pytest.mark.parametrize(
    ("change", "rule", "line"),
    [
        (sums_into_a_prelu, "between a layer and its PReLU", "reads the sums of"),
        (a_free_batch, "Shapes are fixed", "'image' has the shape"),
        (an_old_opset, "The opset is 12 to 19", "opset 11"),
        (a_new_version, "IR version", "IR version 12"),
        (a_layer_of_a_sequence, "Linear layers of sequences", "'fc' is a linear layer of a sequence"),
        (an_unknown_operator, "in the toolkit's list", "is a Einsum"),
    ],
)
def test_what_breaks_a_rule_is_named(change: Change, rule: str, line: str, folder: Path) -> None:
    changed(folder / "model.onnx", change)
    wrong = broken("rknn", folder)
    text = next(text for text in wrong if rule in text)
    assert any(line in each for each in wrong[text]), wrong


def test_each_rule_has_a_source_and_the_usage_its_numbers(net: Network) -> None:
    assert all(rule.source and not rule.text.endswith(".") for rule in RKNN.rules)
    assert RKNN.usage is not None
    assert "uint8 [1, 16, 16, 3]" in RKNN.usage(net)
