"""A step of a comparison is named by everything that it depends on, so that an old one is never taken for a new one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.inputs.comparisons import Comparison
from bitface.jobs.candidates import key_of, request_for


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
    before = key_of(request, "net")
    change(tmp_path)
    assert (key_of(request, "net") != before) == other
