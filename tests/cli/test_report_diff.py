"""`bitface report A B --diff`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]


def test_two_folders(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(quantized, other)
    result = json.loads((other / "result.json").read_text())
    result["layers"][1]["weight_bits"] = 4
    (other / "result.json").write_text(json.dumps(result))
    outcome = bitface("report", quantized, other, "--diff", "--out", tmp_path / "d.html")
    assert outcome[0] == 0, outcome
    data = json.loads((tmp_path / "d.json").read_text())
    shown = {table["title"]: table["rows"] for table in data["changes"]}
    (row,) = shown["Plan by layer"]
    assert row[0] == result["layers"][1]["name"]
    assert row[1:3] == ["w8a8", "w4a8"]
    assert all(row[-1].startswith("+0.0") for row in shown["Size"])
    assert "net w8a8 (other)" in (tmp_path / "d.md").read_text()
    assert "accuracy isn't compared: neither was evaluated" in (tmp_path / "d.html").read_text().replace("&#39;", "'")


@pytest.mark.parametrize("runs", [1, 3])
def test_it_takes_two(bitface: Run, quantized: Path, tmp_path: Path, runs: int) -> None:
    outcome = bitface("report", *[quantized] * runs, "--diff", "--out", tmp_path / "d.html")
    ends_in_one_line(outcome, 2, "--diff takes two results")
    assert not (tmp_path / "d.html").exists()
