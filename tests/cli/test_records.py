"""From RecordIO to the result, with faces that are read as they are needed: `run`, `distill` and `prune`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitface.data.faces import find_images
from bitface.inputs import faces
from bitface.jobs import distill, prune
from support.packed_sets import write_rec

from .conftest import FILES, Run

PREPROCESS = ("--preprocess", "rgb-127.5-128")


@pytest.fixture(autouse=True)
def large(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set is one that doesn't fit into memory."""
    monkeypatch.setattr(faces, "IN_MEMORY", 0)
    monkeypatch.setattr(prune, "RECOVERY", replace(prune.RECOVERY, batch=8))
    monkeypatch.setattr(distill, "SCHOOLING", replace(distill.SCHOOLING, batch=8))
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def records(crops: Path, tmp_path: Path) -> str:
    """The crops as records, one of them damaged; who is on them is their folder."""
    files = find_images([crops])
    images = [b"none" if number == 7 else file.path.read_bytes() for number, file in enumerate(files)]
    people = sorted({str(file.person) for file in files})
    return f"rec:{write_rec(tmp_path / 'set', images, [people.index(str(file.person)) for file in files])}"


@pytest.mark.parametrize("loss", ["arcface: {s: 16, sample: 0.5}", "rcm: {lam: 1}", "rcm: {centers: ema}"])
def test_run(net: Path, records: str, tmp_path: Path, bitface: Run, loss: str) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(f"bits: w4a4\ntraining: {{loss: {{{loss}}}, epochs: 1, batch: 8, precision: f32}}\n")
    run = bitface("run", recipe, net, "--images", records, *PREPROCESS, "--allow-skipped", "--workers", 0, "--out", out)
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == FILES | {"training.safetensors", "skipped.csv"}
    result = json.loads((out / "result.json").read_text())
    assert (result["training"]["steps"], result["faces"]["skipped"], result["faces"]["given"]) == (4, 1, 48)
    assert result["faces"]["calibration"] + result["faces"]["held_out"] in (47, 48)
    assert "are read as they are needed" in " ".join(result["notes"])


@pytest.mark.parametrize("command", ["distill", "prune"])
def test_smaller_networks(net: Path, records: str, tmp_path: Path, bitface: Run, command: str) -> None:
    out = tmp_path / "out"
    how = ("--student", "mobilefacenet:0.125") if command == "distill" else ("--ratio", 0.3)
    run = bitface(
        command, net, *how, "--images", records, *PREPROCESS, "--epochs", 1, "--loss", "feature,arcface=0.01",
        "--allow-skipped", "--workers", 0, "--out", out,
    )  # fmt: skip
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == {"model.onnx", "result.json", "skipped.csv"}
    result = json.loads((out / "result.json").read_text())
    assert (result["faces"]["identities"], result["faces"]["skipped"], result["training"]["steps"]) == (12, 1, 4)
