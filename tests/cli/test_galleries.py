"""Galleries from the command line: enrolled, searched, and kept from other models' probes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface import artifact, load

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gallery(bitface: Run, quantized: Path, crops: Path, tmp_path: Path) -> Path:
    path = tmp_path / "gallery.safetensors"
    code, out, err = bitface("enroll", quantized / "model.bitface", "--images", crops, "--out", path)
    assert code == 0, err
    assert "48 images of 12 people, float32" in out
    return path


@pytest.mark.parametrize("int8", [False, True])
def test_people_are_found(
    bitface: Run, quantized: Path, gallery: Path, crops: Path, tmp_path: Path, int8: bool
) -> None:
    model = quantized / "model.bitface"
    if int8:
        before = gallery.stat().st_size
        assert bitface("enroll", model, "--images", crops, "--out", gallery, "--int8")[0] == 0
        assert gallery.stat().st_size < before - 48 * 32 * 2
    probe = crops / "p3" / "1.png"
    code, out, err = bitface(
        "identify", probe, "--gallery", gallery, "--model", model, "--top", "3", "--json", tmp_path / "a.json"
    )
    assert code == 0, err
    (answer,) = json.loads((tmp_path / "a.json").read_text())
    files = sorted(crops.glob("*/*.png"))
    rows = load(model).embed([str(path) for path in files])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = unit @ unit[files.index(probe)]
    best: dict[str, float] = {}
    for at in np.argsort(-scores, kind="stable"):
        best.setdefault(files[at].parent.name, float(scores[at]))
    assert [one["id"] for one in answer["people"]] == list(best)[:3]
    assert [one["similarity"] for one in answer["people"]] == pytest.approx(list(best.values())[:3], abs=0.01)
    assert out.startswith(f"{probe}: p3 ")


def test_other_models_are_kept_out(bitface: Run, net: Path, quantized: Path, gallery: Path, crops: Path) -> None:
    probe = crops / "p3" / "1.png"
    command = ["identify", probe, "--gallery", gallery, "--model", net, "--preprocess", "rgb-127.5-128"]
    code, out, err = bitface(*command)
    assert (code, out) == (2, "")
    assert "the gallery was enrolled by model" in err
    assert "--allow-mixed" in err
    code, out, _ = bitface(*command, "--allow-mixed")
    assert code == 0
    assert ": p3 " in out


def test_strangers_are_nobody(bitface: Run, quantized: Path, gallery: Path, crops: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.bitface"
    model.write_bytes((quantized / "model.bitface").read_bytes())
    code, _, err = bitface("identify", crops / "p3" / "1.png", "--gallery", gallery, "--model", model, "--far", "0.05")
    assert code == 1
    assert "no threshold for FAR 0.05 is stored" in err
    assert bitface("calibrate", model, "--images", crops, "--far", "0.05")[0] == 0
    least = artifact.read(model).thresholds[0]["threshold"]
    named = []
    for options in ([], ["--far", "0.05"]):
        code, _, err = bitface(
            "identify", *crops.glob("p*/2.png"), "--gallery", gallery, "--model", model, "--top", "12", *options,
            "--json", tmp_path / "a.json",
        )  # fmt: skip
        assert code == 0, err
        named.append([answer["people"] for answer in json.loads((tmp_path / "a.json").read_text())])
    assert named[1] == [[one for one in people if one["similarity"] >= least] for people in named[0]]
    assert sum(map(len, named[1])) < sum(map(len, named[0]))


def test_answers_without_a_threshold_say_so(
    bitface: Run, net: Path, quantized: Path, gallery: Path, crops: Path, tmp_path: Path
) -> None:
    model, probes = tmp_path / "model.bitface", [tmp_path / "p3.png", crops / "p4" / "0.png"]
    model.write_bytes((quantized / "model.bitface").read_bytes())
    # Of two people, so that nobody is as similar as they are to themselves.
    first, second = (Image.open(crops / who / "1.png") for who in ("p3", "p5"))
    Image.blend(first, second, 0.4).save(probes[0])
    command = ["identify", *probes, "--gallery", gallery, "--model", model, "--json", tmp_path / "a.json"]

    def answered(*options: object) -> tuple[list[dict[str, Any]], str]:
        code, _, err = bitface(*command, *options)
        assert code == 0, err
        answers = json.loads((tmp_path / "a.json").read_text())
        for answer in answers:  # without what is said of the engine on CPUs where OpenVINO isn't exact
            answer["notes"] = [text for text in answer["notes"] if "saturate" not in text]
        return answers, err

    words = "no threshold was applied, so strangers are given a name, too; "
    answers, err = answered()
    for answer in answers:
        assert (answer["threshold"], answer["thresholds"], answer["face"]) == (None, [], None)
        assert answer["notes"][0].startswith(f"{words}find one (bitface calibrate {model} --images people/ --far 1e-4)")
    assert err.count(f"note: {words}") == 1

    details = artifact.read(model)
    facts = {"engine": answers[0]["engine"], "flip": False}
    first, best = (answers[0]["people"][0][key] for key in ("id", "similarity"))
    assert best < 0.98
    stored = [{"far": 0.01, "threshold": best - 0.01, **facts}, {"far": 0.001, "threshold": best + 0.01, **facts}]
    artifact.write(model, replace(details, thresholds=stored))
    answers, err = answered()
    assert f"note: {words}name nobody below one: bitface identify {probes[0]} ... --gallery {gallery} " in err
    assert f"--model {model} --far 0.01" in err
    assert [one["holds"] for one in answers[0]["thresholds"]] == [True, False]
    assert (
        f"note: {probes[0]}: {first} ({best:.4f}) would be named at FAR 0.01 (threshold {best - 0.01:.4f}) and "
        f"wouldn't be named at FAR 0.001 (threshold {best + 0.01:.4f})"
    ) in err
    answers, err = answered("--far", "0.001")
    assert "no threshold was applied" not in err
    assert answers[0]["threshold"] == {"far": 0.001, "threshold": best + 0.01}
    assert (answers[0]["people"], answers[0]["thresholds"], answers[0]["notes"]) == ([], [], [])

    artifact.write(model, replace(details, thresholds=[{**stored[0], "flip": True}]))
    _, err = answered("--far", "0.01")
    assert "note: the thresholds were found with mirrored images added (--flip), the gallery was made without" in err

    code, _, err = bitface(
        "identify", probes[0], "--gallery", gallery, "--model", net, "--preprocess", "rgb-127.5-128", "--allow-mixed"
    )
    assert code == 0
    assert "only a .bitface file keeps some" in err


def test_damaged_galleries(bitface: Run, quantized: Path, gallery: Path, crops: Path) -> None:
    gallery.write_bytes(gallery.read_bytes()[:-5])
    code, out, err = bitface(
        "identify", crops / "p3" / "1.png", "--gallery", gallery, "--model", quantized / "model.bitface"
    )
    assert (code, out) == (1, "")
    assert "gallery.safetensors" in err
    assert err.count("\n") == 1
