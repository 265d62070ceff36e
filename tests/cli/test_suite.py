"""Many models on many protocols, a baseline beside a model, packs and groups: from the command line."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitface import load
from bitface.evaluation import read_pairs, verify
from bitface.runtime import Embedder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def suite(net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"""
models:
  float: {{path: {net}, preprocess: rgb-127.5-128}}
  w8a8: {quantized / "model.bitface"}
protocols:
  list: {{pairs: {pairs}, root: {crops}}}
  all pairs: {{pairs: {pairs}, root: {crops}, all_pairs: true}}
  people: {{people: {crops}}}
fars: [0.2, 1.0e-6]
mixed: true
out: results
"""
    )
    return path


@pytest.mark.slow
def test_one_table_of_everything(
    bitface: Run, suite: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path
) -> None:
    code, out, err = bitface("evaluate", "--suite", suite)
    assert code == 0, err
    content = json.loads((tmp_path / "results" / "results.json").read_text())
    cells = {(cell["protocol"], cell["gallery"], cell["probe"]): cell for cell in content["cells"]}
    sides = [("float", "float"), ("w8a8", "w8a8"), ("float", "w8a8"), ("w8a8", "float")]
    assert list(cells) == [(name, *side) for name in ("list", "all pairs", "people") for side in sides]
    listed = read_pairs(pairs, crops)
    rows = load(quantized / "model.bitface").embed([str(crops / path) for path in listed.paths])
    expected = verify(rows, listed, (0.2,))
    figures = {figure["name"]: figure for figure in cells["list", "w8a8", "w8a8"]["figures"]}
    assert figures["accuracy"]["value"] == expected.accuracy.mean
    assert figures["TAR@FAR 2e-1"]["value"] == expected.tar[0].tar
    assert figures["TAR@FAR 1e-6"]["value"] is None
    assert "impostor pairs" in figures["TAR@FAR 1e-6"]["reason"]
    assert {figure["name"] for figure in cells["people", "float", "w8a8"]["figures"]} >= {"rank-1"}
    # What the artifact was made with is among the images of every protocol; of the float network nobody knows.
    for name in ("list", "all pairs", "people"):
        assert cells[name, "w8a8", "w8a8"]["result"]["overlap"]["copies"] > 20
        assert cells[name, "float", "float"]["result"]["overlap"] is None
        assert any(
            "w8a8: " in text and "among the 30 faces" in text for text in cells[name, "float", "w8a8"]["warnings"]
        )
    assert "list, w8a8: " in err
    assert "among the 30 faces that the model was made with" in err
    table = (tmp_path / "results" / "results.md").read_text()
    assert table in out
    assert "### all pairs" in table
    assert f"{100 * expected.accuracy.mean:.2f} ± {100 * expected.accuracy.std:.2f}" in table
    tex = (tmp_path / "results" / "results.tex").read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    assert r"$\pm$" in tex


@pytest.mark.slow
def test_what_was_skipped_is_said_again(bitface: Run, suite: Path, crops: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(crops, faces)
    (faces / "p3" / "1.png").write_bytes(b"no image")
    suite.write_text(suite.read_text().replace(str(crops), str(faces)) + "allow_skipped: true\n")
    for _ in range(2):
        assert bitface("evaluate", "--suite", suite)[0] == 0
        content = json.loads((tmp_path / "results" / "results.json").read_text())
        assert content["skipped"]["people"] == 1


@pytest.mark.slow
def test_groups_of_a_suite(bitface: Run, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("person,side\n" + "\n".join(f"p{n},{'lr'[n % 2]}" for n in range(12)))
    suite.write_text(suite.read_text().replace("mixed: true", "groups: groups.csv"))
    code, out, err = bitface("evaluate", "--suite", suite)
    assert code == 0, err
    cells = json.loads((tmp_path / "results" / "results.json").read_text())["cells"]
    groups = {cell["protocol"]: cell["result"].get("groups") for cell in cells if cell["gallery"] == "w8a8"}
    assert [row["group"] for row in groups["all pairs"]] == ["l", "r"]
    assert [row["group"] for row in groups["people"]] == ["l", "r"]
    rates = groups["all pairs"][0]["rates"][0]
    assert f"| w8a8 | side: l | {groups['all pairs'][0]['images']} | 0.2 | {rates['far']:.3g} |" in out
    (tmp_path / "groups.csv").unlink()
    code, _, err = bitface("evaluate", "--suite", suite)
    assert code == 1
    assert "groups.csv: no such file" in err


@pytest.mark.slow
def test_nothing_is_computed_twice(bitface: Run, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, stopped = Embedder.embed_files, []

    def stops(self: Embedder, *rest: object) -> object:
        stopped.append(self.model.kind)
        if len(stopped) == 2:
            raise KeyboardInterrupt
        return plain(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "embed_files", stops)
    assert bitface("evaluate", "--suite", suite)[0] != 0
    assert bitface("evaluate", "--suite", suite)[0] == 0
    # The lists' images once by each model, those of all people once; the stopped one again.
    assert stopped == ["float", "artifact", "artifact", "float", "artifact"][: len(stopped)]
    first = (tmp_path / "results" / "results.json").read_text()
    monkeypatch.setattr(Embedder, "embed_files", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr("bitface.evaluation.protocols.pairs.verify", lambda *_: pytest.fail("scored again"))
    assert bitface("evaluate", "--suite", suite)[0] == 0
    assert (tmp_path / "results" / "results.json").read_text() == first
    # A cell that was damaged is made anew.
    monkeypatch.undo()
    for cell in (tmp_path / "results" / "cells").glob("*.json"):
        cell.write_text("{")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mixed: true", "mixd: true", "unknown key 'mixd'; did you mean 'mixed'?"),
        ("mixed: true", "mixed: 3", "'mixed' of the suite can't be 3: use true or false"),
        ("mixed: true", "baseline: flat", "the baseline 'flat' is none of the models; did you mean 'float'?"),
        ("mixed: true", "engine: abacus", "unknown engine 'abacus'"),
        ("fars: [0.2, 1.0e-6]", "fars: [low]", "'fars' of the suite can't be ['low']"),
        ("fars: [0.2, 1.0e-6]", "fars: [3]", "a FAR of 3 makes no sense"),
        ("out: results", "", "neither the suite nor --out"),
        ("{people:", "{persons:", "must have one of the keys"),
        ("root:", "rot:", "has an unknown key 'rot'; did you mean 'root'?"),
        ("all_pairs: true", "all_pairs: 1", "'all_pairs' of the protocol 'all pairs' can't be 1"),
        ("models:", "models: []\nmodel:", "unknown key 'model'; did you mean 'models'?"),
        ("{path:", "{file:", "the model 'float' must be a path"),
    ],
)
def test_bad_suites(bitface: Run, suite: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = suite.read_text()
    assert old in text
    suite.write_text(text.replace(old, new))
    code, out, err = bitface("evaluate", "--suite", suite)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_baseline_beside_a_model(
    bitface: Run, net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path
) -> None:
    model = quantized / "model.bitface"
    groups = tmp_path / "groups.csv"
    groups.write_text("person,side\n" + "\n".join(f"p{person},{'lr'[person % 2]}" for person in range(10)))
    code, out, err = bitface(
        "evaluate", model, "--pairs", pairs, "--root", crops, "--all-pairs", "--far", "0.2,0.05", "--against", net,
        "--preprocess", "rgb-127.5-128", "--groups", groups, "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert code == 0, err
    content = json.loads((tmp_path / "a.json").read_text())
    beside = content["baseline"]
    assert beside["comparison"]["mcnemar"]["flipped"] >= 0
    assert [row["far"] for row in beside["comparison"]["differences"]] == [0.2, 0.05]
    assert [(cell["gallery"], cell["probe"]) for cell in beside["mixed"]] == [
        ("baseline", "baseline"), ("baseline", "model"), ("model", "baseline"), ("model", "model"),
    ]  # fmt: skip
    own = {figure["name"]: figure["value"] for figure in beside["mixed"][3]["figures"]}
    assert own["accuracy"] == content["accuracy"]["mean"]
    assert own["TAR@FAR 2e-1"] == content["tar"][0]["tar"]
    shown = [path.split("/")[0] for path in read_pairs(pairs, crops).paths]
    counts = [
        ("lr"[odd], sum(name in {f"p{person}" for person in range(odd, 10, 2)} for name in shown)) for odd in (0, 1)
    ]
    for side in ("model", "baseline"):
        assert [(row["group"], row["images"]) for row in content["groups"][side]] == counts
    rates = {side: content["groups"][side][1]["rates"] for side in ("model", "baseline")}
    (change, *_) = [row for row in content["groups"]["changes"] if row["group"] == "r" and row["target"] == 0.2]
    assert change["tar_change"] == rates["model"][0]["tar"] - rates["baseline"][0]["tar"]
    assert change["far_ratio"] == rates["model"][0]["far"] / rates["baseline"][0]["far"]
    assert "images are in no group" in err
    assert "McNemar" in out


def test_packs_are_lists(bitface: Run, quantized: Path, crops: Path, pairs: Path, tmp_path: Path) -> None:
    listed = read_pairs(pairs, crops)
    order = np.argsort(listed.fold, kind="stable")
    images = [(crops / listed.paths[side[pair]]).read_bytes() for pair in order for side in (listed.left, listed.right)]
    pack = tmp_path / "toy.bin"
    pack.write_bytes(pickle.dumps((images, [bool(listed.same[pair]) for pair in order]), protocol=3))
    found = []
    for options in (["--pairs", pack], ["--pairs", pairs, "--root", crops]):
        code, _, err = bitface(
            "evaluate", quantized / "model.bitface", *options, "--far", "0.2", "--json", tmp_path / "a"
        )
        assert code == 0, err
        found.append(json.loads((tmp_path / "a").read_text()))
    assert found[0]["accuracy"] == found[1]["accuracy"]
    assert found[0]["tar"] == found[1]["tar"]


def test_a_hostile_pack_is_refused(bitface: Run, quantized: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    pack = tmp_path / "toy.bin"
    pack.write_bytes(pickle.dumps(([b"", Hostile()], [True])))
    code, out, err = bitface("evaluate", quantized / "model.bitface", "--pairs", pack)
    assert (code, out) == (1, "")
    assert "toy.bin" in err
    assert err.count("\n") == 1
    assert not canary.exists()


def test_what_a_request_lacks(bitface: Run, quantized: Path, pairs: Path, suite: Path) -> None:
    model = quantized / "model.bitface"
    for options, message in (
        ([], "name a model and --pairs, or --protocol, or a --suite"),
        ([model], "name a model and --pairs, or --protocol, or a --suite"),
        ([model, "--pairs", pairs], "needs --root"),
        ([model, "--suite", suite], "names its models and protocols itself"),
        ([model, "--pairs", pairs, "--out", "x"], "--out is for a --suite"),
    ):
        code, out, err = bitface("evaluate", *options)
        assert (code, out) == (2, "")
        assert message in err


@pytest.mark.slow
def test_a_dead_model_gets_a_diagnosis_instead_of_a_number(
    bitface: Run, net: Path, crops: Path, pairs: Path, suite: Path, tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(net)
    for tensor in model.graph.initializer:  # the first convolution gives nothing
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
            break
    dead = tmp_path / "dead.onnx"
    onnx.save(model, dead)
    options = ["--pairs", pairs, "--root", crops, "--preprocess", "rgb-127.5-128", "--json", tmp_path / "a.json"]
    code, out, err = bitface("evaluate", dead, *options)
    assert (code, out) == (1, "")
    assert "dead.onnx: no figure means anything: " in err
    assert "--anyway" in err
    assert not (tmp_path / "a.json").exists()
    code, out, err = bitface("evaluate", dead, *options, "--anyway")
    assert code == 0
    assert "accuracy" in out
    assert "warning: " in err
    assert "dead.onnx: no figure means anything: " in err
    assert any("no figure means anything" in text for text in json.loads((tmp_path / "a.json").read_text())["warnings"])
    suite.write_text(suite.read_text().replace(f"path: {net}", f"path: {dead}").replace("mixed: true", ""))
    code, out, err = bitface("evaluate", "--suite", suite)
    assert code == 0, err
    cells = json.loads((tmp_path / "results" / "results.json").read_text())["cells"]
    for cell in cells:
        values = [figure["value"] for figure in cell["figures"] if figure["name"] in ("accuracy", "rank-1")]
        assert (values == [None]) == (cell["gallery"] == "float")
    assert "| float | float | – |" in out
