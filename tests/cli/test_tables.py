"""Every table at 80 columns: nothing is cut, and no word is broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bitface.cli import bench, console

from .conftest import Run


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def whole(text: str, *words: str) -> None:
    """Tables are whole; sentences beside them may be longer, as a terminal wraps them."""
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if set(line) & set("│━┃─")) <= 80
    for word in words:
        assert word in text


@pytest.mark.usefixtures("narrow")
def test_of_commands(bitface: Run, net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path) -> None:
    model = tmp_path / "a_rather_long_name_of_an_artifact_made_from_a_network.bitface"
    model.write_bytes((quantized / "model.bitface").read_bytes())
    listed = ("--pairs", pairs, "--root", crops, "--all-pairs", "--far", "0.1,0.05,1e-5")
    whole(bitface("calibrate", model, "--images", crops, "--far", "0.1,0.01,1e-4")[1], "on other people")
    whole(bitface("inspect", net, "--images", crops)[1], "multiply-adds", "Conv")
    whole(bitface("inspect", model)[1], "QuantizeDequantize")
    whole(bitface("assets", "--list")[1], "Apache-2.0", "SFace")
    whole(bitface("cache", "--list")[1], "entries")
    against = ("--against", net, "--preprocess", "rgb-127.5-128")
    whole(bitface("evaluate", model, *listed, *against)[1], "not supported", "baseline's", "+0.00")


def test_of_speed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "output", Console(width=80))
    name = "a_rather_long_name_of_a_network_from_somewhere.onnx"
    row = {
        "model": name, "engine": "onnxruntime", "precision": "bf16", "batch": 32, "threads": 2, "median_ms": 1234.56,
        "iqr_ms": 1000.2, "per_second": 12345.0, "ratio": 12.34, "note": "a note\nof two lines",
    }  # fmt: skip
    bench._print([row, {**row, "batch": 1, "note": None}, {**row, "model": "other"}])
    out = capsys.readouterr().out
    whole(out, name, "onnxruntime", "1234.56", "1000.20", "12345", "12.34x")
    assert out.count("a note") == 1
    assert out.count("[1]") == 3


def test_one_word_that_is_wider_than_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.table_of("name", "value")
    table.add_row("a" * 100, "1")
    Console(width=80).print(table)
    out = capsys.readouterr().out
    assert "…" not in out
    assert out.count("a") == 100 + "name value".count("a")


def test_help_comes_at_once() -> None:
    """Without what only a command needs."""
    heavy = ("torch", "numpy", "onnx", "cv2", "PIL", "pydantic", "rich.table", "typer.rich_utils")
    code = (
        "import sys, bitface.cli\nsys.argv = ['bitface', '--help']\ntry:\n    bitface.cli.main()\nexcept SystemExit:\n"
        f"    pass\nprint([name for name in {heavy} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
