"""`bitface analyse` from the command line: everything it finds, and whatever can be wrong with its input."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from bitface import artifact, backbones, load
from bitface.analysis.angular import dissect
from bitface.data.face_source import FaceSource
from bitface.graph import from_module, to_onnx

from .test_bad_input import ends_in_one_line

Run = Callable[..., tuple[int, str, str]]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def named(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crops, one person under a hostile name, and one of whom there is a single image."""
    folder = tmp_path_factory.mktemp("named") / "people"
    shutil.copytree(crops, folder)
    (folder / "p0").rename(folder / HOSTILE.replace("/", "∕"))
    for shot in (1, 2, 3):
        (folder / "p1" / f"{shot}.png").unlink()
    return folder


@pytest.fixture(scope="module")
def few(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each of five people."""
    folder = tmp_path_factory.mktemp("few")
    for person in range(5):
        (folder / f"p{person}").mkdir()
        for shot in range(2):
            shutil.copy(crops / f"p{person}" / f"{shot}.png", folder / f"p{person}")
    return folder


@pytest.fixture(scope="module")
def found(net: Path, quantized: Path, named: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bitface.jobs.analyse import AnalyseRequest, analyse_student

    out = tmp_path_factory.mktemp("analysis")
    analyse_student(
        AnalyseRequest(net, quantized / "model.bitface", FaceSource([named], labels="folder"), out, faces=True)
    )
    return out


def content(out: Path) -> dict[str, Any]:
    return json.loads((out / "analysis.json").read_text())


def test_labelled_faces(found: Path, net: Path, quantized: Path, named: Path) -> None:
    result = content(found)
    assert sorted(path.name for path in found.iterdir()) == ["analysis.html", "analysis.json"]
    facts = {"used": 45, "classes": 11, "alone": 1, "images": 45, "labels": "folder", "folder": str(named)}
    assert result["faces"] == facts
    assert any("1 of 12 classes have one face only" in note for note in result["notes"])
    # The same from the embeddings, by hand.
    files = sorted(named.glob("*/*.png"))
    first, second = (
        load(path, preprocess=word).embed([str(file) for file in files])
        for path, word in ((net, "rgb-127.5-128"), (quantized / "model.bitface", None))
    )
    labels = np.unique([file.parent.name for file in files], return_inverse=True)[1]
    means = dissect(first, second, labels).means()
    assert result["errors"]["as embedded"] == pytest.approx(means, abs=1e-6)
    assert result["errors"]["rotation taken out"]["face"] < means["face"] + 1e-6
    assert result["teacher"]["preprocess"] == result["student"]["preprocess"] == "rgb-127.5-128"
    assert (result["student"]["bits"], result["student"]["method"]) == ("w8a8", "ptq")
    assert set(result["angles"]) == {"errors", "errors without rotation", "inter-class", "within-class"}
    assert result["angles"]["inter-class"]["teacher"]["count"] == 11 * 10 / 2
    assert result["angles"]["within-class"]["student"]["count"] == 44
    assert result["layers"]["points"][0]["name"] == "image"
    assert len(result["map"]["student"]) == len(result["map"]["group"]) == 45
    assert result["flips"]["pairs"] == "all pairs"
    assert result["diagnosis"]["command"].startswith("bitface ")


def test_the_page_stands_alone_and_names_stay_text(found: Path) -> None:
    text = (found / "analysis.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "http://" not in text
    assert "https://" not in text
    shown = content(found)["flips"]["worst"]
    assert ("data:image/jpeg" in text) == bool(shown)


def test_without_labels_classes_are_called_what_they_are(
    bitface: Run, net: Path, quantized: Path, few: Path, tmp_path: Path
) -> None:
    results = []
    for out in (tmp_path / "out", tmp_path / "again"):
        code, text, err = bitface("analyse", net, quantized / "model.bitface", "--images", few, "--out", out)
        assert code == 0, err
        assert "pseudo-class" in err
        assert "next: bitface" in text
        results.append(
            {key: value for key, value in content(out).items() if key not in ("created", "seconds", "files")}
        )
    result, again = results
    assert again == result
    assert result["class_word"] == "pseudo-class"
    assert result["flips"] is None
    assert not {"class", "inter-class", "within-class"} & {*result["errors"]["as embedded"], *result["angles"]}
    assert "data:image" not in (tmp_path / "out" / "analysis.html").read_text()


def test_pairs_of_a_list_at_the_artifacts_own_threshold(
    bitface: Run, net: Path, quantized: Path, few: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.csv"
    rows = [f"p{one}/0.png,p{one}/1.png,1\np{one}/0.png,p{(one + 1) % 5}/1.png,0" for one in range(5)]
    # The same pairs four times: 20 impostor pairs support a FAR of 0.5.
    pairs.write_text("\n".join(["a,b,same", *rows * 4]))
    model = tmp_path / "model.bitface"
    stored = artifact.read(quantized / "model.bitface")
    # Nothing reaches this threshold: every genuine pair that the teacher accepts is lost.
    own = {"far": 0.5, "threshold": 1.0}
    artifact.write(model, replace(stored, thresholds=[own, {**own, "far": 0.4, "flip": True}]))
    code, out, err = bitface(
        "analyse", net, model, "--images", few, "--pairs", pairs, "--out", tmp_path / "out", "--faces"
    )
    assert code == 0, err
    assert "for embeddings with mirrored images added" in err
    result = content(tmp_path / "out")
    (point,) = result["flips"]["points"]
    assert (point["far"], point["student"], point["own"]) == (0.5, 1.0, True)
    assert (point["genuine"], point["impostor"]) == (20, 20)
    assert point["rejected"] > 10
    assert point["accepted"] == 0
    assert "the student alone rejects" in out
    first = result["flips"]["worst"][0]
    assert first["same"]
    assert (few / first["left"]).is_file()
    assert [one["damage"] for one in result["flips"]["worst"]] == sorted(
        (one["damage"] for one in result["flips"]["worst"]), reverse=True
    )
    shown = 2 * min(24, len(result["flips"]["worst"]))
    assert (tmp_path / "out" / "analysis.html").read_text().count("data:image/jpeg") == shown


def test_a_collapsed_student_names_what_broke_it(
    bitface: Run, net: Path, quantized: Path, few: Path, tmp_path: Path
) -> None:
    stored = artifact.read(quantized / "model.bitface")
    graph = stored.network.graph
    name = [name for name, module in graph.named_modules() if name.endswith("_a8")][6]
    quantizer: Any = graph.get_submodule(name)
    quantizer.scale = quantizer.scale / 30
    model = tmp_path / "model.bitface"
    artifact.write(model, stored)
    code, out, err = bitface("analyse", net, model, "--images", few, "--out", tmp_path / "out")
    assert code == 0, err
    assert f"The damage starts at the quantizer {name}" in out
    assert "saturates" in out
    assert "--observer minmax" in out
    assert "the damage starts here" in (tmp_path / "out" / "analysis.html").read_text()


def test_a_float_student_with_its_own_preprocessing(bitface: Run, net: Path, few: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(net, other)
    model = onnx.load(other)
    entry = model.metadata_props.add()
    entry.key, entry.value = "bitface.preprocess", "bgr-127.5-127.5"
    onnx.save(model, other)
    code, _, err = bitface(
        "analyse", net, other, "--images", few, "--preprocess", "rgb-127.5-127.5", "--out", tmp_path / "out"
    )
    assert code == 0, err
    assert "each is given its own" in err
    result = content(tmp_path / "out")
    assert (result["teacher"]["preprocess"], result["student"]["preprocess"]) == ("rgb-127.5-127.5", "bgr-127.5-127.5")
    assert result["layers"]["start"]["name"] == "image"


def test_an_exported_student(bitface: Run, net: Path, quantized: Path, few: Path, tmp_path: Path) -> None:
    code, _, err = bitface(
        "analyse", net, quantized / "model.openvino.onnx", "--images", few, "--out", tmp_path / "out"
    )
    assert code == 0, err
    assert content(tmp_path / "out")["errors"]["as embedded"]["face"] < 30


def test_what_doesnt_fit(bitface: Run, net: Path, quantized: Path, crops: Path, pairs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = tmp_path / "wide.onnx"
    onnx.save(to_onnx(from_module(backbones.create("mobilefacenet:0.25", embedding_size=16).eval()).graph), wide)
    (tmp_path / "empty").mkdir()
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(crops / "p0" / "0.png", flat / "a.png")
    (tmp_path / "labels.csv").write_text("path,label\np0/0.png,a\n")
    (tmp_path / "one.txt").write_text("p0/0.png\n")
    (tmp_path / "file").write_text("")
    model, out = quantized / "model.bitface", tmp_path / "out"
    for arguments, word in (
        ((wide, model, "--images", crops), "embeddings of 32 numbers"),
        ((model, model, "--images", crops), "is a network that bitface has quantized"),
        ((net, tmp_path / "none.bitface", "--images", crops), "none.bitface"),
        ((net, model, "--images", tmp_path / "empty"), "no image"),
        ((net, model, "--images", tmp_path / "missing"), "no such folder"),
        ((net, model, "--images", flat, "--labels", "folder"), "no person's folder"),
        ((net, model, "--images", crops, "--labels", tmp_path / "labels.csv"), "has no label for 47 of 48"),
        ((net, model, "--images", crops, "--image-list", tmp_path / "one.txt"), "at least two"),
        ((net, model, "--images", crops, "--pairs", tmp_path / "none.csv"), "none.csv"),
        (
            (net, model, "--images", crops, "--pairs", pairs, "--labels", "folder", "--image-list", tmp_path / "two"),
            "among the faces",
        ),
    ):
        (tmp_path / "two").write_text("p0/0.png\np11/1.png\n")
        ends_in_one_line(bitface("analyse", *arguments, "--out", out), 1, word)
        assert not out.exists()
    ends_in_one_line(bitface("analyse", net, model, "--images", crops, "--out", tmp_path / "file"), 1, "is a file")


def test_people_with_one_image_each(bitface: Run, net: Path, quantized: Path, crops: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    for person in range(5):
        (alone / f"p{person}").mkdir(parents=True)
        shutil.copy(crops / f"p{person}" / "0.png", alone / f"p{person}")
    code, _, err = bitface(
        "analyse", net, quantized / "model.bitface", "--images", alone, "--labels", "folder", "--out", tmp_path / "out"
    )
    assert code == 0, err
    result = content(tmp_path / "out")
    assert "5 of 5 classes have one face only" in err
    assert set(result["errors"]["as embedded"]) == {"face"}
    assert result["flips"] is None


def test_images_that_cant_be_used(bitface: Run, net: Path, quantized: Path, few: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    shutil.copytree(few, folder)
    (folder / "p0" / "broken.png").write_text("no image")
    Image.new("RGB", (300, 120)).save(folder / "p1" / "wide.png")
    arguments = ("analyse", net, quantized / "model.bitface", "--images", folder, "--out", tmp_path / "out")
    ends_in_one_line(bitface(*arguments), 1, "--allow-skipped")
    code, _, err = bitface(*arguments, "--allow-skipped", "--labels", "folder")
    assert code == 0, err
    assert "2 of 12 faces" in err
    assert content(tmp_path / "out")["faces"]["used"] == 10
