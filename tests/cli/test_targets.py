"""Targets at the command line: plans that are made for them, simulations in their place, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from bitface import artifact, load
from bitface.data.face_source import FaceSource
from bitface.evaluation.gallery_file import read_gallery
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime.quantized import artifact_of
from support.quantized import Mixed, faces, network

from .conftest import Run

PREPROCESS = ("--preprocess", "rgb-127.5-128")


@pytest.fixture(scope="module")
def for_npus(net: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network for TensorRT and RKNN."""
    out = tmp_path_factory.mktemp("targets") / "out"
    source = FaceSource((crops,), max_images=24)
    request = QuantizeRequest(net, source, out, preprocess="rgb-127.5-128", targets=("tensorrt", "rknn"))
    quantize_model(request)
    return out


def test_the_plan_is_made_for_them_and_that_is_said(for_npus: Path) -> None:
    result = json.loads((for_npus / "result.json").read_text())
    assert result["plan"]["activations"] == "signed"
    assert "activations are symmetric and signed, as TensorRT has no others" in result["notes"]
    assert {*result["agreement"]} >= {"tensorrt-simulated", "rknn-simulated"}
    assert "TensorRT doesn't run here: its simulation in torch computed" in result["notes"]
    assert sorted(path.name for path in for_npus.iterdir() if path.name.startswith("model.")) == [
        "model.bitface",
        "model.rknn",
        "model.tensorrt.onnx",
    ]
    assert (for_npus / "model.rknn" / "convert.py").is_file()
    text = (for_npus / "README.md").read_text()
    assert "for TensorRT" in text
    assert "See `model.rknn/README.md`." in text


def test_a_simulation_evaluates_and_says_so(for_npus: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    gallery = tmp_path / "gallery.safetensors"
    code, _, err = bitface(
        "enroll", for_npus / "model.bitface", "--images", crops, "--target", "rknn", "--out", gallery
    )
    assert code == 0, err
    assert "its simulation in torch computed" in err
    # Whatever is kept says it: an engine that is installed later must not be taken for what made it.
    assert read_gallery(gallery).engine == "rknn-simulated"
    probe = next(iter(sorted(crops.rglob("*.png"))))
    _, out, err = bitface("identify", probe, "--gallery", gallery, "--model", for_npus / "model.bitface")
    assert "the gallery comes from the simulation of RKNN" in out + err
    with pytest.warns(UserWarning, match="RKNN doesn't run here: its simulation in torch computed"):
        assert load(for_npus / "model.bitface", engine="rknn").engine == "rknn-simulated"
    code, _, err = bitface("bench", for_npus / "model.bitface", "--target", "tensorrt")
    assert code == 2
    assert "tensorrt doesn't run here, so there is nothing to measure" in err


def test_an_artifact_for_others_loses_a_bit_and_that_is_said(tmp_path: Path, bitface: Run) -> None:
    net = network(Mixed(), 16)
    student, _ = quantize(net, faces(8, 16), BitPlan(), Calibration("minmax", bias_correction=False))
    artifact.write(tmp_path / "model.bitface", artifact_of(net, student, BitPlan(), {}, {}))
    code, _, err = bitface("export", tmp_path / "model.bitface", "--target", "ncnn", "--out", tmp_path / "net")
    assert code == 0, err
    assert "ncnn has signed activations alone, so" in err
    assert "`bitface quantize … --target ncnn` makes a model that loses none" in err
    names = sorted(path.name for path in (tmp_path / "net").iterdir())
    assert names == ["README.md", "model.ncnn.bin", "model.ncnn.param"]


def test_code_has_the_name_that_is_chosen(for_npus: Path, tmp_path: Path, bitface: Run) -> None:
    model = for_npus / "model.bitface"
    code, _, err = bitface("export", model, "--target", "c", "--name", "lock_net", "--out", tmp_path / "lock")
    assert code == 0, err
    names = sorted(path.name for path in (tmp_path / "lock").iterdir())
    assert names == ["README.md", "example.c", "lock_net.c", "lock_net.h", "model.json"]
    for name in names[:-1]:
        text = (tmp_path / "lock" / name).read_text()
        assert "lock_net_embed(" in text
        assert "face_net" not in text.lower()
    code, _, err = bitface("export", model, "--target", "c", "--name", "lock-net", "--out", tmp_path / "other")
    assert code == 2
    assert "'lock-net' is no name for a C function here" in err
    code, _, err = bitface("export", model, "--target", "rknn", "--name", "lock", "--out", tmp_path / "other")
    assert code == 2
    assert "--name is for code, and RKNN isn't" in err
    assert not (tmp_path / "other").exists()


def test_what_a_target_cannot_hold_is_refused_before_anything(
    net: Path, crops: Path, tmp_path: Path, bitface: Run
) -> None:
    command = ("quantize", net, "--images", crops, *PREPROCESS, "--out", tmp_path / "out")
    code, _, err = bitface(*command, "--target", "ncnn", "--bits", "w4a4")
    assert code == 2
    assert "the target 'ncnn' has no activations of 4 bits, only of 8" in err
    if find_spec("executorch") is None:
        code, _, err = bitface(*command, "--target", "executorch")
        assert code == 1
        assert err.strip().endswith("ExecuTorch isn't installed: pip install 'bitface[executorch]'")
    assert not (tmp_path / "out").exists()


def test_times_fit_into_80_columns(quantized: Path, net: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = bitface("bench", net, quantized / "model.bitface", *PREPROCESS, "--target", "onnxruntime")
    assert code == 0, err
    table = [line for line in out.splitlines() if not line.startswith("[")]
    assert max(map(len, table)) <= 80
    rows = [line for line in table if "onnxruntime" in line]
    assert [("int8" in line, "f32" in line) for line in rows].count((True, False)) == 1
