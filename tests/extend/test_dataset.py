"""The data set of `docs/extend/dataset.md`, from a package outside bitface: read, kept, and refused when damaged."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from bitface import backbones
from bitface.graph import from_module, to_onnx
from support.extension import blocks, install, python

FACES = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


def said(text: str) -> str:
    return " ".join(text.split())


def installed(folder: Path) -> Path:
    """The page's package."""
    (code,), (project,) = (blocks("dataset.md", language) for language in ("python", "toml"))
    return install(folder, code, project)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    module = backbones.create("mobilefacenet:0.25", 16, input_size=32).eval()
    onnx.save(to_onnx(from_module(module, size=(32, 32)).graph), tmp_path / "net.onnx")
    return ["-m", "bitface", "quantize", tmp_path / "net.onnx", "--bits", "w8a8", "--preprocess", "rgb-127.5-128"]


@pytest.mark.slow
def test_quantize_reads_it(command: list[object], tmp_path: Path) -> None:
    site, crops = installed(tmp_path / "site"), tmp_path / "crops"
    np.savez(tmp_path / "faces.npz", faces=FACES)
    packed = ["--images", tmp_path / "faces.npz"]
    assert "faces.npz" in said(python(*command, *packed, "--out", tmp_path / "without", code=1))
    python(*command, *packed, "--out", tmp_path / "packed", site=site)
    crops.mkdir()
    for number, face in enumerate(FACES):
        Image.fromarray(face).save(crops / f"{number:06d}.png")
    python(*command, "--images", crops, "--out", tmp_path / "folder", site=site)
    artifacts = [(tmp_path / name / "model.bitface").read_bytes() for name in ("packed", "folder")]
    assert artifacts[0] == artifacts[1]
    synth = ["-m", "bitface", "synth", tmp_path / "faces.npz", "--out", tmp_path / "made"]
    assert "has nothing to be made" in said(python(*synth, site=site, code=2))


@pytest.mark.slow
def test_what_it_cannot_read_is_said(command: list[object], tmp_path: Path) -> None:
    site = installed(tmp_path / "site")
    (tmp_path / "damaged.npz").write_bytes(b"nothing of the kind")
    np.savez(tmp_path / "floats.npz", faces=FACES / 255)
    np.savez(tmp_path / "others.npz", images=FACES)
    for name in ("damaged", "floats", "others", "gone"):
        refused = [*command, "--images", tmp_path / f"{name}.npz", "--out", tmp_path / "out"]
        assert f"{name}.npz: can't be read as faces (" in said(python(*refused, site=site, code=1))
    assert not list((tmp_path / "cache").glob("npz/*"))
