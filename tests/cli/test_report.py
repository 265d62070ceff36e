"""`bitface report`: results of several commands on one page, and whatever else lies in a folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitface import artifact
from report.test_page import Page
from support.analysis_example import analysis

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]
HOSTILE = "<script>alert(1)</script>|`x`"


@pytest.fixture(scope="module")
def run(net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `quantize` wrote, and an evaluation beside the float network in the same folder."""
    from bitface.files import write_json
    from bitface.jobs import EvaluateRequest, evaluate_model

    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(quantized, folder)
    model = folder / "model.bitface"
    request = EvaluateRequest(
        model, pairs, crops, fars=(0.1, 1e-4), preprocess="rgb-127.5-128", against=net, all_pairs=True
    )
    content, _ = evaluate_model(request)
    write_json(folder / "evaluation.json", content)
    return folder


def bench(name: str = "model.bitface") -> dict[str, Any]:
    row = {
        "model": name, "engine": "openvino", "precision": "int8", "batch": 1, "threads": 1, "runs": 50,
        "median_ms": 2.0, "iqr_ms": 0.1, "p95_ms": 2.3, "per_second": 500.0, "baseline": "net.onnx f32", "ratio": 2.5,
        "ratio_interval": [2.4, 2.6], "ratios": {"f32": 2.5}, "note": None,
    }  # fmt: skip
    float_row = {**row, "model": "net.onnx", "precision": "f32", "median_ms": 5.0, "ratio": None, "baseline": None}
    return {"machine": "Xeon", "versions": {"cpu": "Xeon"}, "notes": ["pinned"], "rows": [float_row, row]}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_another_networks_times_arent_a_models_own(bitface: Run, run: Path, tmp_path: Path) -> None:
    """Every quantization's file is called model.bitface."""
    fingerprint = artifact.read(run / "model.bitface").network.fingerprint()
    for measured, expected in ((fingerprint, 2.0), ("0" * 64, None)):
        content = bench()
        content["fingerprints"] = {"model.bitface": measured}
        outcome = bitface("report", run, written(tmp_path / "bench.json", content), "--out", tmp_path / "page.html")
        assert outcome[0] == 0, outcome
        (model,) = json.loads((tmp_path / "page.json").read_text())["models"]
        assert model.get("latency", {}).get("median_ms") == expected
        assert ("are of another network than" in " ".join(outcome[2].split())) == (expected is None)


def test_one_model(bitface: Run, run: Path, tmp_path: Path) -> None:
    latency = written(tmp_path / "bench.json", bench())
    outcome = bitface("report", run, latency, "--out", tmp_path / "page.html")
    assert outcome[0] == 0, outcome
    page, card, content = (tmp_path / f"page.{kind}" for kind in ("html", "md", "json"))
    assert outcome[1].split() == [str(page), str(card), str(content)]
    data = json.loads(content.read_text())
    evaluation = json.loads((run / "evaluation.json").read_text())
    (model,) = data["models"]
    assert model["latency"]["median_ms"] == 2.0
    assert [one["name"] for one in model["figures"]] == ["accuracy", "TAR at FAR 0.1"]
    assert model["figures"][0]["value"] == evaluation["accuracy"]["mean"]
    assert model["figures"][0]["interval"]["low"] < model["figures"][0]["value"]
    titles = ["Thresholds", "Errors (ISO/IEC 19795-1)", "Beside the baseline", "Mixed galleries"]
    assert [one["title"] for one in model["tables"]] == titles
    (group,) = data["curves"]
    assert [one["name"] for one in group["series"]] == ["net w8a8", "baseline net.onnx"]
    assert [one["label"] for one in data["headline"]] == [
        "size", "time", "speed", "accuracy", "TAR at FAR 0.1", "agreement",
    ]  # fmt: skip
    assert any("no TAR at FAR 0.0001" in note for note in data["notes"])
    assert any("are among the" in warning for warning in data["warnings"]), "the test shows the calibration's faces"
    details = artifact.read(run / "model.bitface")
    facts = data["provenance"]
    assert facts["net w8a8: fingerprint"] == details.network.fingerprint() == evaluation["fingerprint"]
    assert len(facts["net w8a8: artifact SHA-256"]) == 64
    assert facts["net w8a8: seed"] == 0
    drawn = Page(page.read_text())
    assert not drawn.all("script", "img")
    text = drawn.text()
    for word in ("ROC", "Mixed galleries", "Bit plan", "2.50×", "genuine, baseline", "Left in floating point"):
        assert word in text, word
    assert "None" not in text
    for word in ("# net w8a8", "| net w8a8 | w8a8 |", r"2.50× \[2.40, 2.60\]", "### Mixed galleries", "## Provenance"):
        assert word in card.read_text(), word


def test_several_models_side_by_side(bitface: Run, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    result = json.loads((other / "result.json").read_text())
    result |= {"bits": HOSTILE}
    result["model"]["fingerprint"] = "f00d" * 16
    written(other / "result.json", result)
    (other / "model.bitface").unlink()
    latency = written(tmp_path / "bench.json", {**bench("run/model.bitface"), "notes": [HOSTILE]})
    outcome = bitface("report", run, other, latency, "--out", tmp_path / "r.html", "--title", HOSTILE)
    assert outcome[0] == 0, outcome
    assert "different teachers: net (" in outcome[2]
    data = json.loads((tmp_path / "r.json").read_text())
    first, second = data["models"]
    assert first["latency"]["median_ms"] == 2.0
    assert "latency" not in second, "nobody measured it"
    assert "headline" not in data
    # The same network twice: where one of them has an artifact, its evaluation is known by the fingerprint.
    assert len(first["evaluation"]) == 4
    assert "evaluation" not in second
    page = Page((tmp_path / "r.html").read_text())
    assert page.all("h1")[0]["text"] == HOSTILE
    assert not page.all("script", "img")
    assert f"net {HOSTILE}" in page.text()
    card = (tmp_path / "r.md").read_text()
    assert "<script" not in card
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;\|\`x\`" in card


def test_times_and_thresholds_of_each_run(bitface: Run, run: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for name in ("result.json", "model.bitface"):
            shutil.copy(run / name, folder)
        content = bench()
        content["rows"][1]["median_ms"] = 2.0 + number
        written(folder / "bench.json", content)
    path = folders[1] / "model.bitface"
    details = artifact.read(path)
    details.thresholds.append({"far": 0.01, "threshold": 0.25, "expected": {"low": 0.005, "high": 0.02}, "data": "own"})
    artifact.write(path, details)
    outcome = bitface("report", *folders, "--out", tmp_path / "r.html")
    assert outcome[0] == 0, outcome
    assert "times of 2 runs of bench" in outcome[2]
    first, second = json.loads((tmp_path / "r.json").read_text())["models"]
    assert (first["name"], second["name"]) == ("net w8a8 (first)", "net w8a8 (second)")
    assert (first["latency"]["median_ms"], second["latency"]["median_ms"]) == (2.0, 3.0)
    assert "tables" not in first
    assert second["tables"][0]["rows"] == [["0.01", "0.2500", "[0.005, 0.02]", "own"]]


def test_an_analysis_shows_faces_only_where_they_are_asked_for(
    bitface: Run, crops: Path, run: Path, tmp_path: Path
) -> None:
    content = analysis()
    content["faces"]["folder"] = str(crops)
    content["flips"]["worst"][0] |= {"left": "p1/1.png", "right": "p1/2.png"}
    content["student"]["fingerprint"] = artifact.read(run / "model.bitface").network.fingerprint()
    path, page = written(tmp_path / "analysis.json", content), tmp_path / "r.html"
    assert bitface("report", path, "--out", page)[0] == 0
    assert "Angles: model.bitface beside net.onnx" in Page(page.read_text()).text()
    assert not Page(page.read_text()).all("img")
    assert bitface("report", run, path, "--out", page, "--faces")[0] == 0
    assert len(Page(page.read_text()).all("img")) == 2
    assert "Angles: net w8a8" in Page(page.read_text()).text()
    assert "data:image" not in (tmp_path / "r.json").read_text()
    written(path, {**content, "faces": {**content["faces"], "folder": str(tmp_path / "gone")}})
    outcome = bitface("report", path, "--out", page, "--faces")
    assert outcome[0] == 0
    assert "no face is shown" in outcome[2]


def test_an_evaluation_alone(bitface: Run, run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "evaluation.json").read_text())
    content["baseline"] = None
    del content["bins"], content["roc"]
    path = written(tmp_path / "older.json", content)
    assert bitface("report", path, "--out", tmp_path / "r.html")[0] == 0
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["title"] == "model.bitface"
    assert "curves" not in data
    text = Page((tmp_path / "r.html").read_text()).text()
    assert "Verification" in text
    for word in ("ROC", "Scores", "Mixed", "Speed", "Bit plan", "None"):
        assert word not in text, word


def test_what_is_no_run(bitface: Run, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    (tmp_path / "empty").mkdir()
    written(tmp_path / "empty" / "other.json", [1, 2])
    (tmp_path / "empty" / "text.json").write_text("{")
    ends_in_one_line(bitface("report", tmp_path / "empty", "--out", page), 1, "empty: holds no result")
    ends_in_one_line(bitface("report", run.parent, "--out", page), 1, "name the folders in it", "run")
    other = written(tmp_path / "other.json", {"name": "package", "version": "1"})
    ends_in_one_line(bitface("report", other, "--out", page), 1, "other.json: is no result of bitface")
    other = written(tmp_path / "other.json", {"bitface": "0.1.0", "rows": []})
    ends_in_one_line(bitface("report", other, "--out", page), 1, "a result of bitface that a report can't show")
    ends_in_one_line(bitface("report", tmp_path / "empty" / "text.json", "--out", page), 1, "isn't JSON")
    ends_in_one_line(bitface("report", tmp_path / "gone", "--out", page), 1, "gone: can't be read")
    ends_in_one_line(bitface("report", run, "--out", tmp_path / "page.pdf"), 2, "page.pdf")
    assert not page.exists()


@pytest.mark.parametrize("kind", ["result", "evaluation"])
def test_a_damaged_result(bitface: Run, run: Path, tmp_path: Path, kind: str) -> None:
    content = json.loads((run / f"{kind}.json").read_text())
    for key, value in content.items():
        if isinstance(value, dict | list) and value:
            path = written(tmp_path / "damaged.json", {**content, key: 7 if isinstance(value, dict) else [7]})
            outcome = bitface("report", path, "--out", tmp_path / "r.html")
            if outcome[0]:
                ends_in_one_line(outcome, 1, "make it again")
    assert not (tmp_path / "damaged.md").exists()


def test_a_report_replaces_reports_alone(bitface: Run, run: Path, tmp_path: Path) -> None:
    made = Path(shutil.copytree(run, tmp_path / "made"))
    latency = written(tmp_path / "latency.json", bench())
    own = written(tmp_path / "own.json", {"name": "of a program"})
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "linked.json").symlink_to(latency)
    written(tmp_path / "other.json", bench())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, where, words in (
        (latency, latency, "made of it"),
        (tmp_path / "linked.json", tmp_path / "linked.json", "made of it"),
        (made / "result.json", made / "result.json", "made of it"),
        (made / "evaluation.json", made / "evaluation.json", "made of it"),
        (tmp_path / "other.json", tmp_path / "other.json", "isn't a report's"),
        (own, own, "isn't a report's"),
        (tmp_path / "notes.md", tmp_path / "notes.md", "isn't a report's"),
        (made / "README.md", made / "README.md", "isn't a report's"),
    ):
        ends_in_one_line(bitface("report", made, latency, "--out", out.with_suffix(".html")), 2, f"{where}: ", words)
    for json_file in (made / "evaluation.json", tmp_path / "other.json", tmp_path / "a.html", tmp_path / "a.md"):
        ends_in_one_line(bitface("report", made, "--out", tmp_path / "a.html", "--json", json_file), 2, str(json_file))
    ends_in_one_line(bitface("report", made, made, "--diff", "--out", made / "result.html"), 2, "made of it")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # Its own three files, and the page that a command wrote, are written anew.
    for place in (made / "report.html", tmp_path / "a.html"):
        for _ in range(2):
            assert bitface("report", made, "--out", place, "--json", place.with_suffix(".json"))[0] == 0
