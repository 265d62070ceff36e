"""What a suite and a comparison keep belongs to the files as they were: other files are computed anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from torch import nn

from bitface.inputs.comparisons import read_comparison
from bitface.inputs.suites import read_suite
from bitface.jobs import compare
from bitface.jobs.suite import run_suite
from bitface.runtime.relative_latency import RelativeLatency
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


def compared(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a comparison by their names."""
    content = compare.compare_candidates(read_comparison(folder / "candidates.yaml"), folder / "out")
    return {row["name"]: row for row in content["rows"]}


def accuracies(rows: dict[str, dict[str, Any]]) -> list[float]:
    return [figure["value"] for row in rows.values() for figure in row["figures"] if figure["name"] == "accuracy"]


@pytest.fixture
def candidates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A comparison, without the seconds that latencies take."""
    times = RelativeLatency(1.0, 0.1, 5, None, None, None).to_json()
    monkeypatch.setattr(compare, "_latencies", lambda comparison, rows, out, steps: {row.name: times for row in rows})
    path = folder / "candidates.yaml"
    path.write_text(
        "{model: net.onnx, images: [faces], max_images: 20, preprocess: rgb-127.5-127.5, fars: [0.2], "
        "protocol: {pairs: pairs.csv, root: faces}, candidates: {w8a8: {quantize: {bits: w8a8}}}}"
    )
    return folder


def test_a_comparison_of_other_files(candidates: Path) -> None:
    assert accuracies(compared(candidates)) == [1, 1]
    noise(candidates)
    assert all(accuracy < 0.8 for accuracy in accuracies(compared(candidates)))
    evaluations = list((candidates / "out" / "evaluations").iterdir())
    compared(candidates)
    assert list((candidates / "out" / "evaluations").iterdir()) == evaluations
    lines = (candidates / "pairs.csv").read_text().splitlines()
    (candidates / "pairs.csv").write_text("\n".join([lines[0], *lines[2:]]))
    compared(candidates)
    assert len(list((candidates / "out" / "evaluations").iterdir())) == len(evaluations) + 2


def test_weights_beside_a_network_are_part_of_it(candidates: Path) -> None:
    options: dict[str, Any] = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    path = candidates / "net.onnx"
    model = onnx.load(path)
    onnx.save(model, path, **options)
    before, content = compared(candidates), path.read_bytes()
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            numbers = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(numbers[::-1].copy(), tensor.name))
            tensor.raw_data = numbers[::-1].tobytes()
    (candidates / "net.data").unlink()
    onnx.save(model, path, **options)
    assert path.read_bytes() == content
    after = compared(candidates)
    assert after["w8a8"]["model"] != before["w8a8"]["model"]


def test_a_row_says_what_its_steps_said(candidates: Path) -> None:
    first = compared(candidates)["w8a8"]
    result = json.loads((Path(first["model"]).parent / "result.json").read_text())
    assert result["warnings"]
    for row in (first, compared(candidates)["w8a8"]):  # made, and found made
        for kind in ("notes", "warnings"):
            assert row[kind][: len(result[kind])] == [f"quantize: {text}" for text in result[kind]]
