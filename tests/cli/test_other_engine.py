"""A threshold and a gallery from one engine, used where another one computes: it is measured, kept and said."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bitface import artifact, load
from bitface.data.face_source import FaceSource
from bitface.evaluation.gallery_file import read_gallery
from bitface.jobs.calibrate import CalibrateRequest, calibrate_model
from bitface.jobs.people.enroll import EnrollRequest, enroll
from bitface.runtime.engine_differences import other_engine
from bitface.targets import runs_here
from bitface.targets.exact import exact

from .conftest import Run


@pytest.fixture(scope="module")
def model(quantized: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With thresholds of OpenVINO, and with a gallery of it beside."""
    path = tmp_path_factory.mktemp("engines") / "model.bitface"
    shutil.copy(quantized / "model.bitface", path)
    made = [
        calibrate_model(CalibrateRequest(path, source=FaceSource([crops]), fars=(0.05,), engine="openvino")),
        enroll(EnrollRequest(path, FaceSource([crops]), path.with_name("gallery.safetensors"), engine="openvino")),
    ]
    for result in made:
        assert result["engine"] == "openvino"
        assert any("saturate" in text for text in result["warnings"]) != exact("openvino", 8)
    return path


def test_the_difference_is_measured_and_kept(model: Path, crops: Path) -> None:
    threshold, gallery = artifact.read(model).thresholds[0], read_gallery(model.with_name("gallery.safetensors"))
    assert threshold["engine"] == gallery.engine == "openvino"
    for kept in (threshold["engines"], gallery.engines):
        assert set(kept) == {"onnxruntime", *(["c"] if runs_here("c") else [])}
        facts = kept["onnxruntime"]
        assert facts["faces"] == 48
        assert 0.5 < facts["lowest"] <= facts["cosine"] <= 1
        assert 0 <= facts["shift"] < 0.5
    # The same by hand.
    files = [str(path) for path in sorted(crops.glob("*/*.png"))]
    unit = []
    for engine in ("openvino", "onnxruntime"):
        rows = load(model, engine).embed(files)
        unit.append(rows / (rows**2).sum(1, keepdims=True) ** 0.5)
    assert gallery.engines["onnxruntime"]["cosine"] == pytest.approx((unit[0] * unit[1]).sum(1).mean(), abs=1e-4)


def without_vnni(cache: Path, *arguments: object) -> tuple[str, str]:
    """The program where OpenVINO takes the CPU for one without VNNI, and there is no C compiler."""
    environment = {**os.environ, "PATH": "", "ONEDNN_MAX_CPU_ISA": "AVX2", "BITFACE_CACHE": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "bitface", *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_verify_and_identify_say_it(model: Path, crops: Path, tmp_path: Path) -> None:
    first, second = crops / "p3" / "0.png", crops / "p3" / "1.png"
    out, err = without_vnni(
        tmp_path, "verify", first, second, "--model", model, "--far", 0.05, "--exit-zero", "--json", tmp_path / "a.json"
    )
    answer = json.loads((tmp_path / "a.json").read_text())
    if answer["engine"] == "openvino":
        pytest.skip("OpenVINO is exact on this CPU whatever it may use")
    assert (answer["engine"], answer["found_on"]) == ("onnxruntime", "openvino")
    assert "computed in ONNX Runtime" in out
    words = "comes from OpenVINO, ONNX Runtime computes here: on 48 faces their embeddings agreed by "
    assert f"the threshold {words}" in err
    gallery = ("--gallery", model.with_name("gallery.safetensors"))
    out, err = without_vnni(tmp_path, "identify", first, *gallery, "--model", model)
    assert "computed in ONNX Runtime" in out
    assert f"the gallery {words}" in err
    assert "the threshold" not in err
    assert "warning" not in err
    _, err = without_vnni(tmp_path, "identify", first, *gallery, "--model", model, "--far", 0.05)
    assert f"the threshold {words}" in err


def test_on_the_same_engine_nothing_is_said() -> None:
    assert other_engine("openvino", "openvino", {}, "the gallery") is None
    assert other_engine(None, "openvino", {}, "the gallery") is None
    told = other_engine("openvino", "torch", {}, "the gallery")
    assert told is not None
    assert "wasn't measured" in told


def test_an_engine_that_is_unknown_here_is_named_and_not_run(
    bitface: Run, model: Path, crops: Path, tmp_path: Path
) -> None:
    """As of an artifact from a machine with another package's target."""
    path = tmp_path / "model.bitface"
    details = artifact.read(model)
    artifact.write(path, replace(details, thresholds=[{**details.thresholds[0], "engine": "abacus"}]))
    pair = crops / "p3" / "0.png", crops / "p3" / "1.png"
    code, out, err = bitface("verify", *pair, "--model", path, "--far", 0.05, "--exit-zero")
    assert code == 0, err
    assert "computed in" in out
    assert "the threshold comes from abacus, " in err
