"""`bitface search`, and what `quantize` makes of its plans."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors import safe_open

import bitface as library
from bitface.errors import BitfaceError
from bitface.inputs.recipes import best_for, read
from bitface.jobs.search import SearchRequest, search_plans
from bitface.quant import BitPlan
from bitface.search.budget import Budget
from bitface.search.trial import Trial
from support.sweeps import COMMON, requested

from ..conftest import Run
from ..test_bad_input import ends_in_one_line


class Stop:
    """Progress that interrupts at its nth word about plans."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, name: str) -> Callable[..., None]:
        def tell(done: int, total: int, words: str = "") -> None:
            self.left -= name == "searching"
            if self.left == 0:
                raise KeyboardInterrupt

        return tell


def test_a_search_gives_plans_that_quantize_keeps_to_the_byte(
    net: Path, crops: Path, searched: Path, tmp_path: Path, bitface: Run
) -> None:
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


def test_a_plan_trains(net: Path, crops: Path, searched: Path, tmp_path: Path, bitface: Run) -> None:
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


def test_bad_searches_end_in_one_line(net: Path, crops: Path, table: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    given: tuple[object, ...] = (
        "search",
        net,
        "--images",
        crops,
        *COMMON,
        "--out",
        out,
        "--bits",
        "8,4,2",
        "--sensitivity",
    )
    known = (*given, table / "sensitivity.json")
    ends_in_one_line(bitface(*known, "--budget", "1KB"), 1, "no plan meets 1KB", "bytes is the least")
    ends_in_one_line(bitface(*known, "--budget", "5miles"), 2, "unknown unit 'miles'")
    ends_in_one_line(bitface(*known, "--budget", "5bits", "--cost", "jacobi"), 2, "did you mean 'jacobian'")
    ends_in_one_line(bitface(*known, "--budget", "5bits", "--activations", "8,4"), 2, "--activation-bits")
    ends_in_one_line(bitface(*given, tmp_path / "none.json", "--budget", "5bits"), 1, "can't be read")
    content = json.loads((table / "sensitivity.json").read_text())
    content["model"]["fingerprint"] = "other"
    (tmp_path / "other.json").write_text(json.dumps(content))
    ends_in_one_line(bitface(*given, tmp_path / "other.json", "--budget", "5bits"), 1, "another network")
    assert not list(out.glob("*")) if out.exists() else True


def test_activations_under_their_own_budget(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    given: tuple[object, ...] = (
        "search",
        net,
        "--images",
        crops,
        *COMMON,
        "--bits",
        "8,4",
        "--budget",
        "6bits",
        "--cost",
        "jacobian",
    )
    given += ("--points", 2, "--tries", 0, "--activations", "8,4", "--out", out)
    ends_in_one_line(bitface(*given, "--activation-bits", 3), 1, "no plan meets --activation-bits 3", "is the least")
    code, _, err = bitface(*given, "--activation-bits", 6)
    assert code == 0, err
    assert "the convention s8" in err
    assert {path.name for path in out.glob("*.json")} == {"result.json"}, "a proxy needs no sweep"
    result = json.loads((out / "result.json").read_text())
    best = result["best"]
    plan = yaml.safe_load((out / best["file"]).read_text())
    read = {name: int(bits.partition("a")[2]) for name, bits in plan["layers"].items()}
    assert set(read.values()) == {4, 8}
    sums = [layer["name"] for layer in result["layers"] if not layer["parameters"]]
    assert plan["sums"] == "w8a8"
    assert sums
    assert not set(sums) & set(read)
    assert {layer["activation_bits"] for layer in result["layers"] if layer["name"] in sums} == {8}
    names = list(best["bits"])
    assert read[names[0]] == read[names[-1]] == 8


def test_a_budget_of_time(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    given: tuple[object, ...] = ("search", net, "--images", crops, *COMMON, "--cost", "jacobian", "--out", out)
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
    chosen = [row["chosen_agreement"] for row in result["front"]]
    assert chosen == sorted(chosen)
    for figures in kept:
        assert f"{figures['milliseconds']:.3g} ms" in " ".join(result["notes"]), "is not timed again"
    assert not state.exists()


def test_a_mixed_plan_finds_its_recipe(searched: Path) -> None:
    for path in searched.glob("plan-*.yaml"):
        assert read(best_for(BitPlan.parse(path)))
    few = {"bits": "w8a8", "layers": {"a*": "w2a8", "b*": "w2a8"}}
    assert best_for(BitPlan.from_json(few)) == "best-w2a4"
    assert best_for(BitPlan.from_json({"bits": "w4a4", "layers": {"stem": "w8a8"}})) == "best-w4a4"
    assert best_for(BitPlan.parse("w4a4s8")) == "best-w4a4s8"
    assert best_for(BitPlan.parse("w3a3s8")) == best_for(BitPlan.parse("w2a4s8")) == "best-w4a4s8"
    assert best_for(BitPlan.parse("w2a4")) == "best-w2a4"
    assert best_for(BitPlan.from_json({"bits": "w4a4", "layers": {"stem": "w1a8"}})) == "best-w1a4"
    assert best_for(BitPlan.from_json({"bits": "w8a8", "layers": {"stem": "w32a32"}})) == "best-w8a8"


def test_a_search_keeps_a_table_that_lacks_widths(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
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
    assert bitface("search", *given, *wanted, "--force")[0] == 0
    assert (out / "search-sensitivity.json").stat().st_mtime_ns == made, "the second search reads it"


def test_sums_as_the_layers_that_read_the_same(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    given: tuple[object, ...] = ("search", net, "--images", crops, *COMMON, "--budget", "6bits", "--cost", "jacobian")
    given += ("--bits", "8,4", "--points", 2, "--tries", 0, "--activations", 4, "--out", tmp_path / "out")
    ends_in_one_line(bitface(*given, "--sums", 9), 2, "--sums is '9': use 2 to 8 bits, or plan")
    code, _, err = bitface(*given, "--sums", "plan")
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    plan = yaml.safe_load((tmp_path / "out" / result["best"]["file"]).read_text())
    assert "sums" not in plan
    assert {bits for name, bits in plan["layers"].items() if name not in result["best"]["bits"]} == {"w8a4"}
    assert not any("convention" in note for note in result["notes"])


def test_a_search_refuses_a_table_by_block(net: Path, crops: Path, blocks: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    given: tuple[object, ...] = (
        "search",
        net,
        "--images",
        crops,
        *COMMON,
        "--budget",
        "3bits",
        "--bits",
        "4,2",
        "--points",
        2,
    )
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


@pytest.mark.parametrize(("cost", "moments"), [("measured", (1, 2, 9)), ("jacobian", (5,))])
def test_an_interrupted_search_measures_no_plan_twice(
    net: Path, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: str, moments: tuple[int, ...]
) -> None:
    plain, measured = Trial.agreement, []

    def counted(self: Trial, *given: Any) -> float:
        measured.append(given)
        return plain(self, *given)

    def request(out: Path, **other: Any) -> SearchRequest:
        base = requested(net, crops, out, **other)
        widths: dict[str, Any] = {"activations": (8, 4), "activation_bits": 6.0} if cost == "jacobian" else {}
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
        del result["created"], result["seconds"], result["files"]["report.html"]  # which shows both
    assert one == two
    for path in out.glob("plan-*.yaml"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


@pytest.mark.slow
def test_a_protocol_judges_the_plans(net: Path, crops: Path, table: Path, tmp_path: Path, bitface: Run) -> None:
    """One without pairs of images, too; beside the plans stands the float network."""
    protocol, out = tmp_path / "people.yaml", tmp_path / "out"
    protocol.write_text(f"people: {crops}\n")
    asked = ("--budget", "5bits", "--sensitivity", table / "sensitivity.json", "--points", 2, "--tries", 0)
    arguments = ("--images", crops, "--out", out, *COMMON, "--bits", "8,4", "--protocol", protocol)
    code, said, err = bitface("search", net, *asked, *arguments)
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    assert result["protocol"] == "people"
    for figures in (result["float_figures"], *(row["figures"] for row in result["front"]), result["best"]["figures"]):
        rank = next(figure for figure in figures if figure["name"] == "rank-1")
        assert rank["interval"]["low"] <= rank["value"] <= rank["interval"]["high"]
    assert "rank-1" in said
    page = (out / "report.html").read_text()
    assert "Plans on people" in page
    assert "rank-1" in page
