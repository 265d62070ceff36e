"""What a suite and a comparison keep belongs to the files as they were: other files are computed anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from bitface.inputs.suites import read_suite
from bitface.jobs.suite import run_suite
from support.quantized import onnx_file

PEOPLE, SHOTS = 6, 5


def network() -> nn.Module:
    """Tells different pictures apart."""
    return nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.PReLU(8), nn.Flatten(), nn.Linear(8 * 49, 32))


def picture(path: Path, person: int, shot: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(person).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    coarse[shot, shot] //= 2
    Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC).save(path)


def write_pairs(folder: Path, same: int = 1) -> None:
    """Neighbours of a person are a pair, and so is each with the next person's image."""
    lines = ["a,b,same,fold"]
    for number in range(PEOPLE * (SHOTS - 1)):
        person, shot = number % PEOPLE, number // PEOPLE
        lines.append(f"p{person}/{shot}.png,p{person}/{shot + 1}.png,{same},{number % 10}")
        lines.append(f"p{person}/{shot}.png,p{(person + 1) % PEOPLE}/{shot}.png,{1 - same},{number % 10}")
    (folder / "pairs.csv").write_text("\n".join(lines))


def noise(folder: Path) -> None:
    for number, path in enumerate(sorted((folder / "faces").rglob("*.png"))):
        picture(path, 1000 + number, 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, faces of which those of a person are nearly one picture, and pairs of them."""
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    onnx_file(network(), 112, tmp_path / "net.onnx")
    for person in range(PEOPLE):
        for shot in range(SHOTS):
            picture(tmp_path / "faces" / f"p{person}" / f"{shot}.png", person, shot)
    write_pairs(tmp_path)
    return tmp_path


@pytest.mark.parametrize("change", [lambda folder: write_pairs(folder, 0), noise])
def test_a_suite_of_other_files(folder: Path, change: Callable[[Path], object]) -> None:
    (folder / "suite.yaml").write_text(
        "{out: out, models: {net: {path: net.onnx, preprocess: rgb-127.5-127.5}}, "
        "protocols: {mine: {pairs: pairs.csv, root: faces}}}"
    )

    def accuracy() -> Any:
        (cell,) = run_suite(read_suite(folder / "suite.yaml"))["cells"]
        return next(figure["value"] for figure in cell["figures"] if figure["name"] == "accuracy")

    assert accuracy() == 1
    change(folder)
    assert accuracy() < 0.8
