"""What a set of faces holds, what is wrong with it, and the same set in another form."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bitface.data.face_source import FaceSource
from bitface.data.sources import Source, opened
from bitface.errors import BitfaceError, UsageError
from bitface.jobs.datasets import check_dataset, describe_dataset, pack_dataset
from support.packed_sets import crops, jpeg, write_rec, write_tar

CROPS = crops(12)
IMAGES = [jpeg(image) for image in CROPS]
LABELS = [2, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


def source(*words: object, **settings: object) -> FaceSource:
    return FaceSource([Path(str(word)) for word in words], workers=0, **settings)  # type: ignore[arg-type]


def folder(path: Path) -> Path:
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (path / f"p{label}").mkdir(parents=True, exist_ok=True)
        (path / f"p{label}" / f"{number:02}.jpg").write_bytes(image)
    return path


def test_what_a_set_holds(tmp_path: Path) -> None:
    expected = {
        "images": 12, "identities": 4, "alone": 0, "per_identity": {"least": 2, "median": 2.5, "most": 5},
        "sizes": {"112x112": 12}, "warnings": [], "notes": [],
    }  # fmt: skip
    words = [
        f"rec:{write_rec(tmp_path / 'rec', IMAGES, LABELS)}",
        f"tar:{write_tar(tmp_path / 'a.tar', IMAGES, LABELS)}",
        str(folder(tmp_path / "crops")),
    ]
    for word in words:
        content = describe_dataset(source(word))
        assert {key: content[key] for key in expected} == expected
        assert content["bytes"] >= sum(map(len, IMAGES))
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.jpg").write_bytes(IMAGES[0])
    assert describe_dataset(source(flat))["identities"] is None
    write_rec(tmp_path / "wrong", IMAGES, [*LABELS[:-1], 9], classes=4)
    assert "1 of 12 labels are out of range" in describe_dataset(source(f"rec:{tmp_path / 'wrong'}"))["warnings"][0]


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_and_copies(tmp_path: Path, workers: int) -> None:
    images, labels = [*IMAGES, IMAGES[0], jpeg(CROPS[3], 40), IMAGES[1][:200], IMAGES[9]], [*LABELS, 2, 0, 1, 3]
    write_rec(tmp_path, images, labels)
    content = check_dataset(FaceSource([Path(f"rec:{tmp_path}")], workers=workers))
    assert content["damaged"] == [["000000014.jpg", "truncated: the file ends before the image does"]]
    assert content["identical"] == [["000000000.jpg", "000000012.jpg", True], ["000000009.jpg", "000000015.jpg", True]]
    assert content["near"] == [["000000003.jpg", "000000013.jpg", False]]  # the same picture under two names


@pytest.mark.parametrize("form", ["rec", "tar"])
@pytest.mark.parametrize("given", ["folder", "rec", "tar"])
def test_every_form_from_every_form(tmp_path: Path, form: str, given: str) -> None:
    word = {
        "folder": lambda: folder(tmp_path / "given"),
        "rec": lambda: f"rec:{write_rec(tmp_path / 'given', IMAGES, LABELS)}",
        "tar": lambda: f"tar:{write_tar(tmp_path / 'given/a.tar', IMAGES, LABELS)}",
    }[given]()
    content = pack_dataset(source(word), f"{form}:{tmp_path / 'out'}")
    assert (content["images"], content["identities"], content["skipped"]) == (12, 4, [])
    dataset = opened(Source.parse(content["out"]))
    order = np.argsort(LABELS, kind="stable")
    assert [dataset.encoded(place) for place in range(12)] == [IMAGES[place] for place in order]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == sorted(LABELS)
    assert describe_dataset(source(content["out"]))["notes"] == []


def test_the_records_are_insightfaces(tmp_path: Path) -> None:
    """Record 0 says where images end; then a record for each identity says where its images are."""
    pack_dataset(source(folder(tmp_path / "crops")), f"rec:{tmp_path / 'out'}")
    own = write_rec(tmp_path / "own", [IMAGES[place] for place in np.argsort(LABELS, kind="stable")], sorted(LABELS))
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "out" / name).read_bytes() == (own / name).read_bytes()


def test_damaged_images_are_left_out_and_named(tmp_path: Path) -> None:
    images = [*IMAGES[:5], b"none", *IMAGES[6:]]
    word = f"rec:{write_rec(tmp_path / 'given', images, LABELS)}"
    with pytest.raises(BitfaceError, match=r"1 of 12 images \(8.3%\) can't be used"):
        pack_dataset(source(word), f"tar:{tmp_path / 'out'}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "given"]  # nothing is left behind
    content = pack_dataset(source(word, allow_skipped=True), f"tar:{tmp_path / 'out'}")
    assert content["images"] == 11
    assert content["skipped"][0][0] == "000000005.jpg"


def test_refused(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "a.tar", IMAGES, None)
    with pytest.raises(UsageError, match="nobody says who is on its images"):
        pack_dataset(source(f"tar:{plain}"), f"rec:{tmp_path / 'out'}")
    assert pack_dataset(source(f"tar:{plain}"), f"tar:{tmp_path / 'out'}")["identities"] is None
    with pytest.raises(BitfaceError, match="exists and isn't an empty folder"):
        pack_dataset(source(f"tar:{plain}"), f"tar:{tmp_path / 'out'}")
    with pytest.raises(UsageError, match="is rec:FOLDER or tar:FOLDER, not 'rek:x'; did you mean 'rec'"):
        pack_dataset(source(f"tar:{plain}"), "rek:x")


def test_labels_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label"))
        for number, image in enumerate(CROPS):
            Image.fromarray(cv2.GaussianBlur(image, (0, 0), 1)).save(tmp_path / "flat" / f"{number}.png")
            rows.writerow((f"{number}.png", f"person {LABELS[number]}"))
    content = pack_dataset(source(tmp_path / "flat", labels=str(tmp_path / "labels.csv")), f"rec:{tmp_path / 'out'}")
    assert content["identities"] == 4
    assert json.dumps(content)


def test_crops_of_another_shape_are_no_damage(tmp_path: Path) -> None:
    for number, image in enumerate([*CROPS[:5], CROPS[0]]):
        Image.fromarray(image[:, 8:104]).save(tmp_path / f"{number}.png")
    content = check_dataset(source(tmp_path))
    assert content["damaged"] == []
    assert [pair[:2] for pair in content["identical"]] == [["0.png", "5.png"]]
