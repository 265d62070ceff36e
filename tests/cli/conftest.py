"""A small network and a few images, made on the spot, and the program as a function."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from bitface import backbones
from bitface.cli import main
from bitface.data.face_source import FaceSource
from bitface.graph import from_module, to_onnx

Run = Callable[..., tuple[int, str, str]]
# What `quantize` writes.
MODELS = {"model.bitface", "model.openvino.onnx", "model.onnxruntime.onnx"}
FILES = {*MODELS, "faces.safetensors", "result.json", "report.html", "README.md"}


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow MobileFaceNet as an ONNX file that says nothing of its preprocessing."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", embedding_size=32).train()
    with torch.no_grad():
        module(torch.randn(16, 3, 112, 112))
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(to_onnx(from_module(module).graph), path)
    return path


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 smooth pictures in 12 folders, 4 variations of each."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("crops")
    for person in range(12):
        base = rng.uniform(0, 255, (7, 7, 3))
        for shot in range(4):
            coarse = np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            (folder / f"p{person}").mkdir(exist_ok=True)
            Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC).save(
                folder / f"p{person}" / f"{shot}.png"
            )
    return folder


@pytest.fixture(scope="session")
def pairs(crops: Path) -> Path:
    """60 genuine and 60 impostor pairs of the crops in 10 folds, one of the latter twice."""
    lines = ["a,b,same,fold"]
    rng = np.random.default_rng(1)
    for index in range(60):
        person, other = rng.choice(12, 2, replace=False)
        first, second = rng.choice(4, 2, replace=False)
        lines.append(f"p{person}/{first}.png,p{person}/{second}.png,1,{index % 10}")
        lines.append(f"p{person}/{first}.png,p{other}/{second}.png,0,{index % 10}")
    path = crops.parent / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def bitface(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program as the shell would; gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bitface", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def quantized(net: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `quantize` on the small network."""
    from bitface.jobs import QuantizeRequest, quantize_model

    out = tmp_path_factory.mktemp("run") / "out"
    quantize_model(QuantizeRequest(net, FaceSource([crops], max_images=30), out, preprocess="rgb-127.5-128"))
    return out


def interrupt(step: int | str) -> str:
    """A program that is the command line, and gets Ctrl-C after a step of a training."""
    return (
        "import os, signal; from bitface.training import loop; from bitface.cli import main\n"
        "before = loop._Run.advance\n"
        "def advance(self, stop=False):\n"
        "    before(self, stop)\n"
        f"    if self.step == {step}: os.kill(os.getpid(), signal.SIGINT)\n"
        "loop._Run.advance = advance\n"
        "main()"
    )
