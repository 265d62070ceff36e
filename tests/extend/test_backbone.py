"""The backbone of `docs/extend/backbone.md`, from a package outside bitface: trained, exported, and as a student."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from bitface import backbones
from bitface.graph import from_module, to_onnx
from support.extension import blocks, install, python

TRAINED = """
import sys
import onnx
import torch
from bitface import backbones
from bitface.errors import UsageError
from bitface.graph import from_module, load_network, to_onnx

assert backbones.names()[-1] == "tinyface"
module = backbones.create("tinyface:0.5", 16, input_size=(64, 48))
images = torch.randn(8, 3, 64, 48)
optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
losses = []
for _ in range(2):
    loss = module(images).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
assert losses[1] < losses[0], losses
network = from_module(module.eval(), "rgb-127.5-128", "tiny", size=(64, 48))
onnx.save(to_onnx(network.graph), sys.argv[1])
again = load_network(sys.argv[1], "rgb-127.5-128")
assert again.embedding_size == 16
with torch.no_grad():
    torch.testing.assert_close(again.graph(images), module(images), rtol=1e-4, atol=1e-5)
for wrong in ("tinyfaces", "tinyface:0.5:1", "tinyface:wide"):
    try:
        backbones.create(wrong)
    except UsageError as error:
        assert "tinyface" in str(error), error
    else:
        raise AssertionError(wrong)
mobile = backbones.create("mobilefacenet:0.25", 8)
assert type(backbones.from_state_dict(mobile.state_dict())) is type(mobile)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (code,), (project,) = (blocks("backbone.md", language) for language in ("python", "toml"))
    return install(tmp_path / "site", code, project)


@pytest.mark.slow
def test_it_is_created_trained_and_exported(site: Path, tmp_path: Path) -> None:
    python("-c", TRAINED, tmp_path / "tiny.onnx", site=site)


@pytest.mark.slow
def test_as_a_student(site: Path, tmp_path: Path) -> None:
    teacher, crops, out = tmp_path / "teacher.onnx", tmp_path / "crops", tmp_path / "student"
    module = backbones.create("mobilefacenet:0.25", 16, input_size=32).eval()
    onnx.save(to_onnx(from_module(module, size=(32, 32)).graph), teacher)
    crops.mkdir()
    faces = np.random.default_rng(1).integers(0, 256, (90, 32, 32, 3), dtype=np.uint8)
    for number, face in enumerate(faces):
        Image.fromarray(face).save(crops / f"{number}.png")
    command = [
        "-m", "bitface", "distill", teacher, "--student", "tinyface:0.5", "--images", crops, "--epochs", 1,
        "--preprocess", "rgb-127.5-128", "--out", out,
    ]  # fmt: skip
    assert "unknown network 'tinyface'" in " ".join(python(*command, code=2).split())
    python(*command, site=site)
    assert json.loads((out / "result.json").read_text())["architecture"] == "tinyface:0.5"
    assert (out / "model.onnx").is_file()
