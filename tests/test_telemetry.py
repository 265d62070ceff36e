"""Nothing is told to anybody: no engine, and no package that one brings, speaks to the network or marks the user."""

import os
import subprocess
import sys
from importlib import import_module
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

# What Python tells of a program that speaks to the network, and of the processes that it forks (others aren't watched).
SPEAKING = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "http.client.connect")
# What in the environment of these tests keeps packages silent.
SILENCING = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")
WATCHED = f"""
import multiprocessing, os, sys
multiprocessing.set_start_method("fork")
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An artifact and images for it."""
    folder = tmp_path_factory.mktemp("files")
    student = quantize(network(Mixed(), 16), faces(8, 16), BitPlan(), Calibration("minmax"))[0]
    artifact.write(folder / "model.bitface", Artifact(student, BitPlan().to_json(), {"name": "mixed"}))
    np.save(folder / "faces.npy", faces(2, 16, seed=1))
    return folder / "model.bitface", folder / "faces.npy"


@pytest.mark.parametrize("engine", [name for name in TARGETS if runs_here(name)])
def test_no_engine_tells_anybody(engine: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    model, images = files
    assert not run(WATCHED + EMBEDS, tmp_path, model, engine, images)
    assert not list((tmp_path / "home").rglob("*"))


def test_what_packages_ask_is_answered_and_what_stands_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")  # so that what is said below goes again
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
def test_the_watch_sees_what_is_told(tmp_path: Path) -> None:
    """OpenVINO, imported by itself, keeps a number for this user, and would send it."""
    said = run(WATCHED + "import openvino", tmp_path)
    if not said and not list((tmp_path / "home").rglob("*")):
        pytest.skip("this OpenVINO tells nobody by itself")
    assert "urllib.Request" in said
    assert list((tmp_path / "home").rglob("openvino_ga_cid"))
