"""The quantizer and the observer of `docs/extend/quantizer.md`, as packages outside bitface: trained and calibrated."""

import json
from pathlib import Path

import pytest
import torch

from bitface.artifact import read
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from support.extension import PREPROCESS, bitface, blocks, install, write_example

QUANTIZER, OBSERVER = zip(blocks("quantizer.md", "python"), blocks("quantizer.md", "toml"), strict=True)
COMMAND = "quantize", "net.onnx", "--images", "crops/", "--preprocess", PREPROCESS


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_example(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_student_is_trained_with_the_quantizer(example: Path) -> None:
    (recipe,) = blocks("quantizer.md", "yaml")
    site = install(example / "site", *QUANTIZER)
    Path("shifts.yaml").write_text(recipe)
    command = *COMMAND, "--method", "qat", "--recipe", "shifts.yaml"
    bitface(*command, "--out", "out/", site=site)
    result = json.loads(Path("out/result.json").read_text())
    assert result["bits"] == "w4a4"
    assert result["training"]["history"][-1]["agreement"] > 0.5
    # What was simulated is in the file, which is read where the package isn't.
    graph = read(Path("out/model.bitface")).network.graph
    scales = [torch.tensor(part.scale) for part in graph.modules() if isinstance(part, QuantizeDequantize)]
    scales += [part.scale for part in graph.modules() if isinstance(part, IntegerConv2d | IntegerLinear)]
    assert len(scales) > 8
    assert all(torch.equal(scale.log2(), scale.log2().round()) for scale in scales)
    Path("shifts.yaml").write_text(recipe.replace("w4a4", "w1a4"))
    said = bitface(*command, "--out", "b/", site=site, code=2)
    assert "'power-of-two' can't train weights of 1 bit" in said
    assert "unknown quantizer 'power-of-two'" in bitface(*command, "--out", "b/", code=2)


@pytest.mark.slow
def test_faces_are_calibrated_with_the_observer(example: Path) -> None:
    site = install(example / "site", *OBSERVER)
    command = *COMMAND, "--bits", "w8a8", "--observer"
    bitface(*command, "mean-extremes", "--out", "out/", site=site)
    bitface(*command, "minmax", "--out", "widest/")
    result = json.loads(Path("out/result.json").read_text())
    assert result["agreement"]["openvino"]["mean"] > 0.99
    own, widest = (
        [
            part.scale
            for part in read(Path(folder, "model.bitface")).network.graph.modules()
            if isinstance(part, QuantizeDequantize)
        ]
        for folder in ("out", "widest")
    )
    assert all(one <= other for one, other in zip(own, widest, strict=True))
    assert own != widest
    said = bitface(*command, "mean-extreme", "--out", "b/", site=site, code=2)
    assert "unknown observer 'mean-extreme'; did you mean 'mean-extremes'?" in said
