"""A step of a comparison is named by everything that it depends on, so that an old one is never taken for a new one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.inputs.comparisons import Comparison, read_comparison
from bitface.jobs.candidates import request_for, step_key


def picture(path: Path, colour: int) -> None:
    Image.new("RGB", (8 + colour, 8), (colour, 0, 0)).save(path)


@pytest.mark.parametrize(
    ("change", "other"),
    [
        (lambda folder: None, False),
        (lambda folder: picture(folder / "images" / "b.png", 1), True),
        (lambda folder: picture(folder / "images" / "a.png", 2), True),
        (lambda folder: (folder / "labels.csv").write_text("path,label\na.png,2\n"), True),
        (lambda folder: (folder / "list.txt").write_text("a.png\n# all\n"), True),
        (lambda folder: (folder / "unrelated.txt").write_text("x"), False),
    ],
)
def test_the_name_of_a_step(change: Callable[[Path], object], other: bool, tmp_path: Path) -> None:
    images, labels, listed = tmp_path / "images", tmp_path / "labels.csv", tmp_path / "list.txt"
    images.mkdir()
    picture(images / "a.png", 0)
    labels.write_text("path,label\na.png,1\n")
    listed.write_text("a.png\n")
    made = Comparison(Path("net.onnx"), FaceSource([images], listed, labels=str(labels)), Path("p.txt"), ())
    request = request_for(made, "prune", {"ratio": 0.3}, made.model, Path(), True)
    before = step_key(request, "net")
    change(tmp_path)
    assert (step_key(request, "net") != before) == other


@pytest.mark.parametrize(
    "word", ["faces.zip", "faces.tar", "faces.bin", "generator:faces.onnx", "generator:faces.onnx:9"]
)
def test_files_of_faces_are_part_of_a_step(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path(word.removeprefix("generator:").removesuffix(":9"))
    file.write_bytes(b"before")
    made = Comparison(Path("net.onnx"), FaceSource([Path(word)]), Path("p.txt"), ())
    request = request_for(made, "quantize", {}, made.model, Path(), True)
    before = step_key(request, "net")
    assert step_key(request, "net") == before
    file.write_bytes(b"afterwards")
    assert step_key(request, "net") != before


def test_any_protocol_is_a_test(tmp_path: Path) -> None:
    for person in "ab":
        (tmp_path / "people" / person).mkdir(parents=True)
        for shot in range(2):
            picture(tmp_path / "people" / person / f"{shot}.png", shot)
    text = "model: net.onnx\nimages: crops\nprotocol: {people: people}\ncandidates: {w8a8: {quantize: {}}}\n"
    (tmp_path / "candidates.yaml").write_text(text)
    comparison = read_comparison(tmp_path / "candidates.yaml")
    assert comparison.opened().protocol.paths == ("a/0.png", "a/1.png", "b/0.png", "b/1.png")


def test_parts_of_a_batch_are_part_of_a_step_whose_batchnorms_learn() -> None:
    made = Comparison(Path("net.onnx"), FaceSource([Path("synthetic:8")]), Path("p.txt"), ())
    names = {}
    for step, options in (("distill", {"student": "mobilefacenet:0.25"}), ("prune", {"ratio": 0.3})):
        for parts in (1, 2):
            asked = {**options, "training": {"accumulate": parts}}
            names[step, parts] = step_key(request_for(made, step, asked, made.model, Path(), True), "net")
    assert names["distill", 1] != names["distill", 2]
    assert names["prune", 1] == names["prune", 2]
