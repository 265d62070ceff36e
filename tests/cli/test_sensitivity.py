"""`bitface sensitivity` and `bitface search`, and what `quantize` makes of their plans."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from safetensors import safe_open
from torch import Tensor, nn

import bitface as library
from bitface.analysis.probe import Probe
from bitface.graph import from_module, load_network, to_onnx
from bitface.jobs.sweeps import SensitivityRequest
from quant.small import settle

from .test_bad_input import ends_in_one_line


class Small(nn.Module):
    """Eight layers with a residual, so that a sweep takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16))
        self.deep = nn.Sequential(
            nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32),
            nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False), nn.BatchNorm2d(32), nn.PReLU(32),
            nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 4, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.whole = nn.Sequential(nn.Conv2d(64, 64, 7, groups=64, bias=False), nn.BatchNorm2d(64))
        self.fc = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.wide(self.down(x + self.deep(x)))
        return self.fc(torch.flatten(self.whole(x), 1))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "small.onnx"
    onnx.save(to_onnx(from_module(settle(Small(), 112), size=(112, 112)).graph), path)
    return path


COMMON = ("--preprocess", "rgb-127.5-128", "--calibration-faces", 12, "--faces", 16)


def requested(net: Path, crops: Path, out: Path, **other: Any) -> SensitivityRequest:
    """The request of `COMMON`."""
    return SensitivityRequest(net, [crops], out, faces=16, calibration_faces=12, preprocess="rgb-127.5-128", **other)


@pytest.fixture(scope="module")
def table(net: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep."""
    from bitface.jobs.sensitivity import measure_sensitivity

    out = tmp_path_factory.mktemp("sensitivity") / "out"
    measure_sensitivity(requested(net, crops, out, weight_bits=(8, 4, 2), activation_bits=(8,)))
    return out


@pytest.fixture(scope="module")
def searched(net: Path, crops: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with that table."""
    from bitface.jobs.budget import Budget
    from bitface.jobs.search import SearchRequest, search_plans

    out = tmp_path_factory.mktemp("search") / "out"
    base = requested(net, crops, out)
    budget = Budget.parse("5bits")
    search_plans(SearchRequest(base, budget, (8, 4, 2), table=table / "sensitivity.json", points=3, tries=1))
    return out


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


def test_an_interrupted_sweep_goes_on(net, crops, pairs, tmp_path, bitface, monkeypatch) -> None:
    out = tmp_path / "out"
    arguments = ("sensitivity", net, "--images", crops, "--bits", "2", *COMMON, "--max-pairs", 20)
    arguments += ("--pairs", pairs, "--pairs-root", crops)
    plain, calls = Probe.rounded, []

    def stopping(*given):
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


def test_a_search_gives_plans_that_quantize_keeps_to_the_byte(net, crops, searched, tmp_path, bitface) -> None:
    result = json.loads((searched / "result.json").read_text())
    best = result["best"]
    assert best["file"] == "plan-5.00bits.yaml"
    assert best["mean_bits"] <= 5
    for row in result["front"]:
        plan = yaml.safe_load((searched / row["file"]).read_text())
        assert {name: f"w{bits}a8" for name, bits in row["bits"].items()}.items() <= plan["layers"].items()
    out = tmp_path / "out"
    arguments = ("--max-images", 12, "--preprocess", "rgb-127.5-128", "--out", out)
    code, _, err = bitface("quantize", net, "--images", crops, "--bits", searched / best["file"], *arguments)
    assert code == 0, err
    made = json.loads((out / "result.json").read_text())
    weights = [layer for layer in made["layers"] if layer["weight_bits"]]
    assert sum(layer["bytes"] for layer in weights) == best["weight_bytes"]
    assert {layer["name"]: layer["weight_bits"] for layer in weights} == best["bits"]
    stored = library.artifact.read(out / "model.bitface").network.graph
    assert {name: getattr(stored.get_submodule(name), "bits") for name in best["bits"]} == best["bits"]  # noqa: B009
    for engine in ("openvino", "onnxruntime"):
        assert made["agreement"][engine]["mean"] == pytest.approx(best["agreement"], abs=0.1)
        embedded = library.load(out / f"model.{engine}.onnx").embed([crops / "p0" / "0.png"])
        assert np.isfinite(embedded).all()
    page = (out / "report.html").read_text()
    assert all(f"w{bits}a8" in page.replace("</b>", "").replace("<b>", "") for bits in set(best["bits"].values()))


def test_the_front_rises_and_its_plans_keep_their_budgets(searched: Path) -> None:
    result = json.loads((searched / "result.json").read_text())
    front = result["front"]
    assert [row["limit"] for row in front] == sorted(row["limit"] for row in front)
    assert all(row["mean_bits"] <= row["limit"] * (1 + 1e-9) for row in front)
    chosen = [row["chosen_agreement"] for row in front]
    assert chosen == sorted(chosen)
    assert all(row["chosen_agreement"] >= row["unrefined_agreement"] for row in front)
    assert front[0]["mean_bits"] == pytest.approx(2)
    assert front[-1]["mean_bits"] == pytest.approx(8)
    assert [row["label"] for row in result["uniform"]] == ["w8", "w4", "w2"]
    assert {path.name for path in searched.iterdir()} == {
        "report.html", "result.json", *(row["file"] for row in front)
    }  # fmt: skip


def test_a_plan_trains(net, crops, searched, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("training: {epochs: 0.2, batch: 8, min_steps: 2}\n")
    plan = searched / "plan-5.00bits.yaml"
    arguments = ("--method", "qat", "--recipe", recipe, "--max-images", 24, "--preprocess", "rgb-127.5-128")
    code, _, err = bitface("quantize", net, "--images", crops, "--bits", plan, *arguments, "--out", out)
    assert code == 0, err
    made = json.loads((out / "result.json").read_text())
    best = json.loads((searched / "result.json").read_text())["best"]
    assert sum(layer["bytes"] for layer in made["layers"] if layer["weight_bits"]) == best["weight_bytes"]


def test_bad_searches_end_in_one_line(net, crops, table, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    given = ("search", net, "--images", crops, *COMMON, "--out", out, "--bits", "8,4,2", "--sensitivity")
    known = (*given, table / "sensitivity.json")
    ends_in_one_line(bitface(*known, "--budget", "1KB"), 1, "no plan meets 1KB", "bytes is the least")
    ends_in_one_line(bitface(*known, "--budget", "5miles"), 2, "unknown unit 'miles'")
    ends_in_one_line(bitface(*known, "--budget", "5bits", "--cost", "jacobi"), 2, "did you mean 'jacobian'")
    ends_in_one_line(bitface(*known, "--budget", "5bits", "--activations", "8,4"), 2, "--activation-bits")
    ends_in_one_line(bitface(*given, tmp_path / "none.json", "--budget", "5bits"), 1, "no readable sensitivity table")
    content = json.loads((table / "sensitivity.json").read_text())
    content["model"]["fingerprint"] = "other"
    (tmp_path / "other.json").write_text(json.dumps(content))
    ends_in_one_line(bitface(*given, tmp_path / "other.json", "--budget", "5bits"), 1, "another network")
    assert not list(out.glob("*")) if out.exists() else True


def test_too_few_faces(net, crops, tmp_path, bitface) -> None:
    common = ("--preprocess", "rgb-127.5-128", "--images", crops, "--out", tmp_path / "out")
    few = bitface("sensitivity", net, *common, "--calibration-faces", 40)
    ends_in_one_line(few, 1, "only 8 of 48 usable faces", "--calibration-faces")
    few = bitface("search", net, *common, "--calibration-faces", 28, "--budget", "4bits")
    ends_in_one_line(few, 1, "only 20 faces are held out")
    ends_in_one_line(bitface("sensitivity", net, *common, "--bits", "8,1"), 2, "--bits takes widths of 2 to 8")


def test_activations_under_their_own_budget(net, crops, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    given = ("search", net, "--images", crops, *COMMON, "--bits", "8,4", "--budget", "6bits", "--cost", "jacobian")
    given += ("--points", 2, "--tries", 0, "--activations", "8,4", "--out", out)
    ends_in_one_line(bitface(*given, "--activation-bits", 3), 1, "no plan meets --activation-bits 3", "is the least")
    code, _, err = bitface(*given, "--activation-bits", 6)
    assert code == 0, err
    assert {path.name for path in out.glob("*.json")} == {"result.json"}, "a proxy needs no sweep"
    best = json.loads((out / "result.json").read_text())["best"]
    plan = yaml.safe_load((out / best["file"]).read_text())
    read = {name: int(bits.partition("a")[2]) for name, bits in plan["layers"].items()}
    assert set(read.values()) == {4, 8}
    names = list(best["bits"])
    assert read[names[0]] == read[names[-1]] == 8


def test_a_budget_of_time(net, crops, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    given = ("search", net, "--images", crops, *COMMON, "--cost", "jacobian", "--out", out)
    ends_in_one_line(bitface(*given, "--budget", "0.0001ms"), 1, "no plan meets 0.0001ms", "is the least here")
    ends_in_one_line(bitface(*given, "--budget", "1ms", "--bits", "8,4"), 2, "no CPU is faster below 8 bits")
    state = out / "search.unfinished.safetensors"
    with safe_open(state, "pt") as file:
        kept = list(json.loads(file.metadata()["bitface.training"])["numbers"].values())
    assert len(kept) == 2, "all in 8 bits and all in floating point"
    code, _, err = bitface(*given, "--budget", "10000ms")
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    best = result["best"]
    assert set(best["bits"].values()) == {32}, "time enough for floating point everywhere"
    assert best["agreement"] > 0.9999
    assert result["front"][0]["milliseconds"] == min(row["milliseconds"] for row in result["front"])
    assert all(row["milliseconds"] <= row["limit"] for row in result["front"])
    for figures in kept:
        assert f"{figures['milliseconds']:.3g} ms" in result["notes"][-1], "is not timed again"
    assert not state.exists()


def test_a_mixed_plan_finds_its_recipe(searched: Path) -> None:
    from bitface.jobs.recipe import best_for, read
    from bitface.quant import BitPlan

    for path in searched.glob("plan-*.yaml"):
        assert read(best_for(BitPlan.parse(path)))
    few = {"bits": "w8a8", "layers": {"a*": "w2a8", "b*": "w2a8"}}
    assert best_for(BitPlan.from_json(few)) == "best-w2a4"
    assert best_for(BitPlan.from_json({"bits": "w4a4", "layers": {"stem": "w8a8"}})) == "best-w4a4"
    assert best_for(BitPlan.from_json({"bits": "w4a4", "layers": {"stem": "w1a8"}})) == "best-w1a4"
    assert best_for(BitPlan.from_json({"bits": "w8a8", "layers": {"stem": "w32a32"}})) == "best-w8a8"


def test_a_search_keeps_a_table_that_lacks_widths(net, crops, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    given = (net, "--images", crops, *COMMON, "--out", out)
    assert bitface("sensitivity", *given, "--bits", "4")[0] == 0
    before = (out / "sensitivity.json").read_bytes()
    wanted = ("--budget", "6bits", "--bits", "8,4", "--points", 2, "--tries", 0)
    assert bitface("search", *given, *wanted)[0] == 0
    assert (out / "sensitivity.json").read_bytes() == before
    own = json.loads((out / "search-sensitivity.json").read_text())
    assert {(row["part"], row["bits"]) for row in own["units"]} == {("weights", 8), ("weights", 4)}
    made = (out / "search-sensitivity.json").stat().st_mtime_ns
    assert bitface("search", *given, *wanted)[0] == 0
    assert (out / "search-sensitivity.json").stat().st_mtime_ns == made, "the second search reads it"


@pytest.fixture(scope="module")
def blocks(net: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep by block."""
    from bitface.jobs.sensitivity import measure_sensitivity

    out = tmp_path_factory.mktemp("blocks") / "out"
    measure_sensitivity(requested(net, crops, out, weight_bits=(4, 2), activation_bits=(4,), by="block"))
    return out


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
    assert f"<td>{', '.join(weights[1]['tensors'])}</td>" in page


def test_a_search_refuses_a_table_by_block(net, crops, blocks, tmp_path, bitface) -> None:
    out = tmp_path / "out"
    given = ("search", net, "--images", crops, *COMMON, "--budget", "3bits", "--bits", "4,2", "--points", 2)
    given += ("--tries", 0, "--out", out)
    refused = bitface(*given, "--sensitivity", blocks / "sensitivity.json")
    ends_in_one_line(refused, 1, "is a table by block", "--by layer")
    out.mkdir(exist_ok=True)
    (out / "sensitivity.json").write_bytes((blocks / "sensitivity.json").read_bytes())
    code, _, err = bitface(*given)
    assert code == 0, err
    assert "is a table by block" in err
    assert (out / "sensitivity.json").read_bytes() == (blocks / "sensitivity.json").read_bytes()
    own = json.loads((out / "search-sensitivity.json").read_text())
    assert "by" not in own
    assert len(own["units"]) == 2 * 8


def test_a_sweep_by_block_goes_on_as_what_it_was(net, crops, pairs, tmp_path, bitface, monkeypatch) -> None:
    from bitface.analysis.blocks import BlockProbe

    arguments = ("sensitivity", net, "--images", crops, "--bits", "2", *COMMON, "--max-pairs", 20)
    arguments += ("--pairs", pairs, "--pairs-root", crops)
    plain, calls = BlockProbe.changed, []

    def stopping(*given):
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


class Stop:
    """Progress that interrupts at its nth word about plans."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, name: str):
        def tell(done: int, total: int, words: str = "") -> None:
            self.left -= name == "searching"
            if self.left == 0:
                raise KeyboardInterrupt

        return tell


@pytest.mark.parametrize(("cost", "moments"), [("measured", (1, 2, 9)), ("jacobian", (5,))])
def test_an_interrupted_search_measures_no_plan_twice(net, crops, tmp_path, monkeypatch, cost, moments) -> None:
    from bitface.analysis.plans import Trial
    from bitface.errors import BitfaceError
    from bitface.jobs.budget import Budget
    from bitface.jobs.search import SearchRequest, search_plans

    plain, measured = Trial.agreement, []

    def counted(self, *given):
        measured.append(given)
        return plain(self, *given)

    def request(out: Path, **other) -> SearchRequest:
        base = requested(net, crops, out, **other)
        widths = {"activations": (8, 4), "activation_bits": 6.0} if cost == "jacobian" else {}
        return SearchRequest(base, Budget.parse("4bits"), (8, 4, 2), cost=cost, points=2, tries=3, **widths)

    monkeypatch.setattr(Trial, "agreement", counted)
    search_plans(request(tmp_path / "whole"))
    count, out = len(measured), tmp_path / "out"
    measured.clear()
    for at in moments:
        with pytest.raises(KeyboardInterrupt):
            search_plans(request(out), Stop(at))
        assert (out / "search.unfinished.safetensors").exists()
        assert not (out / "result.json").exists()
    before = len(measured)
    with pytest.raises(BitfaceError, match=r"another search .*faces"):
        search_plans(request(out, seed=1))
    search_plans(request(out))
    assert before < len(measured) == count
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (out, tmp_path / "whole"))
    for result in (one, two):
        del result["created"], result["seconds"]
    assert one == two
    for path in out.glob("plan-*.yaml"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
