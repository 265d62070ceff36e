"""`bitface[run]`: an exported network where there is neither torch nor anything else that makes networks."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from bitface.runtime import load
from support.door import write_door

HEAVY = ("torch", "torchgen", "functorch", "onnx", "openvino", "scipy", "sklearn", "jinja2", "filelock", "flatbuffers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported artifact with a threshold, two crops, and a site of packages without the heavy ones."""
    folder = tmp_path_factory.mktemp("lean")
    write_door(folder)
    (folder / "site").mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name.partition("-")[0].lower() not in HEAVY and "bitface" not in package.name:
            (folder / "site" / package.name).symlink_to(package)
    return folder


def python(folder: Path, *arguments: object) -> str:
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder / 'site'}"}
    command = [sys.executable, "-S", *map(str, arguments)]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr  # one person, or another
    assert "error" not in ran.stderr, ran.stderr
    return ran.stdout


def test_an_exported_network_embeds(folder: Path) -> None:
    program = (
        "import importlib.util, json, bitface\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "model = bitface.load('door.onnx')\n"
        "print(json.dumps([model.engine, model.embed(['a.png', 'b.png']).tolist()]))"
    )
    engine, rows = json.loads(python(folder, "-W", "error", "-c", program))
    assert engine == "onnxruntime"
    expected = load(folder / "door.onnx").embed([folder / "a.png", folder / "b.png"])
    np.testing.assert_array_equal(np.float32(rows), expected)


def test_and_verifies(folder: Path) -> None:
    said = python(folder, "-m", "bitface", "verify", "a.png", "b.png", "--model", "door.onnx", "--far", "0.01")
    assert "threshold 0.5" in " ".join(said.split())


def test_and_searches_a_gallery_of_the_artifact(folder: Path) -> None:
    program = (
        "import numpy as np, bitface\n"
        "from bitface.evaluation.gallery import Gallery\n"
        "model = bitface.load('door.onnx')\n"
        "print(model.fingerprint)"
    )
    assert len(python(folder, "-c", program).strip()) >= 32


def test_other_files_say_what_they_need(folder: Path) -> None:
    (folder / "other.onnx").write_bytes(b"no network")
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder / 'site'}"}
    command = [
        sys.executable,
        "-S",
        "-m",
        "bitface",
        "verify",
        "a.png",
        "b.png",
        "--model",
        "other.onnx",
        "--far",
        "0.01",
    ]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 3  # it can't be told
    assert "other.onnx" in ran.stderr
    assert "Traceback" not in ran.stderr
