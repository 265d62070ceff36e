"""The commands one after the other, as a person would use them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import bitface as library
from bitface.runtime.exact import default_engine
from bitface.runtime.model import open_model
from bitface.targets.exact import exact

from .conftest import FILES, Run


@pytest.fixture(scope="module")
def result(quantized: Path) -> dict[str, Any]:
    return json.loads((quantized / "result.json").read_text())


def test_quantize_writes_everything_and_nothing_else(quantized: Path) -> None:
    assert {path.name for path in quantized.iterdir()} == FILES


def test_the_result_says_what_was_made(quantized: Path, result: dict[str, Any]) -> None:
    assert result["bytes"]["model.bitface"] == (quantized / "model.bitface").stat().st_size
    assert result["engine"] == default_engine(open_model(quantized / "model.bitface"))
    assert set(result["agreement"]) == {"openvino", "onnxruntime", result["engine"]}
    for engine, agreed in result["agreement"].items():
        assert agreed["minimum"] <= agreed["p01"] <= agreed["mean"] <= 1
        assert agreed["mean"] > (0.95 if exact(engine, 8) else 0.9)
        assert agreed["count"] == result["faces"]["held_out"] == 18
    # Where OpenVINO's sums saturate and ONNX Runtime is the default for it, a note says it, and nothing warns of a
    # choice of our own.
    assert exact(result["engine"], 8)
    assert any("saturate" in text for text in result["notes"]) == (result["engine"] == "onnxruntime")
    assert not any("saturate" in text for text in result["warnings"])
    assert result["faces"]["calibration"] == 30
    assert {entry["role"] for entry in result["unquantized"]} >= {"activation", "slope"}
    assert any("embedding" in entry["reason"] for entry in result["unquantized"])
    assert result["plan"]["bits"] == "w8a8"
    assert all(layer["weight_bits"] == 8 for layer in result["layers"] if layer["kind"] in ("Conv", "Linear"))


@pytest.mark.parametrize("profile", ["openvino", "onnxruntime"])
def test_no_float_weight_is_left_in_the_exports(quantized: Path, profile: str) -> None:
    model = onnx.load(quantized / f"model.{profile}.onnx")
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert kinds <= {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT, TensorProto.INT64}
    widest = max(
        (np.prod(tensor.dims) / max(tensor.dims, default=1), tensor.name)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.dims
    )
    assert widest[0] == 1, f"{widest[1]} holds more than one float per channel"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


@pytest.mark.parametrize("file", ["model.bitface", "model.openvino.onnx", "model.onnxruntime.onnx"])
def test_every_file_embeds(quantized: Path, crops: Path, file: str) -> None:
    embeddings = library.load(quantized / file).embed([crops / "p0" / "0.png", crops / "p0" / "1.png"])
    assert embeddings.shape == (2, 32)
    assert embeddings.dtype == np.float32
    reference = library.load(quantized / "model.bitface", engine="torch").embed([crops / "p0" / "0.png"])
    cosine = float(reference[0] @ embeddings[0] / np.linalg.norm(reference[0]) / np.linalg.norm(embeddings[0]))
    assert cosine > 0.95  # a network of random weights, so rounding counts for more than in a trained one


def test_the_same_faces_give_the_same_bytes_whatever_the_order(
    net: Path, crops: Path, tmp_path: Path, quantized: Path, bitface: Run
) -> None:
    copy = tmp_path / "again"
    for path in sorted(crops.rglob("*.png"), reverse=True):
        target = copy / path.relative_to(crops)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    out = tmp_path / "out"
    arguments = ("--max-images", 30, "--preprocess", "rgb-127.5-128", "--out", out)
    code, _, err = bitface("quantize", net, "--images", copy, *arguments)
    assert code == 0, err
    assert (out / "model.bitface").read_bytes() == (quantized / "model.bitface").read_bytes()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_evaluate(quantized: Path, pairs: Path, crops: Path, tmp_path: Path, bitface: Run, engine: str) -> None:
    file = tmp_path / "result.json"
    code, out, err = bitface(
        "evaluate", quantized / "model.bitface", "--pairs", pairs, "--root", crops,
        "--engine", engine, "--far", "1e-1,1e-4", "--json", file,
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(file.read_text())
    assert 0.5 <= content["accuracy"]["mean"] <= 1
    supported = {point["far"]: point["supported"] for point in content["tar"]}
    assert supported == {0.1: False, 0.0001: False}
    assert "not supported" in out


def test_evaluate_all_pairs_of_a_float_network(
    net: Path, pairs: Path, crops: Path, tmp_path: Path, bitface: Run
) -> None:
    file = tmp_path / "result.json"
    arguments = ("--all-pairs", "--flip", "--far", "1e-1", "--preprocess", "rgb-127.5-128", "--json", file)
    code, _, err = bitface("evaluate", net, "--pairs", pairs, "--root", crops, *arguments)
    assert code == 0, err
    content = json.loads(file.read_text())
    images = content["counts"]["images"]
    assert content["counts"]["genuine"] + content["counts"]["impostor"] == images * (images - 1) // 2
    assert content["tar"][0]["supported"]


def test_bench(net: Path, quantized: Path, tmp_path: Path, bitface: Run) -> None:
    file = tmp_path / "bench.json"
    arguments = ("--batch", "1,2", "--preprocess", "rgb-127.5-128", "--json", file)
    code, _, err = bitface("bench", net, quantized / "model.bitface", *arguments)
    assert code == 0, err
    rows = json.loads(file.read_text())["rows"]
    assert {(row["engine"], row["precision"]) for row in rows} >= {
        ("openvino", "f32"),
        ("openvino", "int8"),
        ("onnxruntime", "f32"),
        ("onnxruntime", "int8"),
        (default_engine(open_model(quantized / "model.bitface")), "int8"),
    }
    assert {row["batch"] for row in rows} == {1, 2}


def test_inspect(net: Path, quantized: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    file = tmp_path / "inspect.json"
    code, out, err = bitface("inspect", net, "--images", crops, "--json", file)
    assert code == 0, err
    content = json.loads(file.read_text())
    assert content["preprocess"] is None
    assert len(content["presets"]) >= 8
    assert content["embedding_size"] == 32
    assert [entry["target"] for entry in content["targets"]] == ["openvino", "onnxruntime"]
    assert all(entry["in_integers"] == entry["layers"] > 0 and entry["share"] == 1 for entry in content["targets"])
    assert content["in_float"] == []
    code, out, err = bitface("inspect", quantized / "model.bitface", "--try", "--json", file)
    assert code == 0, err
    assert "floating point" in out
    assert "none; bitface calibrate finds them" in out
    code, out, err = bitface("inspect", quantized / "model.bitface", "--output", "feature")
    assert code == 0, err
    assert "has one output; --output counts for ONNX files only" in " ".join(err.split())
    assert min(entry["agreement"] for entry in json.loads(file.read_text())["targets"]) > 0.9
    assert bitface("inspect", quantized / "model.onnxruntime.onnx")[0] == 0


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_export(net: Path, quantized: Path, tmp_path: Path, bitface: Run, target: str) -> None:
    for model in (net, quantized / "model.bitface"):
        for option in ("--target", "--engine"):  # the older name
            path = tmp_path / f"{model.stem}{option}.onnx"
            code, _, err = bitface("export", model, option, target, "--out", path)
            assert code == 0, err
            onnx.checker.check_model(onnx.load(path))
        assert path.read_bytes() == (tmp_path / f"{model.stem}--target.onnx").read_bytes()


def test_export_of_an_artifact_is_what_quantize_wrote(quantized: Path, tmp_path: Path, bitface: Run) -> None:
    for name in ("openvino", "onnxruntime"):
        bitface("export", quantized / "model.bitface", "--target", name, "--out", tmp_path / f"{name}.onnx")
        assert (tmp_path / f"{name}.onnx").read_bytes() == (quantized / f"model.{name}.onnx").read_bytes()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("openvno", "unknown target 'openvno'; did you mean 'openvino'?"),
        ("torch", "the target 'torch' isn't written as a file; use one of "),
    ],
)
def test_what_is_no_target_to_write(
    net: Path, crops: Path, quantized: Path, tmp_path: Path, bitface: Run, target: str, message: str
) -> None:
    for command in (
        ["export", quantized / "model.bitface", "--out", tmp_path / "x.onnx"],
        ["quantize", net, "--images", crops, "--out", tmp_path / "out"],
        ["run", "best-w8a8", net, "--images", crops, "--out", tmp_path / "out"],
    ):
        code, _, err = bitface(*command, "--target", target)
        assert code == 2
        assert message in err
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_target_is_written_and_the_default_engine_measured_too(
    net: Path, crops: Path, tmp_path: Path, bitface: Run
) -> None:
    options = ("--images", crops, "--max-images", 20, "--preprocess", "rgb-127.5-128", "--out", tmp_path / "out")
    for target, other in (("onnxruntime", "openvino"), ("openvino", "onnxruntime")):
        code, _, err = bitface("quantize", net, *options, "--target", target, "--force")
        assert code == 0, err
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        assert list(result["bytes"]) == ["model.bitface", f"model.{target}.onnx"]
        assert (tmp_path / "out" / f"model.{target}.onnx").is_file()
        assert not (tmp_path / "out" / f"model.{other}.onnx").exists()  # nor that of the result before
        assert set(result["agreement"]) == {target, result["engine"]}


def test_a_target_that_cannot_hold_a_plan(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    options = ("--images", crops, "--max-images", 20, "--preprocess", "rgb-127.5-128", "--bits", "w8a16")
    code, _, err = bitface("quantize", net, *options, "--target", "openvino", "--out", tmp_path / "no")
    assert code == 2
    assert err == (
        "error: the target 'openvino' has no activations of 16 bits, at most 8; leave it out, or choose another plan\n"
    )
    code, _, err = bitface("quantize", net, *options, "--out", tmp_path / "out")
    assert code == 0, err
    assert "not written for OpenVINO, which has no activations of 16 bits" in err
    assert list(json.loads((tmp_path / "out" / "result.json").read_text())["bytes"]) == [
        "model.bitface",
        "model.onnxruntime.onnx",
    ]


def test_help_and_version(bitface: Run) -> None:
    code, out, _ = bitface("--help")
    assert code == 0
    for command in ("inspect", "quantize", "evaluate", "bench", "export", "assets", "demo"):
        assert command in out
        assert bitface(command, "--help")[0] == 0
    assert library.__version__ in bitface("--version")[1]
