"""Nothing is told to anybody: no engine, and no package that one brings, speaks to the network or marks the user."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bitface import artifact
from bitface.artifact import Artifact
from bitface.quant import BitPlan, Calibration, quantize
from bitface.targets.registry import TARGETS, runs_here
from bitface.telemetry import silenced
from support.quantized import Mixed, faces, network

# What Python tells of a program that speaks to the network, in forked processes, too.
SPEAKING = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "http.client.connect")
# What in the environment of these tests keeps packages silent.
SILENCING = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")
WATCHED = f"""
import os, sys
def watch(event, arguments):
    if event in {SPEAKING}:
        os.write(1, f"{{event}} {{arguments}}\\n".encode())
        raise ConnectionError("a test tells nobody")
sys.addaudithook(watch)
"""
EMBEDS = """
import bitface, numpy
model, engine, images = sys.argv[1:]
bitface.load(model, engine=engine).embed(numpy.load(images))
"""


def run(program: str, folder: Path, *arguments: object) -> str:
    """What a program says that isn't run by a CI service, whose user has an empty home directory."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in SILENCING}
    environment |= {"HOME": str(home), "BITFACE_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", [name for name in TARGETS if runs_here(name)])
def test_no_engine_tells_anybody(engine: str, tmp_path: Path) -> None:
    student = quantize(network(Mixed(), 16), faces(8, 16), BitPlan(), Calibration("minmax"))[0]
    artifact.write(tmp_path / "model.bitface", Artifact(student, BitPlan().to_json(), {"name": "mixed"}))
    np.save(tmp_path / "faces.npy", faces(2, 16, seed=1))
    said = run(WATCHED + EMBEDS, tmp_path, tmp_path / "model.bitface", engine, tmp_path / "faces.npy")
    assert not said
    assert not list((tmp_path / "home").rglob("*"))


def test_what_packages_ask_is_answered_and_what_stands_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    with silenced():
        pass
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_packages_that_tell_for_others_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, reporter.__name__, reporter)
    with silenced(), silenced(), pytest.raises(ImportError):
        import_module(reporter.__name__)
    assert import_module(reporter.__name__) is reporter


@pytest.mark.skipif("openvino" not in TARGETS or not runs_here("openvino"), reason="no OpenVINO")
def test_what_is_watched_for_is_there(tmp_path: Path) -> None:
    """OpenVINO, imported by itself, keeps a number for this user, and would send it."""
    if not list(distributions(name="openvino-telemetry")):
        pytest.skip("OpenVINO came without what tells")
    assert "urllib.Request" in run(WATCHED + "import openvino", tmp_path)
    assert list((tmp_path / "home").rglob("openvino_ga_cid"))
