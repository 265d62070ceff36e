"""The wheel in fresh environments of every Python that it is for, as a door has it: `bitface[run]`, from the index."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bitface.data.face_source import FaceSource
from bitface.jobs.people.enroll import EnrollRequest, enroll
from bitface.runtime import load
from support.door import write_door
from support.wheel import build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.pythons]
VERSIONS = ("3.11", "3.12", "3.13")


def interpreter(version: str) -> Path:
    """One on the path, or of pyenv; the test is skipped where there is none."""
    candidates = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    on_path = shutil.which(f"python{version}")
    for candidate in [*([Path(on_path)] if on_path else []), *candidates]:
        ran = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True
        )
        if ran.stdout.decode().strip() == version:
            return candidate
    pytest.skip(f"there is no Python {version} here, neither python{version} on the path nor in ~/.pyenv/versions")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    write_door(folder, c=True)
    for name in "ab":
        (folder / "people" / name).mkdir(parents=True)
        shutil.copy(folder / f"{name}.png", folder / "people" / name)
    # Made where torch is, as the network is.
    source = FaceSource([folder / "people"])
    enroll(EnrollRequest(folder / "model.bitface", source, folder / "gallery.safetensors"))
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_door_embeds_verifies_enrolls_and_identifies(version: str, wheel: Path, door: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([interpreter(version), "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[run]"]
    installed = subprocess.run(install, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr

    def runs(*command: object, allowed: tuple[int, ...] = (0,)) -> str:
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BITFACE_"))}
        ran = subprocess.run(
            list(map(str, command)), cwd=door, capture_output=True, text=True,
            env={**outside, "BITFACE_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert ran.returncode in allowed, ran.stderr
        return ran.stdout

    program = (
        "import importlib.util, json, sys, bitface\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "model = bitface.load(sys.argv[1])\n"
        "print(json.dumps([bitface.__file__, model.engine, model.embed(['a.png', 'b.png']).tolist()]))"
    )
    for name, engine in (("door.onnx", "onnxruntime"), ("as_c", "c")):
        where, ran_in, rows = json.loads(runs(python, "-W", "error", "-c", program, name))
        assert Path(where).is_relative_to(environment)
        assert ran_in == engine
        expected = load(door / name).embed([door / "a.png", door / "b.png"])
        np.testing.assert_array_equal(np.float32(rows), expected)
    bitface = environment / "bin" / "bitface"
    assert "threshold 0.5" in " ".join(
        runs(bitface, "verify", "a.png", "b.png", "--model", "door.onnx", "--far", "0.01", allowed=(0, 1)).split()
    )
    runs(bitface, "enroll", "door.onnx", "--images", "people", "--out", tmp_path / "own.safetensors")
    for gallery in ("gallery.safetensors", tmp_path / "own.safetensors"):
        said = runs(bitface, "identify", "b.png", "--gallery", gallery, "--model", "door.onnx", "--json", "-")
        assert json.loads(said)[0]["people"][0]["id"] == "b"
