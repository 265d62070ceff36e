"""Two results side by side, made up so that every change is known."""

from pathlib import Path
from typing import Any

import pytest

from bitface.errors import BitfaceError
from bitface.report import render
from bitface.report.card import card
from bitface.report.changes import Side, changes_of
from bitface.results.analysis import AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.documents import Document
from bitface.results.evaluation import EvaluationRecord
from bitface.results.quantization import QuantizationRecord
from report.test_page import HOSTILE, Page
from support.analysis_example import analysis
from support.report_example import verification

NAMES = ["net w8a8", "net w4a8"]


def quantization(bits: str, weight: int, size: int, agreement: float) -> QuantizationRecord:
    layers = [
        {"name": name, "kind": "Conv", "weight_bits": own, "activation_bits": 8, "reason": "plan",
         "parameters": parameters, "bytes": parameters * own // 8}
        for name, own, parameters in (("stem", 8, 432), ("deep", weight, 9000), ("fc", 8, 2048))
    ]  # fmt: skip
    cosines = {"mean": agreement, "p01": agreement - 0.1, "minimum": agreement - 0.2}
    agreed = {**cosines, "mean_angle": 8.0, "p99_angle": 20.0, "maximum_angle": 30.0, "count": 64, "failed": 0}
    return QuantizationRecord.of(
        {
            "bitface": "0.2.0", "created": "2026-11-28T10:00:00+00:00", "bits": bits, "plan": {}, "layers": layers,
            "model": {"name": "net", "fingerprint": "f00d", "embedding_size": 32, "bytes": 46_000, "parameters": 11_480,
                      "macs": 2_000_000, "preprocess": "rgb-raw", "path": "net.onnx"},
            "tensors": [], "unquantized": [], "bytes": {"model.bitface": size}, "float_bytes": 45_920,
            "compression": 45_920 / size, "machine": {"cpu": "EPYC"}, "method": "ptq", "seed": 0,
            "agreement": {"openvino": agreed},
            "faces": {"kind": "folder", "given": 64, "calibration": 32, "held_out": 32, "skipped": 0, "duplicates": 0,
                      "manifest": "abc"},
            "calibration": {}, "training": None, "notes": [], "warnings": [f"{bits} is few"], "seconds": {},
            "files": {"model.bitface": bits},
        }
    )  # fmt: skip


def evaluation(bits: str, loss: float, **more: Any) -> EvaluationRecord:
    return EvaluationRecord.of(
        {
            "bitface": "0.2.0", "model": "model.bitface", "model_kind": "artifact", "fingerprint": bits,
            "engine": "openvino", "precision": "integer", "pairs": "pairs.csv",
            **verification(loss), **more,
        }
    )  # fmt: skip


def bench(milliseconds: float, ratio: float) -> BenchRecord:
    row = {
        "model": "model.bitface", "engine": "openvino", "precision": "int8", "batch": 1, "threads": 1, "runs": 50,
        "median_ms": milliseconds, "iqr_ms": 0.1, "p95_ms": 2.3, "per_second": 500.0, "baseline": "net.onnx f32",
        "ratio": ratio, "ratio_interval": [ratio - 0.1, ratio + 0.1], "ratios": {}, "note": None,
    }  # fmt: skip
    return BenchRecord.of({"machine": "EPYC", "versions": {}, "rows": [row]})


def side(folder: str, *results: StoredResult) -> Side:
    return Side.of(Path(folder), [Document(Path(folder) / f"{one.kind}.json", one) for one in results])


def sides(**more: Any) -> tuple[Side, Side]:
    before = side("a", quantization("w8a8", 8, 13_000, 0.99), evaluation("w8a8", 0.0), bench(2.0, 2.5))
    loss = more.pop("loss", 0.02)
    after = side("b", quantization("w4a8", 4, 8_500, 0.95), evaluation("w4a8", loss, **more), bench(2.0, 2.45))
    return before, after


def tables(content: dict[str, Any]) -> dict[str, list[list[str]]]:
    return {table["title"].partition(":")[0]: table["rows"] for table in content["changes"]}


def plain(rows: list[list[str]]) -> list[list[str]]:
    return [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in rows]


def test_every_change_and_whether_it_is_beyond_chance() -> None:
    content = changes_of(*sides())
    shown = tables(content)
    assert content["title"] == "net w8a8 → net w4a8"
    accuracy, auc, _ = shown["Accuracy"]
    assert accuracy[1:] == ["99.35 [99.14, 99.54]", "97.35 [97.14, 97.54]", "-2.00", "yes, lower"]
    assert auc[3:] == ["-2.00", "–"]
    assert [row[0] for row in shown["Operating points"]] == ["1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]
    assert shown["Operating points"][0][-2:] == ["+0.00", "no"]
    assert shown["Operating points"][2][-2:] == ["-4.00", "yes, lower"]
    assert shown["Operating points"][3][-2:] == ["–", "–"], "the data support neither"
    assert plain(shown["Size"]) == [["model.bitface", "13.0 kB", "8.50 kB", "-34.6 %"]]
    assert plain(shown["Time"])[0][1:] == ["2.00 ms", "2.00 ms", "2.50× [2.40, 2.60]", "2.45× [2.35, 2.55]", "no"]
    assert shown["Plan by layer"] == [["deep", "w8a8", "w4a8", "9,000"]]
    assert shown["Engines"][1] == ["agreement, OpenVINO", "0.9900", "0.9500", "-0.0400"]
    assert content["warnings"] == ["net w8a8: w8a8 is few", "net w4a8: w4a8 is few"]
    assert any("which decisions flipped isn't known" in note for note in content["notes"])
    assert content["next"][0]["command"].endswith("--against a/model.bitface")


def test_a_change_within_the_intervals_is_none() -> None:
    content = changes_of(*sides(loss=0.001))
    assert tables(content)["Accuracy"][0][-2:] == ["-0.10", "no"]
    (figure,) = [one for one in content["headline"] if one["label"].startswith("accuracy")]
    assert "within the 95 % intervals" in figure["note"]


def test_a_paired_test_says_which_decisions_flipped() -> None:
    interval = {"low": -0.03, "high": -0.01, "method": "paired"}
    difference = {"far": 1e-2, "baseline": 0.99, "model": 0.97, "interval": interval, "change": -0.02}
    comparison = {"mcnemar": {"b": 9, "c": 2, "flipped": 11, "p": 0.065}, "differences": [difference]}
    baseline = {"model": "a/model.bitface", "fingerprint": "w8a8", "comparison": comparison, "mixed": []}
    content = changes_of(*sides(baseline=baseline))
    (table,) = [one for one in content["changes"] if one["title"].startswith("Paired")]
    assert "11 decisions of the list differ" in table["caption"]
    assert table["rows"][0][:4] == ["0.01", "99.00", "97.00", "-2.00 [-3.00, -1.00]"]
    assert "next" not in content
    assert "notes" not in content


def test_analyses_of_both_say_which_decisions_of_the_teacher_each_lost() -> None:
    content = analysis()
    other = analysis()
    other["flips"]["points"][0] |= {"rejected": 20, "accepted": 1}
    other["flips"]["worst"][0] |= {"left": "Bob/1.png", "right": "Bob/2.png", "student": 0.2}
    before = side("a", quantization("w8a8", 8, 13_000, 0.99), AnalysisRecord.from_json(content))
    after = side("b", quantization("w4a8", 4, 8_500, 0.95), AnalysisRecord.from_json(other))
    shown = tables(changes_of(before, after))
    assert shown["Decisions of the teacher that were lost"] == [["1e-4", "15", "21", "+6"]]
    assert shown["Flipped pairs"] == [
        ["Ada/1.png · Ada/2.png", "genuine", "0.5200", "0.1100", "as its teacher"],
        ["Bob/1.png · Bob/2.png", "genuine", "0.5200", "as its teacher", "0.2000"],
    ]
    other["teacher"] = {**other["teacher"], "fingerprint": "beef"}
    after = side("b", quantization("w4a8", 4, 8_500, 0.95), AnalysisRecord.from_json(other))
    assert "Flipped pairs" not in tables(changes_of(before, after)), "of another teacher"


def test_what_cannot_be_compared_is_said() -> None:
    before, _ = sides()
    other = side("b", quantization("w4a8", 4, 8_500, 0.95), evaluation("w4a8", 0.0, pairs="others.csv"))
    content = changes_of(before, other)
    assert "Accuracy" not in tables(content)
    assert any("on different tests" in note for note in content["notes"])
    counted = {**verification()["counts"], "genuine": 2000}
    content = changes_of(*sides(counts=counted))
    assert any("not the same pairs on both sides" in warning for warning in content["warnings"])


def test_one_model_on_each_side() -> None:
    several = [quantization("w8a8", 8, 1, 0.9), quantization("w4a8", 4, 1, 0.9)]
    with pytest.raises(BitfaceError, match=r"^a: holds 2 models \(net w8a8, net w4a8\)"):
        side("a", *several)
    with pytest.raises(BitfaceError, match=r"^a: holds no model"):
        side("a", bench(1.0, 2.0))


def test_the_page_and_the_card_of_it() -> None:
    before, after = sides()
    hostile = quantization("w4a8", 4, 8_500, 0.95).but(bits=HOSTILE.replace("\ud800", ""))
    after = side("b", hostile, evaluation("w4a8", 0.02))
    content = changes_of(before, after)
    page = Page(render(content))
    assert not page.all("script", "img")
    assert "Bit plan" in page.text()
    written = card(content)
    assert "## Plan by layer" in written
    assert "<script" not in written
