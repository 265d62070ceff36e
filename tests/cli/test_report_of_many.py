"""`bitface report` of networks that were pruned and distilled, of comparisons and of suites."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitface.data.face_source import FaceSource
from bitface.files import sha256_of, write_json
from bitface.graph import load_network
from bitface.report.format import amount, size
from report.test_page import Page
from support.quantized import Small, onnx_file

from .test_bad_input import ends_in_one_line
from .test_report import written

Run = Callable[..., tuple[int, str, str]]
HOSTILE = "<b>w8a8</b>|`x`"
PREPROCESS = "rgb-127.5-128"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of eight layers, which is made and measured in a moment."""
    return onnx_file(Small(), 112, tmp_path_factory.mktemp("small") / "net.onnx")


@pytest.fixture(scope="module")
def steps(net: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was pruned, what was distilled from it, and what was quantized of it, each in a folder."""
    from bitface.jobs import EvaluateRequest, QuantizeRequest, evaluate_model, quantize_model
    from bitface.jobs.distill import SCHOOLING, DistillRequest, distill_model
    from bitface.jobs.prune import RECOVERY, PruneRequest, prune_model
    from bitface.prune import Pruning

    folder = tmp_path_factory.mktemp("steps")
    short: dict[str, Any] = {"batch": 8, "epochs": 1, "min_steps": 0}
    common: dict[str, Any] = {"source": FaceSource([crops], max_images=16)}
    pruned = folder / "pruned" / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITFACE_CACHE", str(folder / "cache"))
        prune_model(
            PruneRequest(
                model=net, out=folder / "pruned", preprocess=PREPROCESS, pruning=Pruning(0.3),
                training=replace(RECOVERY, **short), **common,
            )
        )  # fmt: skip
        distill_model(
            DistillRequest(
                model=pruned, out=folder / "distilled", student="mobilefacenet:0.125", embedding_size=16,
                training=replace(SCHOOLING, **short), **common,
            )
        )  # fmt: skip
    quantize_model(QuantizeRequest(pruned, FaceSource([crops], max_images=16), folder / "w8"))
    for name in ("pruned", "distilled"):
        content, _ = evaluate_model(EvaluateRequest(folder / name / "model.onnx", pairs, crops, fars=(0.1,)))
        write_json(folder / name / "evaluation.json", content)
    return folder


def result(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


def reported(bitface: Run, out: Path, *runs: Path) -> tuple[dict[str, Any], Page, str, str]:
    """The three outputs, and what was said."""
    outcome = bitface("report", *runs, "--out", out / "r.html")
    assert outcome[0] == 0, outcome
    page = Page((out / "r.html").read_text())
    assert "None" not in page.text()
    return json.loads((out / "r.json").read_text()), page, (out / "r.md").read_text(), outcome[2]


@pytest.mark.slow
def test_a_pruned_network(bitface: Run, steps: Path, tmp_path: Path) -> None:
    folder = steps / "pruned"
    made = result(folder)
    assert made["fingerprint"] == load_network(folder / "model.onnx").fingerprint()
    data, page, card, _ = reported(bitface, tmp_path, folder)
    (model,) = data["models"]
    assert model["name"] == "net pruned by 33%"
    assert (model["parameters"], model["macs"]) == (made["after"]["parameters"], made["after"]["macs"])
    assert model["files"] == [{"name": "model.onnx", "bytes": (folder / "model.onnx").stat().st_size}]
    assert model["float_bytes"] == 4 * made["before"]["parameters"]
    assert model["agreement"] == {"openvino": made["agreement"]["cosine"]}
    tables = {one["title"]: one["rows"] for one in model["tables"]}
    share = f"{100 * made['after']['parameters'] / made['before']['parameters']:.1f}"
    (left,) = [row[3] for row in tables["Beside the network it was made from"] if row[0] == "Parameters"]
    assert left.startswith(share)
    assert ["Pruning", "ratio: 0.3, importance: taylor, scope: global, round to: 8, seed: 0"] in tables[
        "Pruned, and recovered"
    ]
    assert [int(row[3]) for row in tables["Channels"]] == [group["after"] for group in made["groups"]]
    assert model["figures"][0]["name"] == "accuracy", "the evaluation of the file beside it"
    facts = data["provenance"]
    assert facts["net pruned by 33%: model.onnx SHA-256"] == sha256_of(folder / "model.onnx")
    assert "pruned (ratio 0.3, taylor, global), recovered in 2 steps on 16 faces (feature)" in str(facts)
    for word in ("Pruned, and recovered", "Channels that go together", "Multiply-adds", "Likeness"):
        assert word in page.text(), word
        assert word in card, word


def test_what_was_made_of_it(bitface: Run, steps: Path, tmp_path: Path) -> None:
    folders = [steps / name for name in ("w8", "pruned", "distilled")]
    data, page, card, said = reported(bitface, tmp_path, *folders)
    assert "different teachers" not in said, "all of them come from one network"
    names = ["net pruned by 33% w8a8", "net pruned by 33%", "mobilefacenet:0.125 distilled from net pruned by 33%"]
    assert [one["name"] for one in data["models"]] == names
    quantized, pruned, distilled = data["models"]
    assert (quantized["parameters"], quantized["macs"]) == (pruned["parameters"], pruned["macs"])
    assert distilled["parameters"] == result(folders[2])["after"]["parameters"] != pruned["parameters"]
    assert "agreement" not in distilled
    tables = [{one["title"]: one["rows"] for one in model["tables"]} for model in data["models"]]
    assert tables[2]["Distilled"][-1] == ["Agreement", "none: its embeddings have another length than its teacher's"]
    for number in (0, 2):
        way = tables[number]["Step by step"]
        assert [row[0] for row in way] == ["net", "net pruned by 33%", names[number]]
        assert way[0][1] == amount(result(folders[1])["before"]["parameters"])
        assert way[1][1] == amount(pruned["parameters"])
    assert "Step by step" not in tables[1]
    text = page.text()
    assert amount(pruned["macs"]).replace("\N{NO-BREAK SPACE}", " ") in text
    heads = [cell["text"] for cell in page.all("th")]
    assert heads.index("Parameters") < heads.index("accuracy")
    assert "| Model | Bits | Size | Of float32 | Parameters | Multiply-adds |" in card
    # Another teacher beside it is told.
    other = tmp_path / "other"
    shutil.copytree(steps / "pruned", other)
    content = result(other)
    content["model"] = {**content["model"], "fingerprint": "f00d" * 16}
    content["fingerprint"] = "feed" * 16
    written(other / "result.json", content)
    assert "different teachers" in reported(bitface, tmp_path, *folders, other)[3]


@pytest.fixture(scope="module")
def compared(net: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison in which one candidate failed; another one has a hostile name."""
    from bitface.inputs.comparisons import read_comparison
    from bitface.jobs.compare import compare_candidates

    folder = tmp_path_factory.mktemp("compared")
    listed = folder / "candidates.yaml"
    listed.write_text(
        f"""
model: {net}
preprocess: {PREPROCESS}
images: {crops}
max_images: 16
protocol: {{pairs: {pairs}, root: {crops}}}
fars: [0.05]
candidates:
  {HOSTILE!r}: {{quantize: {{bits: w8a8}}}}
  impossible: {{prune: {{ratio: 0.999}}}}
"""
    )
    compare_candidates(read_comparison(listed), folder / "out")
    return folder / "out"


def test_a_comparison(bitface: Run, compared: Path, tmp_path: Path) -> None:
    content = json.loads((compared / "comparison.json").read_text())
    data, page, card, said = reported(bitface, tmp_path, compared)
    (one,) = data["comparisons"]
    assert one["title"] == "Smaller versions of net: Comparison"
    assert one["rows"] == content["rows"]
    assert [row[0] for row in one["table"]["rows"]] == ["original", HOSTILE, "impossible"]
    assert "[" in one["table"]["rows"][1][-1], "figures have intervals"
    assert [drawing["unit"] for drawing in one["drawings"]] == ["bytes", "ms"]
    assert data["provenance"]["pairs"] == content["pairs"]
    assert "impossible: a ratio of 0.999 would empty layers" in said
    # The drawings are those of its own page.
    own = Page((compared / "comparison.html").read_text())
    assert len(page.all("circle")) == len(own.all("circle")) == 4
    assert {cell["text"] for cell in own.all("td")} <= {cell["text"] for cell in page.all("td")}
    assert not page.all("b")
    assert "\\<b" not in card
    for name in content["frontier"]["bytes"]:
        assert name in page.text()
    assert "- not beaten at fewer bytes: " in card
    assert size(content["rows"][0]["bytes"]).replace("\N{NO-BREAK SPACE}", " ") in card


def test_comparisons_side_by_side(bitface: Run, compared: Path, steps: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.json", json.loads((compared / "comparison.json").read_text()))
    data, page, _, _ = reported(bitface, tmp_path, compared, other, steps / "pruned")
    assert len({one["title"] for one in data["comparisons"]}) == 2
    places = [one["attrs"].get("id") for one in page.all("section")]
    assert places.count("comparison-1") == places.count("comparison-2") == 1
    assert len([one for one in page.all("circle") if "figure" in one["above"]]) == 8
    links = {one["attrs"]["href"] for one in page.all("a")}
    assert {"#comparison-1", "#comparison-2"} <= links


@pytest.fixture(scope="module")
def suite(steps: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a suite of two models on two protocols."""
    from bitface.inputs.suites import read_suite
    from bitface.jobs.suite import run_suite

    folder = tmp_path_factory.mktemp("suite")
    (folder / "groups.csv").write_text("person,side\n" + "\n".join(f"p{n},{'lr'[n % 2]}" for n in range(12)))
    (folder / "suite.yaml").write_text(
        f"""
models:
  pruned: {steps / "pruned" / "model.onnx"}
  "{HOSTILE}": {steps / "w8" / "model.bitface"}
protocols:
  all pairs: {{pairs: {pairs}, root: {crops}, all_pairs: true}}
  people: {{people: {crops}}}
fars: [0.2, 1.0e-6]
mixed: true
groups: groups.csv
out: results
"""
    )
    run_suite(read_suite(folder / "suite.yaml"))
    return folder / "results"


def test_a_suite(bitface: Run, suite: Path, tmp_path: Path) -> None:
    content = json.loads((suite / "results.json").read_text())
    data, page, card, _ = reported(bitface, tmp_path, suite)
    tables = {one["title"]: one for one in data["tables"]}
    titles = ["Suite: all pairs", "Suite: people"]
    assert list(tables) == [title + more for title in titles for more in ("", ": groups of people")]
    table = tables["Suite: all pairs"]
    assert table["columns"][:3] == ["Gallery", "Probes", "accuracy"]
    assert [row[:2] for row in table["rows"]] == [
        ["pruned", "pruned"], [HOSTILE, HOSTILE], ["pruned", HOSTILE], [HOSTILE, "pruned"],
    ]  # fmt: skip
    cells = {(cell["protocol"], cell["gallery"], cell["probe"]): cell for cell in content["cells"]}
    for row in table["rows"]:
        figures = {figure["name"]: figure for figure in cells["all pairs", row[0], row[1]]["figures"]}
        for name, text in zip(table["columns"][2:], row[2:], strict=True):
            value, interval = figures[name]["value"], figures[name]["interval"]
            assert text.startswith("–" if value is None else f"{100 * value:.2f}")
            assert ("[" in text) == (value is not None and interval is not None)
    assert "impostor pairs" in next(note for note in data["notes"] if "all pairs: no TAR@FAR 1e-6" in note)
    (group,) = data["curves"]
    assert (group["title"], len(group["series"])) == ("Suite: all pairs", 4)
    assert data["provenance"]["protocols"] == ["all pairs", "people"]
    for warning in content["warnings"]:
        assert f"Suite: {warning}" in data["warnings"]
    text = page.text()
    for word in ("Suite: all pairs", "rank-1", "ROC", "side: l", HOSTILE):
        assert word in text, word
    assert "## Suite: people" in card
    assert "&lt;b&gt;w8a8" in card


def test_everything_at_once(bitface: Run, steps: Path, compared: Path, suite: Path, tmp_path: Path) -> None:
    data, page, _, _ = reported(bitface, tmp_path, steps / "pruned", steps / "w8", compared, suite)
    assert {"models", "comparisons", "tables", "curves"} <= set(data)
    places = [one["attrs"]["id"] for one in page.elements if "id" in one["attrs"]]
    assert len(places) == len(set(places))
    assert {one["attrs"]["href"][1:] for one in page.all("a")} <= set(places)


@pytest.mark.parametrize("kind", ["pruned", "distilled", "comparison", "suite"])
def test_a_damaged_result(bitface: Run, steps: Path, compared: Path, suite: Path, tmp_path: Path, kind: str) -> None:
    path = {"comparison": compared / "comparison.json", "suite": suite / "results.json"}.get(kind)
    content = json.loads((path or steps / kind / "result.json").read_text())
    failed = 0
    for key, value in content.items():
        if isinstance(value, dict | list) and value:
            damaged = written(tmp_path / "damaged.json", {**content, key: 7 if isinstance(value, dict) else [7]})
            outcome = bitface("report", damaged, "--out", tmp_path / "r.html")
            if outcome[0]:
                ends_in_one_line(outcome, 1, "damaged.json", "make it again")
                failed += 1
    assert failed


def test_what_can_be_shown_is_named(bitface: Run, tmp_path: Path) -> None:
    other = written(tmp_path / "other.json", {"bitface": "0.1.0"})
    outcome = bitface("report", other, "--out", tmp_path / "r.html")
    ends_in_one_line(outcome, 1, "can't show", "prune, distill", "evaluate --suite", "compare")
