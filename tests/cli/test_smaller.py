"""Pruning, distilling and comparing from the command line, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bitface as library

from .conftest import Run, interrupt
from .test_bad_input import ends_in_one_line

PREPROCESS = ("--preprocess", "rgb-127.5-128")
QUICK = ("--max-images", 16, "--epochs", 1)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of 16 images: a batch of 64 would be refused."""
    from dataclasses import replace

    from bitface.jobs import distill, prune

    monkeypatch.setattr(prune, "RECOVERY", replace(prune.RECOVERY, batch=8))
    monkeypatch.setattr(distill, "SCHOOLING", replace(distill.SCHOOLING, batch=8))


def test_pruned(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    run = bitface("prune", net, "--ratio", 0.3, "--images", crops, *PREPROCESS, *QUICK, "--out", out)
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == {"model.onnx", "result.json"}
    result = json.loads((out / "result.json").read_text())
    assert result["removed"]["parameters"] == pytest.approx(0.3, abs=0.04)
    assert result["after"]["bytes"] == (out / "model.onnx").stat().st_size < result["before"]["bytes"]
    assert all(group["after"] % 8 == 0 for group in result["groups"])
    assert result["training"]["steps"] == 2
    code, said, _ = bitface("inspect", out / "model.onnx")
    assert code == 0
    assert f"{result['after']['parameters']:,}" in said
    assert "rgb-127.5-128" in said
    assert library.load(out / "model.onnx").embed([crops / "p0" / "0.png"]).shape == (1, 32)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--loss", "ekd,relational=0.5", "--embedding-size", 16), 16),
        (("--loss", "feature,arcface=0.01", "--labels", "folder", "--from-teacher"), 32),
    ],
)
def test_distilled(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, options: tuple[object, ...], size: int
) -> None:
    teacher, out = net, tmp_path / "out"
    student = "mobilefacenet:0.125"
    if "--from-teacher" in options:  # a file that still has the names
        student = "mobilefacenet:0.25"
    run = bitface(
        "distill", teacher, "--student", student, "--images", crops, *PREPROCESS, *QUICK, *options, "--out", out
    )  # fmt: skip
    assert run[0] == 0, run
    assert {path.name for path in out.iterdir()} == {"model.onnx", "result.json"}
    result = json.loads((out / "result.json").read_text())
    assert (result["agreement"]["cosine"] is None) == (size != 32)
    assert -1 <= result["agreement"]["likeness"] <= 1
    assert library.load(out / "model.onnx").embed([crops / "p0" / "0.png"]).shape == (1, size)
    if "--from-teacher" in options:
        assert result["training"]["history"][0]["agreement"] > 0.3
        assert "begin as the teacher's" in run[2]


@pytest.mark.parametrize(
    ("command", "options", "code", "words"),
    [
        ("prune", ("--ratio", 1.2), 2, ["1.2", "below 1"]),
        ("prune", ("--ratio", 0), 2, ["ratio", "above 0"]),
        ("prune", ("--ratio", 0.999), 2, ["0.999", "empty layers", "is the most"]),
        ("prune", ("--ratio", 0.001), 1, ["takes out no channels", "--round-to"]),
        ("prune", ("--ratio", 0.3, "--importance", "tailor"), 2, ["did you mean 'taylor'"]),
        ("prune", ("--ratio", 0.3, "--scope", "everywhere"), 2, ["global or uniform"]),
        ("prune", ("--ratio", 0.3, "--loss", "featur"), 2, ["did you mean 'feature'"]),
        ("prune", ("--ratio", 0.3, "--loss", "feature=much"), 2, ["--loss", "feature=much"]),
        ("prune", ("--ratio", 0.3, "--loss", "arcface"), 2, ["arcface", "label"]),
        ("distill", ("--student", "mobilefacent"), 2, ["did you mean 'mobilefacenet'"]),
        ("distill", ("--student", "mobilefacenet:wide"), 2, ["mobilefacenet:0.5"]),
        ("distill", ("--student", "iresnet18", "--from-teacher"), 2, ["--from-teacher"]),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    net: Path,
    crops: Path,
    tmp_path: Path,
    bitface: Run,
    command: str,
    options: tuple[object, ...],
    code: int,
    words: list[str],
) -> None:
    out = tmp_path / "out"
    outcome = bitface(command, net, "--images", crops, *PREPROCESS, *QUICK, *options, "--out", out)
    ends_in_one_line(outcome, code, *words)
    assert not out.exists() or not list(out.iterdir())


def test_without_the_library(
    net: Path, crops: Path, tmp_path: Path, bitface: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    outcome = bitface("prune", net, "--ratio", 0.3, "--images", crops, *PREPROCESS, *QUICK, "--out", tmp_path / "out")
    ends_in_one_line(outcome, 1, "pip install bitface[prune]")


@pytest.mark.slow
def test_interrupted_and_resumed(net: Path, crops: Path, tmp_path: Path, bitface: Run) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = ["prune", net, "--ratio", 0.3, "--images", crops, *PREPROCESS, "--max-images", 16, "--epochs", 2]
    changed = "from dataclasses import replace; from bitface.jobs import prune\n"
    changed += "prune.RECOVERY = replace(prune.RECOVERY, batch=8)\n"
    command = [sys.executable, "-c", changed + interrupt(2), *map(str, arguments), "--out", str(out)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped after step 2" in stopped.stderr
    assert {path.name for path in out.iterdir()} == {"checkpoint.safetensors"}
    ends_in_one_line(bitface(*arguments, "--out", out), 1, "unfinished", "--resume")
    other = [*arguments, "--scope", "uniform", "--out", out, "--resume"]
    ends_in_one_line(bitface(*other), 1, "another training", "channels")
    assert bitface(*arguments, "--out", out, "--resume")[0] == 0
    assert bitface(*arguments, "--out", whole)[0] == 0
    results = [json.loads((folder / "result.json").read_text()) for folder in (out, whole)]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]


@pytest.fixture
def candidates(net: Path, crops: Path, pairs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "candidates.yaml"
    path.write_text(
        f"""
model: {net}
preprocess: rgb-127.5-128
images: {crops}
max_images: 16
protocol: {{pairs: {pairs}, root: {crops}}}
fars: [0.05]
candidates:
  w8a8: {{quantize: {{bits: w8a8}}}}
  pruned w8a8: {{prune: {{ratio: 0.3, epochs: 2, training: {{batch: 8}}}}, quantize: {{bits: w8a8}}}}
  pruned: {{prune: {{ratio: 0.3, epochs: 2, training: {{batch: 8}}}}}}
  impossible: {{prune: {{ratio: 0.999}}}}
"""
    )
    return path


@pytest.mark.slow
def test_one_that_fails_beside_one_that_does_not(candidates: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    lines = [line for line in candidates.read_text().splitlines() if "w8a8" not in line]
    candidates.write_text("\n".join(lines).replace("epochs: 2", "epochs: 1"))
    run = bitface("compare", candidates, "--out", out)
    ends_in_one_line(run, 1, "1 of 2 candidates failed (impossible)")
    content = json.loads((out / "comparison.json").read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows) == ["original", "pruned", "impossible"]
    assert "empty layers" in rows["impossible"]["error"]
    assert rows["original"]["latency"]["ratio"] == 1
    for key in ("bytes", "parameters", "macs"):
        assert rows["pruned"][key] < rows["original"][key]
    table = (out / "comparison.md").read_text()
    assert table in run[1]
    assert "failed: a ratio of 0.999 would empty layers" in table
    assert (out / "comparison.html").read_text().count("<circle") == 4
    # A second run computes nothing, and says the same.
    again = bitface("compare", candidates, "--out", out)
    assert (again[0], again[1]) == (run[0], run[1])
    # A network made before is worth what it was worth where it was made, and goes through steps like the original.
    (made,) = (out / "steps").glob("prune-*/model.onnx")
    kept = candidates.read_text().replace("impossible: {prune: {ratio: 0.999}}", f"known: {{file: {made}}}")
    candidates.write_text(f"{kept}\n  known w8a8: {{file: {made}, quantize: {{bits: w8a8}}}}\n")
    assert bitface("compare", candidates, "--out", out)[0] == 0
    rows = {row["name"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    for key in ("bytes", "parameters", "figures"):
        assert rows["known"][key] == rows["pruned"][key]
    assert rows["known w8a8"]["bytes"] < rows["known"]["bytes"]
    assert rows["known w8a8"]["steps"] == [{"file": str(made)}, {"quantize": {"bits": "w8a8"}}]


@pytest.mark.slow
def test_compared(candidates: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    # The pruned network is made once and used twice; Ctrl-C in the middle of it loses nothing.
    command = [sys.executable, "-c", interrupt(2), "compare", str(candidates), "--out", str(out)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped at the candidate 'pruned w8a8' (stopped after step 2 of 4); the same command" in stopped.stderr
    made = {path.name.split("-")[0]: path for path in (out / "steps").iterdir()}
    first = (made["quantize"] / "model.bitface").stat().st_mtime_ns
    run = bitface("compare", candidates, "--out", out)
    ends_in_one_line(run, 1, "1 of 4 candidates failed (impossible)")
    assert (made["quantize"] / "model.bitface").stat().st_mtime_ns == first
    assert sorted(path.name.split("-")[0] for path in (out / "steps").iterdir()) == ["prune", "quantize", "quantize"]
    content = json.loads((out / "comparison.json").read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows) == ["original", "w8a8", "pruned w8a8", "pruned", "impossible"]
    assert rows["pruned w8a8"]["bytes"] < rows["w8a8"]["bytes"] < rows["pruned"]["bytes"] < rows["original"]["bytes"]
    assert rows["w8a8"]["macs"] == rows["original"]["macs"] > rows["pruned w8a8"]["macs"] == rows["pruned"]["macs"]
    figures = {figure["name"]: figure for figure in rows["w8a8"]["figures"]}
    assert figures["TAR@FAR 5e-2"]["value"] is not None
    assert content["ranked_by"] == "TAR@FAR 5e-2"
    assert "pruned w8a8" in content["frontier"]["bytes"]
    assert (out / "comparison.html").read_text().count("<circle") == 8


@pytest.mark.slow
def test_an_engine_runs_all_models(candidates: Path, tmp_path: Path, bitface: Run) -> None:
    out = tmp_path / "out"
    candidates.write_text("\n".join(line for line in candidates.read_text().splitlines() if "w8a8" not in line))
    candidates.write_text(
        candidates.read_text().replace("pruned: {prune: {ratio: 0.3", "again: {prune: {ratio: 0.9999")
    )
    for options, engine in (((), None), (("--target", "onnxruntime"), "onnxruntime")):
        assert bitface("compare", candidates, *options, "--out", out)[0] == 1  # none but the original can be made
        assert json.loads((out / "comparison.json").read_text())["engine"] == engine
    for kind in ("latencies", "evaluations"):  # nothing of one engine is taken for another's
        assert len(list((out / kind).glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("protocol:", "protocoll:", ["did you mean 'protocol'"]),
        ("ratio: 0.999", "ration: 0.9", ["impossible", "did you mean 'ratio'"]),
        ("ratio: 0.999", "ratio: 1.5", ["impossible", "below 1"]),
        ("{ratio: 0.999}", "{}", ["lacks 'ratio'"]),
        ("impossible: {prune:", "impossible: {prun:", ["did you mean 'prune'"]),
        ("impossible: {prune: {ratio: 0.999}}", "x: {distill: {student: iresnet19}}", ["did you mean 'iresnet18'"]),
        ("impossible: {prune: {ratio: 0.999}}", "original: {}", ["another name"]),
        ("impossible: {", "impossible: {quantize: {}, ", ["last step"]),
        ("impossible: {", "impossible: {file: gone.onnx, ", ["impossible", "no file", "gone.onnx"]),
        ("{ratio: 0.999}}", "{ratio: 0.9}, file: net.onnx}", ["impossible", "before every step"]),
        ("impossible: {", "impossible: {file: a.bitface, ", ["impossible", "quantized already"]),
        ("quantize: {bits: w8a8}", "quantize: {bits: w9a9}", ["w9a9"]),
        ("quantize: {bits: w8a8}", "quantize: {epochs: 2}", ["epochs", "qat"]),
        ("fars:", "engine: onnxrumtime\nfars:", ["did you mean 'onnxruntime'"]),
        ("root:", "rot:", ["did you mean 'root'"]),
        ("training: {batch: 8}", "training: {bach: 8}", ["did you mean 'batch'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    candidates: Path, tmp_path: Path, bitface: Run, before: str, after: str, words: list[str]
) -> None:
    text = candidates.read_text()
    assert before in text
    candidates.write_text(text.replace(before, after))
    ends_in_one_line(bitface("compare", candidates, "--out", tmp_path / "out"), 2, *words)
    assert not (tmp_path / "out").exists()
