"""Sums that don't fit into the 16 bits of x86 CPUs without VNNI."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bitface import cpu
from bitface.artifact import Artifact
from bitface.graph import Network, from_module
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, Model
from bitface.runtime.engines import overflow

SIDE = 16
SEVEN = {"bits": "w7a8", "first": "w7a8", "last": "w7a8"}


class Bright(nn.Module):
    """Every weight is the largest there is, so that bright images give the largest sums there are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16 * (SIDE // 2) ** 2, 8)
        nn.init.constant_(self.stem.weight, 0.1)
        nn.init.constant_(self.fc.weight, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.flatten(torch.relu(self.stem(x)), 1))


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(200, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def made(plan: BitPlan) -> Model:
    net: Network = from_module(Bright(), "rgb-127.5-127.5", "bright", (SIDE, SIDE))
    student, _ = quantize(net, faces(8), plan)
    return Model(Path("bright.bitface"), "artifact", student, details=Artifact(student, plan.to_json(), {"name": "b"}))


@pytest.mark.parametrize(("word", "engine"), [("w8a8", "onnxruntime"), (SEVEN, "onnxruntime"), (SEVEN, "openvino")])
def test_the_largest_sums_are_exact(word: str | dict[str, str], engine: str) -> None:
    model = made(BitPlan.from_json(word) if isinstance(word, dict) else BitPlan.parse(word))
    exact = Embedder(model, "torch").embed(faces(4))
    assert np.abs(Embedder(model, engine).embed(faces(4)) - exact).max() <= 0.02 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("flags", "overflows"),
    [
        ("flags\t: fpu ssse3 avx2", True),
        ("flags\t: fpu ssse3 avx2 avx512f avx512_vnni", False),
        ("flags\t: fpu ssse3 avx2 avx_vnni", False),
        ("Features\t: fp asimd", False),
        ("", False),
    ],
)
def test_who_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, overflows: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(flags)
    monkeypatch.setattr(cpu, "_CPUINFO", path)
    assert cpu.sums_overflow() == overflows
    eight, four = made(BitPlan.parse("w4a8")), made(BitPlan.from_json({**SEVEN, "bits": "w4a4", "last": "w4a4"}))
    for model in (eight, four):
        told = overflow(model, "openvino")
        assert (told is not None and "VNNI" in told) == overflows
        assert overflow(model, "onnxruntime") is None
    assert overflow(made(BitPlan.from_json(SEVEN)), "openvino") is None
