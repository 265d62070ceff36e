"""`bitface quantize --effort`: what it writes, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitface.quant import Reconstruction
from bitface.quant.reconstruct import EFFORTS

from .conftest import FILES, Run

ARGUMENTS = ("--bits", "w4a8", "--preprocess", "rgb-127.5-128", "--max-images", 36)


@pytest.mark.slow
def test_units_are_rebuilt(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Reconstruction(steps=2, batch=4, tuning=2)
    monkeypatch.setitem(EFFORTS, "balanced", short)
    made = {}
    for effort in ("fast", "balanced"):
        out = tmp_path / effort
        code, _, errors = bitface(
            "quantize", net, "--images", crops, *ARGUMENTS, "--effort", effort, "--seed", 3, "--out", out
        )
        assert (code, errors.count("error")) == (0, 0)
        assert {path.name for path in out.iterdir()} == FILES
        made[effort] = json.loads((out / "result.json").read_text())
    assert (tmp_path / "fast/model.bitface").read_bytes() != (tmp_path / "balanced/model.bitface").read_bytes()
    assert made["fast"]["calibration"]["reconstruction"] is None
    assert made["balanced"]["calibration"]["reconstruction"] == vars(replace(short, seed=3))
    assert [layer["weight_bits"] for layer in made["fast"]["layers"]] == [
        layer["weight_bits"] for layer in made["balanced"]["layers"]
    ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ("--effort", "ballanced"),
            2,
            "unknown effort 'ballanced'; did you mean 'balanced'?",
        ),
        (("--effort", "max", "--method", "qat"), 2, "--effort is for --method ptq"),
        (("--effort", "max", "--max-images", 20), 1, "20 faces are too few to reconstruct from; give 32 or more"),
    ],
)
def test_refused(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, options: tuple[object, ...], code: int, message: str
) -> None:
    out = tmp_path / "out"
    found, _, errors = bitface("quantize", net, "--images", crops, *ARGUMENTS, "--out", out, *options)
    assert found == code
    assert message in errors
    assert not out.exists() or not list(out.iterdir())
