"""Thresholds from the command line: found, kept in the artifact, and decided by."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface import artifact, load
from bitface.data.sources import SPREAD
from bitface.data.synthetic import make_faces, write_faces
from bitface.evaluation import all_pairs
from bitface.evaluation.scores.similarity import row_scores, unit_rows

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(quantized: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.bitface"
    shutil.copy(quantized / "model.bitface", path)
    return path


def test_thresholds_are_kept_in_the_artifact(bitface: Run, model: Path, crops: Path, tmp_path: Path) -> None:
    before = artifact.read(model)
    code, out, err = bitface(
        "calibrate",
        model,
        "--images",
        crops,
        "--far",
        "0.05,0.01",
        "--data",
        "own crops",
        "--json",
        tmp_path / "a.json",
    )
    assert code == 0, err
    assert "threshold" in out
    after = artifact.read(model)
    assert after.network.fingerprint() == before.network.fingerprint()
    assert [one["far"] for one in after.thresholds] == [0.05, 0.01]
    assert json.loads((tmp_path / "a.json").read_text())["thresholds"] == after.thresholds
    # The same from the embeddings, by hand.
    files = sorted(crops.glob("*/*.png"))
    rows = load(model).embed([str(path) for path in files])
    summary = all_pairs(rows, [path.parent.name for path in files], (0.05, 0.01))
    for stored, point in zip(after.thresholds, summary.tar, strict=True):
        assert stored["threshold"] == pytest.approx(point.threshold)
        assert (stored["images"], stored["people"], stored["impostor"]) == (48, 12, 48 * 47 // 2 - 12 * 6)
        assert (stored["data"], stored["protocol"], stored["engine"]) == ("own crops", "all pairs", load(model).engine)
        assert stored["expected"]["low"] < stored["far"] < stored["expected"]["high"]
    code, out, err = bitface("inspect", model, "--json", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["thresholds"] == after.thresholds


def test_verify_decides_by_the_kept_threshold(bitface: Run, model: Path, crops: Path, tmp_path: Path) -> None:
    assert bitface("calibrate", model, "--images", crops, "--far", "0.05", "--flip")[0] == 0
    stored = artifact.read(model).thresholds[0]
    embedder = load(model)
    verdicts = set()
    for other in (crops / "p3" / "1.png", crops / "p4" / "0.png", crops / "p7" / "2.png"):
        pair = [crops / "p3" / "0.png", other]
        command = ("verify", *pair, "--model", model, "--far", "0.05", "--json", tmp_path / "a.json")
        code, out, err = bitface(*command)
        unit, usable = unit_rows(embedder.embed([str(path) for path in pair], flip=True))
        similarity = float(row_scores(unit, usable, [0], [1])[0])
        answer = json.loads((tmp_path / "a.json").read_text())
        assert answer["similarity"] == pytest.approx(similarity, abs=1e-6)
        assert answer["same"] == (similarity >= stored["threshold"])
        assert out.startswith("same:" if answer["same"] else "different:")
        assert code == (0 if answer["same"] else 1), err
        assert bitface(*command, "--exit-zero")[0] == 0
        verdicts.add(answer["same"])
    assert verdicts == {True, False}


def test_photographs_are_aligned_by_themselves(bitface: Run, model: Path, crops: Path, tmp_path: Path) -> None:
    code, _, err = bitface("calibrate", model, "--images", crops, "--far", "0.05")
    assert code == 0, err
    wall = tmp_path / "wall.png"
    Image.fromarray(np.full((300, 400, 3), 128, np.uint8)).save(wall)
    code, out, err = bitface("verify", crops / "p1" / "0.png", wall, "--model", model, "--far", "0.05")
    assert (code, out) == (3, "")
    assert "wall.png: no face is found" in err


@pytest.fixture
def crowd(asset: Callable[[str], Path], tmp_path: Path) -> Path:
    """A photograph of two people who don't exist, one of them larger."""
    asset("yunet")
    asset("dcgan")
    small, large = make_faces(2, seed=3).images
    photo = Image.new("RGB", (800, 600), (128, 128, 128))
    photo.paste(Image.fromarray(small), (30, 20))
    photo.paste(Image.fromarray(large).resize((224, 224)), (200, 250))
    photo.save(tmp_path / "crowd.png")
    return tmp_path / "crowd.png"


@pytest.mark.assets
def test_which_of_several_faces_is_taken_is_said(
    bitface: Run, model: Path, crops: Path, crowd: Path, tmp_path: Path
) -> None:
    assert bitface("calibrate", model, "--images", crops, "--far", "0.05")[0] == 0
    assert bitface("enroll", model, "--images", crops, "--out", tmp_path / "gallery.safetensors")[0] == 0
    alone = tmp_path / "alone.png"
    Image.open(crowd).crop((150, 200, 500, 550)).save(alone)
    commands = {
        "verify": ("verify", crowd, alone, "--model", model, "--far", "0.05"),
        "identify": ("identify", crowd, alone, "--gallery", tmp_path / "gallery.safetensors", "--model", model),
    }
    for name, command in commands.items():
        code, _, err = bitface(*command, "--json", tmp_path / "a.json")
        assert code == 0, err
        found = json.loads((tmp_path / "a.json").read_text())
        several, single = found["faces"] if name == "verify" else [answer["face"] for answer in found]
        assert (several["image"], several["found"], single["found"]) == (str(crowd), 2, 1)
        x, y, width, height = several["box"]
        assert 170 <= x < x + width <= 450  # about the larger one
        assert 220 <= y < y + height <= 500
        said = f"{crowd}: 2 faces are found in it; the largest is taken, {width}x{height} pixels from ({x}, {y})"
        assert f"note: {said}" in err
        assert f"note: {alone}: aligned by the face found in it" in err
        notes = found["notes"] if name == "verify" else [note for answer in found for note in answer["notes"]]
        assert any(note.startswith(said) for note in notes)


def test_what_the_teachers_thresholds_would_do(
    bitface: Run, net: Path, model: Path, crops: Path, tmp_path: Path
) -> None:
    code, out, err = bitface(
        "calibrate", model, "--images", crops, "--far", "0.05", "--teacher", net, "--preprocess", "rgb-127.5-128",
        "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert code == 0, err
    (row,) = json.loads((tmp_path / "a.json").read_text())["teacher"]
    files = sorted(crops.glob("*/*.png"))
    names, paths = [path.parent.name for path in files], [str(path) for path in files]
    (point,) = all_pairs(load(net, preprocess="rgb-127.5-128").embed(paths), names, (0.05,)).tar
    assert row["threshold"] == pytest.approx(point.threshold, abs=1e-6)
    here = all_pairs(load(model).embed(paths), names, (0.05,), at=(row["threshold"],)).fixed[0]
    assert (row["far"], row["tar"]) == (here.far, here.tar)
    assert "the teacher's threshold for FAR 0.05" in " ".join(out.split())


def test_lists_of_pairs_do_too(bitface: Run, model: Path, pairs: Path, crops: Path, tmp_path: Path) -> None:
    out = tmp_path / "other.bitface"
    before = model.read_bytes()
    code, _, err = bitface(
        "calibrate", model, "--pairs", pairs, "--root", crops, "--all-pairs", "--far", "0.05", "--out", out
    )
    assert code == 0, err
    assert model.read_bytes() == before
    assert artifact.read(out).thresholds[0]["data"] == "pairs.csv"
    code, _, err = bitface("calibrate", model, "--pairs", pairs, "--root", crops, "--far", "0.05")
    assert code == 1
    assert "a threshold for FAR 0.05 needs at least 200 impostor pairs, has 59; all pairs" in err
    assert model.read_bytes() == before


def test_what_the_faces_support_is_kept(bitface: Run, model: Path, crops: Path, tmp_path: Path) -> None:
    code, out, err = bitface("calibrate", model, "--images", crops, "--json", tmp_path / "a.json")
    assert code == 0, err
    assert [one["far"] for one in artifact.read(model).thresholds] == [1e-2]
    lacking = json.loads((tmp_path / "a.json").read_text())["unsupported"]
    assert [one["far"] for one in lacking] == [1e-3, 1e-4, 1e-5]
    # 48 images form 1,056 impostor pairs, n times as many images n squared times as many.
    assert [one["images"] for one in lacking] == [math.ceil(48 * math.sqrt(n / 1056)) for n in (1e4, 1e5, 1e6)]
    assert "no threshold for FAR 0.001: it needs 10,000 impostor pairs, which about 148 images form" in out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--images", "CROPS", "--far", "1e-5"], 1, "needs at least 1000000 impostor pairs, has 1056"),
        (["--images", "CROPS", "--far", "2"], 2, "a FAR of 2 makes no sense"),
        (["--images", "CROPS", "--far", "low"], 2, "--far takes numbers"),
        (["--images", "CROPS", "--labels", "missing.csv"], 1, "no readable label file"),
        (["--far", "0.05"], 2, "give either --pairs with --root, or --images"),
        (["--pairs", "p.csv", "--far", "0.05"], 2, "a list of pairs needs --root"),
        (["--images", "CROPS", "--engine", "abacus"], 2, "unknown engine"),
    ],
)
def test_bad_requests_change_nothing(
    bitface: Run, model: Path, crops: Path, options: list[str], code: int, message: str
) -> None:
    before = model.read_bytes()
    given = [str(crops) if word == "CROPS" else word for word in options]
    found, out, err = bitface("calibrate", model, *given)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert model.read_bytes() == before


def test_what_holds_no_threshold_says_so(bitface: Run, net: Path, model: Path, crops: Path) -> None:
    pair = [crops / "p1" / "0.png", crops / "p1" / "1.png"]
    code, _, err = bitface("verify", *pair, "--model", model, "--far", "1e-4")
    assert code == 3
    assert "no threshold for FAR 0.0001 is stored (none is); make one with bitface calibrate" in err
    commands = ((3, ["verify", *pair, "--model", net, "--far", "1e-4"]), (1, ["calibrate", net, "--images", crops]))
    for expected, command in commands:
        code, _, err = bitface(*command)
        assert code == expected
        assert "no .bitface file" in err or "doesn't say how its input is normalised" in err


@pytest.mark.parametrize(
    "threshold",
    [
        {"far": 1e-4},
        {"far": 0, "threshold": 0.3},
        {"far": 1e-4, "threshold": "0.3"},
        {"far": 1e-4, "threshold": 3},
        {"far": 1e-4, "threshold": 0.3, "engine": "../abacus\n"},
        {"far": 1e-4, "threshold": 0.3, "flip": "yes"},
        {"far": 1e-4, "threshold": 0.3, "expected": {"low": 0.5, "high": 0.1}},
        "0.3",
    ],
)
def test_thresholds_of_a_tampered_file_are_refused(bitface: Run, model: Path, crops: Path, threshold: object) -> None:
    from dataclasses import replace

    details = artifact.read(model)
    artifact.write(model, replace(details, thresholds=[threshold]))  # type: ignore[list-item]
    code, out, err = bitface(
        "verify", crops / "p1" / "0.png", crops / "p1" / "1.png", "--model", model, "--far", "1e-4"
    )
    assert (code, out) == (3, "")
    assert "damaged" in err
    assert err.count("\n") == 1


def test_an_extrapolated_threshold_says_so_everywhere(bitface: Run, model: Path, crops: Path, tmp_path: Path) -> None:
    command = ["calibrate", model, "--images", crops, "--far", "0.05,0.001"]
    code, out, err = bitface(*command)
    assert code == 0, err
    assert "there are 1,056 (--extrapolate models the tail of the scores)" in out
    code, out, err = bitface(*command, "--extrapolate", "--json", tmp_path / "a.json")
    assert code == 0, err
    assert out.count("(extrapolated)") == 1
    assert "the threshold for FAR 0.001 is extrapolated from the 52 highest scores of 1,056 impostor pairs" in err
    found, beyond = json.loads((tmp_path / "a.json").read_text())["thresholds"]
    assert "extrapolated" not in found
    assert beyond["extrapolated"]["model"] == "generalised Pareto"
    assert artifact.read(model).thresholds == [found, beyond]
    first, second = crops / "p3" / "1.png", crops / "p3" / "2.png"
    code, out, err = bitface("verify", first, second, "--model", model, "--far", "0.001", "--json", tmp_path / "v.json")
    assert code == 0, err
    assert "for FAR 0.001 (extrapolated, really " in out
    assert "note: the threshold for FAR 0.001 is extrapolated" in err
    assert json.loads((tmp_path / "v.json").read_text())["extrapolated"] == beyond["extrapolated"]
    assert "extrapolated" not in bitface("verify", first, second, "--model", model, "--far", "0.05")[1]
    assert "at FAR 0.001 (extrapolated)" in bitface("inspect", model)[1]
    pairs = [f"p{one}/{a}.png,p{other}/{b}.png,{int(one == other)},{one % 2}" for one in range(12)
             for other, a, b in ((one, 0, 1), ((one + 1) % 12, 2, 3))]  # fmt: skip
    (tmp_path / "pairs.csv").write_text("\n".join(["a,b,same,fold", *pairs]))
    test = ("--pairs", tmp_path / "pairs.csv", "--root", crops, "--far", "0.2")
    code, out, err = bitface("evaluate", model, *test, "--json", tmp_path / "e.json")
    assert code == 0, err
    assert "threshold for FAR 0.05, " in out
    assert re.search(r"threshold for FAR 0.001, [\d.]+, extrapolated, has FAR", out)
    assert "note: the threshold for FAR 0.001 is extrapolated" in err
    marks = [one.get("extrapolated") for one in json.loads((tmp_path / "e.json").read_text())["stored_thresholds"]]
    assert marks == [None, True]
    code, _, err = bitface("report", tmp_path / "e.json", "--out", tmp_path / "page.html")
    assert code == 0, err
    for name in ("page.html", "page.md"):
        assert (tmp_path / name).read_text().count("stored, extrapolated") == 1


def test_generated_faces_are_of_somebody_else_each(
    bitface: Run, model: Path, net: Path, crops: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "faces"
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(crops.glob("*/*.png"))])
    write_faces(folder, images, {"kind": "synthetic", "kept": len(images)})
    command = ("calibrate", model, "--images", folder, "--far", "1e-2,1e-4", "--json", tmp_path / "a.json")
    code, out, err = bitface(*command)
    assert code == 0, err
    assert "isn't known" in " ".join(err.split())
    assert "no threshold for FAR 0.0001" in out
    (stored,) = json.loads((tmp_path / "a.json").read_text())["thresholds"]
    assert (stored["people"], stored["impostor"], stored["genuine"], stored["tar"]) == (48, 48 * 47 // 2, 0, None)
    assert bitface("verify", *sorted(folder.glob("*.png"))[:2], "--model", model, "--far", "1e-2")[0] in (0, 1)
    code, out, err = bitface(*command, "--teacher", net, "--preprocess", "rgb-127.5-128")
    assert code == 0, err
    assert "the teacher's threshold for FAR 0.01" in " ".join(out.split())
    assert "FRR" not in out
    # Others' folders without people are refused as ever, and so are people who were brought apart by a network.
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"kind": SPREAD, "kept": len(images)}))
    for change in (lambda: None, manifest.unlink):
        change()
        code, _, err = bitface(*command)
        assert code == 1
        assert "lies in no person's folder" in " ".join(err.split())


def test_thresholds_that_go_are_named(bitface: Run, model: Path, crops: Path) -> None:
    calibrate = ("calibrate", model, "--images", crops, "--far")
    assert bitface(*calibrate, "0.1,0.05")[0] == 0
    code, _, err = bitface(*calibrate, "0.2")
    assert code == 0, err
    assert "FAR 0.1, 0.05 are gone" in " ".join(err.split())
    assert "--far 0.2,0.1,0.05" in " ".join(err.split())
    assert [one["far"] for one in artifact.read(model).thresholds] == [0.2]
    assert "are gone" not in bitface(*calibrate, "0.2,0.1")[2]


@pytest.mark.parametrize("found_with", [True, False])
def test_thresholds_tried_without_what_they_were_found_with(
    bitface: Run, model: Path, pairs: Path, crops: Path, found_with: bool
) -> None:
    flip = ("--flip",)
    found, tried = (flip, ()) if found_with else ((), flip)
    assert bitface("calibrate", model, "--images", crops, "--far", "0.05", *found)[0] == 0
    evaluation = ("evaluate", model, "--pairs", pairs, "--root", crops, "--far", "0.05")
    code, _, err = bitface(*evaluation, *tried)
    assert code == 0, err
    words = ("with", "without") if found_with else ("without", "with")
    assert f"were found {words[0]} mirrored images added and are tried {words[1]}" in " ".join(err.split())
    assert "mirrored images" not in bitface(*evaluation, *found)[2]
