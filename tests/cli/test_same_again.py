"""One command with one seed writes the same, whole files compared; what varies is named, and nothing else does."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from bitface.graph import from_module, to_onnx
from bitface.results.same_again import VARYING_KEYS, lasting
from cli.conftest import FILES, Run

QAT = """
bits: w4a4
preprocess: rgb-127.5-128
calibration: {observer: minmax}
training: {loss: {feature: 1}, epochs: 1, batch: 16, precision: f32, views: flip}
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 3, 4), nn.PReLU(8), nn.Conv2d(8, 16, 3, 4), nn.PReLU(16))
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 49, 16)).eval()
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(to_onnx(from_module(module).graph), path)
    return path


def twice(bitface: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, *command: object) -> tuple[Path, Path]:
    """The output folders of two runs, each of which has the name `out` where it runs."""
    outs = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        code, _, errors = bitface(*command, "--seed", 7, "--out", "out")
        assert code == 0, errors
        outs.append(folder / name / "out")
    return outs[0], outs[1]


def differing(first: Path, second: Path) -> set[str]:
    """The files whose bytes differ; that there are the same ones, and that they last, is asserted."""
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert lasting(first / name) == lasting(second / name), name
    return {name for name in names if (first / name).read_bytes() != (second / name).read_bytes()}


def test_a_quantization(bitface: Run, monkeypatch: pytest.MonkeyPatch, net: Path, crops: Path, tmp_path: Path) -> None:
    command = ("quantize", net, "--images", crops, "--preprocess", "rgb-127.5-128", "--max-images", 16)
    first, second = twice(bitface, monkeypatch, tmp_path, *command)
    assert {path.name for path in first.iterdir()} == FILES
    assert differing(first, second) <= {"result.json", "report.html"}
    result = json.loads((first / "result.json").read_text())
    again = json.loads((second / "result.json").read_text())
    for one in (result, again):
        for key in VARYING_KEYS:
            one.pop(key, None)
        del one["files"]["report.html"]
    assert result == again  # with exactly these removed, at the top of it


def test_a_training(bitface: Run, monkeypatch: pytest.MonkeyPatch, net: Path, crops: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "qat.yaml"
    recipe.write_text(QAT)
    first, second = twice(bitface, monkeypatch, tmp_path, "run", recipe, net, "--images", crops)
    assert {path.name for path in first.iterdir()} == {*FILES, "training.safetensors"}
    assert differing(first, second) <= {"result.json", "report.html", "training.safetensors"}


def test_another_seed_is_seen(tmp_path: Path) -> None:
    """What varies is left out, and nothing beside it."""
    content = {"seed": 1, "created": "2026", "training": {"seconds": 3, "steps": 5}, "files": {"a.html": "0" * 64}}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    assert json.loads(lasting(path)) == {"seed": 1, "training": {"steps": 5}, "files": {}}
    page = tmp_path / "page.html"
    time = '<div class="time"><h3>Time</h3><dl><div>a</div></dl></div>'
    page.write_text(f'<p class="created">2026</p><p>0.9</p><div>{time}<div>more</div></div>')
    assert lasting(page) == b"<p>0.9</p><div><div>more</div></div>"
    card = tmp_path / "card.md"
    card.write_text("# A\n\nMade 2026-11-28 by bitface.\n\nMade of faces.\n")
    assert lasting(card) == b"# A\n\n\n\nMade of faces.\n"
