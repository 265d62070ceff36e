"""`bitface sensitivity`: tables by layer and by block."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.analysis.blocks import BlockProbe
from bitface.analysis.probe import Probe
from bitface.graph import load_network
from support.sweeps import COMMON

from ..conftest import Run
from ..test_bad_input import ends_in_one_line


def test_a_table_says_what_each_tensor_costs(net: Path, table: Path) -> None:
    assert {path.name for path in table.iterdir()} == {"sensitivity.json", "sensitivity.html"}
    content = json.loads((table / "sensitivity.json").read_text())
    assert content["faces"]["measured"] == 16
    weights = [row for row in content["units"] if row["part"] == "weights"]
    network = load_network(net)
    layers = sum(type(module).__name__ in ("Conv2d", "Linear") for module in network.graph.modules())
    assert len(weights) == 3 * layers
    by_width = {bits: np.mean([row["cost"] for row in weights if row["bits"] == bits]) for bits in (8, 4, 2)}
    assert by_width[8] < by_width[4] < by_width[2]
    assert all(set(row["proxies"]) == {"jacobian", "fisher", "local"} for row in content["units"])
    assert content["correlations"]["jacobian"]["weights"]["all"] > 0.9
    page = (table / "sensitivity.html").read_text()
    assert page.count("<use ") > len(content["units"])
    assert "http" not in page.replace("http-equiv", "")


def test_an_interrupted_sweep_goes_on(
    net: Path, crops: Path, pairs: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments: tuple[object, ...] = ("sensitivity", net, "--images", crops, "--bits", "2", *COMMON, "--max-pairs", 20)
    arguments += ("--pairs", pairs, "--root", crops)
    plain, calls = Probe.rounded, []

    def stopping(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 22:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(Probe, "rounded", stopping)
    assert bitface(*arguments, "--out", out)[0] != 0
    assert [path.name for path in out.iterdir()] == ["sensitivity.unfinished.safetensors"]
    other = bitface(*arguments, "--seed", 1, "--out", out)
    ends_in_one_line(other, 1, "another sweep", "faces")
    first = len(calls)
    code, said, err = bitface(*arguments, "--out", out)
    assert code == 0, err
    resumed = len(calls) - first
    calls.clear()
    calls += [None] * 100  # past the interruption
    assert bitface(*arguments, "--out", tmp_path / "whole")[0] == 0
    assert resumed < len(calls) - 100
    one, two = (json.loads((folder / "sensitivity.json").read_text()) for folder in (out, tmp_path / "whole"))
    assert one["units"] == two["units"]
    assert one["pairs"]["count"] == 20
    assert all(0 <= row["accuracy"] <= 1 for row in one["units"])
    assert "accuracy at 2" in said


def test_too_few_faces(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    common = ("--preprocess", "rgb-127.5-128", "--images", crops, "--out", tmp_path / "out")
    few = bitface("sensitivity", net, *common, "--max-images", 40)
    ends_in_one_line(few, 1, "only 8 of 48 usable faces", "--max-images")
    few = bitface("search", net, *common, "--max-images", 28, "--budget", "4bits")
    ends_in_one_line(few, 1, "only 20 faces are held out")
    ends_in_one_line(bitface("sensitivity", net, *common, "--bits", "8,1"), 2, "--bits takes widths of 2 to 8")


def test_a_table_by_block_says_so_and_names_what_is_in_each(net: Path, blocks: Path, table: Path) -> None:
    content = json.loads((blocks / "sensitivity.json").read_text())
    assert content["by"] == "block"
    assert "by" not in json.loads((table / "sensitivity.json").read_text())
    weights = [row for row in content["units"] if row["part"] == "weights" and row["bits"] == 2]
    inside = [name for row in weights for name in row["tensors"]]
    network = load_network(net)
    layers = [n for n, m in network.graph.named_modules() if type(m).__name__ in ("Conv2d", "Linear")]
    assert sorted(inside) == sorted(layers)
    assert [len(row["tensors"]) for row in weights] == [1, 3, 1, 1, 1, 1]
    first, last = weights[1]["tensors"][0], weights[1]["tensors"][-1]
    assert weights[1]["name"].startswith(f"{first}..")
    assert last.endswith(weights[1]["name"].removeprefix(f"{first}.."))
    by_layer = [row for row in json.loads((table / "sensitivity.json").read_text())["units"] if row["bits"] == 2]
    keys = set(by_layer[0])
    assert all(set(row) == keys | {"tensors"} for row in weights)
    assert sum(row["parameters"] for row in weights) == sum(row["parameters"] for row in by_layer)
    activations = [row for row in content["units"] if row["part"] == "activations"]
    assert activations[0]["tensors"] == ["image"]
    assert content["correlations"]["jacobian"]["weights"]["all"] > 0.9
    page = (blocks / "sensitivity.html").read_text()
    assert "by block" in page
    assert f"{', '.join(weights[1]['tensors'])}</td>" in page


def test_a_sweep_by_block_goes_on_as_what_it_was(
    net: Path, crops: Path, pairs: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: tuple[object, ...] = ("sensitivity", net, "--images", crops, "--bits", "2", *COMMON, "--max-pairs", 20)
    arguments += ("--pairs", pairs, "--root", crops)
    plain, calls = BlockProbe.changed, []

    def stopping(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 20:  # of 6 blocks with 2 units each: 12 calls find corrections, 7 have been measured
            raise KeyboardInterrupt
        return plain(*given)

    ends_in_one_line(bitface(*arguments, "--by", "blok", "--out", tmp_path), 2, "did you mean 'block'")
    out = tmp_path / "out"
    monkeypatch.setattr(BlockProbe, "changed", stopping)
    assert bitface(*arguments, "--by", "block", "--out", out)[0] != 0
    assert [path.name for path in out.iterdir()] == ["sensitivity.unfinished.safetensors"]
    ends_in_one_line(bitface(*arguments, "--out", out), 1, "another sweep", "--by")
    code, said, err = bitface(*arguments, "--by", "block", "--out", out)
    assert code == 0, err
    assert "most sensitive blocks" in said
    resumed = len(calls) - 20
    assert bitface(*arguments, "--by", "block", "--out", tmp_path / "whole")[0] == 0
    assert resumed == len(calls) - 20 - resumed - 7
    one, two = (json.loads((folder / "sensitivity.json").read_text()) for folder in (out, tmp_path / "whole"))
    assert one["units"] == two["units"]
    assert all(0 <= row["accuracy"] <= 1 for row in one["units"])
