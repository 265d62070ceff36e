"""The target of `docs/extend/target.md`, as a package of somebody else's that was installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from support.extension import PREPROCESS, bitface, blocks, install, python, write_example

NAME = "onnx-reference"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (code,), (project,) = blocks("target.md", "python"), blocks("target.md", "toml")
    return install(tmp_path_factory.mktemp("site"), code, project)


@pytest.fixture(scope="module")
def out(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_example(tmp_path_factory.mktemp("run"))
    bitface(
        "quantize", folder / "net.onnx", "--images", folder / "crops", "--preprocess", PREPROCESS,
        "--target", f"openvino,{NAME}", "--bits", "w4a4", "--out", folder / "out", site=installed,
    )  # fmt: skip
    return folder / "out"


@pytest.mark.slow
def test_quantize_writes_and_measures_it(out: Path) -> None:
    result = json.loads((out / "result.json").read_text())
    assert list(result["bytes"]) == ["model.bitface", "model.openvino.onnx", f"model.{NAME}.onnx"]
    assert (out / f"model.{NAME}.onnx").stat().st_size == result["bytes"][f"model.{NAME}.onnx"]
    assert not (out / "model.onnxruntime.onnx").exists()
    assert {"openvino", NAME} <= set(result["agreement"])
    assert 0.5 < result["agreement"][NAME]["mean"] <= 1
    assert result["engine"] != NAME  # nobody named it to run


@pytest.mark.slow
def test_export_writes_the_same(installed: Path, out: Path, tmp_path: Path) -> None:
    bitface("export", out / "model.bitface", "--target", NAME, "--out", tmp_path / "x.onnx", site=installed)
    assert (tmp_path / "x.onnx").read_bytes() == (out / f"model.{NAME}.onnx").read_bytes()


@pytest.mark.slow
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
    told = json.loads(python("-c", program, out, NAME, site=installed))
    assert told["engines"] == [NAME, NAME, "torch"]
    assert told["exact"]
    own, file, simulated = map(np.array, told["rows"])
    np.testing.assert_array_equal(own, file)
    cosines = (own * simulated).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(simulated, axis=1)
    assert cosines.min() > 0.99999  # it rounds as the standard says, and so does the simulation


@pytest.mark.slow
def test_without_the_package_its_name_is_unknown(out: Path) -> None:
    said = bitface("export", out / "model.bitface", "--target", NAME, "--out", "x", code=2)
    assert f"unknown target '{NAME}'" in said
    said = bitface("inspect", out / f"model.{NAME}.onnx", code=1)
    assert f"was exported for '{NAME}', an engine this bitface doesn't know" in said
