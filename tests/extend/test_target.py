"""The target of `docs/extend/target.md`, as a package of somebody else's that was installed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.quantized import Mixed, faces, onnx_file

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "target.md"
NAME = "onnx-reference"


def block(language: str) -> str:
    """The first code block of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("site")
    points = tomllib.loads(block("toml"))["project"]["entry-points"]["bitface.targets"]
    (folder / f"{points[NAME].split(':')[0]}.py").write_text(block("python"))
    about = folder / "bitface_onnx_reference-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bitface-onnx-reference\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (about / "entry_points.txt").write_text("".join(["[bitface.targets]\n", *lines]))
    return folder


def python(installed: Path, *arguments: object, code: int = 0) -> str:
    """What another process prints that finds the package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}
    done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def out(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "crops").mkdir()
    for index, image in enumerate(faces(24, 16)):
        Image.fromarray(image).save(folder / "crops" / f"{index}.png")
    net = onnx_file(Mixed(), 16, folder / "net.onnx")
    python(
        installed, "-m", "bitface", "quantize", net, "--images", folder / "crops", "--preprocess", "rgb-127.5-127.5",
        "--target", f"openvino,{NAME}", "--bits", "w4a4", "--out", folder / "out",
    )  # fmt: skip
    return folder / "out"


def test_quantize_writes_and_measures_it(out: Path) -> None:
    result = json.loads((out / "result.json").read_text())
    assert list(result["bytes"]) == ["model.bitface", "model.openvino.onnx", f"model.{NAME}.onnx"]
    assert (out / f"model.{NAME}.onnx").stat().st_size == result["bytes"][f"model.{NAME}.onnx"]
    assert not (out / "model.onnxruntime.onnx").exists()
    assert {"openvino", NAME} <= set(result["agreement"])
    assert 0.5 < result["agreement"][NAME]["mean"] <= 1
    assert result["engine"] != NAME  # nobody named it to run


def test_export_writes_the_same(installed: Path, out: Path, tmp_path: Path) -> None:
    python(installed, "-m", "bitface", "export", out / "model.bitface", "--target", NAME, "--out", tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == (out / f"model.{NAME}.onnx").read_bytes()


def test_an_embedder_runs_it(installed: Path, out: Path) -> None:
    """From the artifact and from its own file, with the simulation's numbers, in several threads."""
    program = (
        "import json, sys, numpy as np, bitface\n"
        "from bitface.targets.exact import exact\n"
        "faces = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)\n"
        "folder, name = sys.argv[1:]\n"
        "embedders = [bitface.load(f'{folder}/model.bitface', engine=name, threads=2),\n"
        "             bitface.load(f'{folder}/model.{name}.onnx'), bitface.load(f'{folder}/model.bitface', 'torch')]\n"
        "rows = [one.embed(faces).tolist() for one in embedders]\n"
        "print(json.dumps({'rows': rows, 'engines': [one.engine for one in embedders], 'exact': exact(name, 8)}))"
    )
    told = json.loads(python(installed, "-c", program, out, NAME))
    assert told["engines"] == [NAME, NAME, "torch"]
    assert told["exact"]
    own, file, simulated = map(np.array, told["rows"])
    np.testing.assert_array_equal(own, file)
    cosines = (own * simulated).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(simulated, axis=1)
    assert cosines.min() > 0.99999  # it rounds as the standard says, and so does the simulation


def test_without_the_package_its_name_is_unknown(out: Path, tmp_path: Path) -> None:
    said = python(tmp_path, "-m", "bitface", "export", out / "model.bitface", "--target", NAME, "--out", "x", code=2)
    assert f"unknown target '{NAME}'" in said
    said = python(tmp_path, "-m", "bitface", "inspect", out / f"model.{NAME}.onnx", code=1)
    assert f"was exported for '{NAME}', an engine this bitface doesn't know" in said
