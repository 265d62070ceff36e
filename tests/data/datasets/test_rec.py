"""InsightFace's RecordIO."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bitface.data.dataset import FaceRecord, OpenFile
from bitface.data.datasets.rec import RecordFaces
from bitface.data.images import ImageSkipped
from bitface.data.recordio import MAGIC, framed, packed, payload, record
from bitface.data.sources import Source, opened
from bitface.errors import BitfaceError
from support.packed_sets import crops, decoded, frame, image_payload, jpeg, write_rec

IMAGES = [jpeg(image) for image in crops(12)]
LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


def read(dataset: RecordFaces) -> list[bytes]:
    return [dataset.encoded(index) for index in range(len(dataset))]


@pytest.mark.parametrize("header", [True, False])
def test_images_and_labels(tmp_path: Path, header: bool) -> None:
    write_rec(tmp_path / "set", IMAGES, LABELS, header=header)
    dataset = opened(Source.parse(f"rec:{tmp_path}/set"))
    assert isinstance(dataset, RecordFaces)
    assert read(dataset) == IMAGES
    assert dataset.labels.tolist() == LABELS
    assert dataset.classes == 4
    assert dataset.notes == []
    file = dataset[5]
    assert isinstance(file, FaceRecord)
    assert file.encoded == IMAGES[5]
    assert file.person == dataset[6].person != dataset[4].person
    again = pickle.loads(pickle.dumps(dataset))
    assert read(again) == IMAGES


def test_the_file_itself_and_other_names(tmp_path: Path) -> None:
    folder = write_rec(tmp_path, IMAGES, LABELS)
    for suffix in ("rec", "idx"):
        (folder / f"train.{suffix}").rename(folder / f"faces.{suffix}")
    assert read(RecordFaces(folder)) == read(RecordFaces(folder / "faces.rec")) == IMAGES


def test_records_with_several_labels(tmp_path: Path) -> None:
    """The first is the identity; a flag says how many there are."""
    content = frame(image_payload(0, [7.0, 0.5, 0.25], IMAGES[0])) + frame(image_payload(1, [2.0, 0.5], IMAGES[1]))
    (tmp_path / "train.rec").write_bytes(content)
    (tmp_path / "train.idx").write_text(f"0\t0\n1\t{len(frame(image_payload(0, [7.0, 0.5, 0.25], IMAGES[0])))}\n")
    dataset = RecordFaces(tmp_path)
    assert dataset.labels.tolist() == [7, 2]
    assert read(dataset) == IMAGES[:2]
    assert dataset.record(0).labels == (7.0, 0.5, 0.25)
    assert "property" in dataset.notes[0]


def test_payloads_that_hold_the_number_of_a_record(tmp_path: Path) -> None:
    """It is cut out where it stands at a multiple of 4, and only there; the parts make the payload again."""
    contents = [
        MAGIC, b"ab" + MAGIC, b"abcd" + MAGIC + b"e", MAGIC + MAGIC, b"1234" + MAGIC + b"5678" + MAGIC + b"9", b"",
    ]  # fmt: skip
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}"
        path.write_bytes(framed(content))
        assert payload(OpenFile(path), 0) == content
        cuts = sum(content[place : place + 4] == MAGIC for place in range(0, len(content), 4))
        assert framed(content).count(MAGIC) == 1 + cuts + (content.count(MAGIC) - cuts)
    by_hand = frame(b"abcd", 1) + frame(b"efgh", 2) + frame(b"i", 3)
    (tmp_path / "parts").write_bytes(by_hand)
    assert payload(OpenFile(tmp_path / "parts"), 0) == b"abcd" + MAGIC + b"efgh" + MAGIC + b"i"
    assert framed(b"abcd" + MAGIC + b"efgh" + MAGIC + b"i") == by_hand
    (tmp_path / "image").write_bytes(packed(3, (4.0,), IMAGES[0]))
    assert record(OpenFile(tmp_path / "image"), 0).image == IMAGES[0]


def test_an_index_in_another_order(tmp_path: Path) -> None:
    write_rec(tmp_path, IMAGES, LABELS)
    lines = (tmp_path / "train.idx").read_text().splitlines()
    (tmp_path / "train.idx").write_text("\n".join(reversed(lines)))
    assert read(RecordFaces(tmp_path)) == IMAGES


def test_the_content_is_told_without_paths_and_times(tmp_path: Path) -> None:
    first, copy = (RecordFaces(write_rec(tmp_path / name, IMAGES, LABELS)) for name in "ab")
    other = RecordFaces(write_rec(tmp_path / "c", [*IMAGES[:-1], jpeg(crops(1, 9)[0])], LABELS))
    assert first.content == copy.content != other.content
    assert first[:5].content == copy[:5].content != first[1:6].content


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "train.rec",
            lambda text: text[: len(text) // 2],
            r"train\.rec: is truncated: it has .* \d+ of the 17 records",
        ),
        ("train.rec", lambda text: text[:-2], "truncated in its last record"),
        ("train.rec", lambda text: b"\0" * len(text), "is the index of another file than train.rec"),
        ("train.rec", lambda text: b"", "is the index of another file"),
        ("train.idx", lambda text: text.replace(b"\t", b"\t1"), "is the index of another file"),
        ("train.idx", lambda text: text + b"17\n", "a key and an offset in each line"),
        ("train.idx", lambda text: b"nothing", "a key and an offset in each line"),
        ("train.idx", lambda text: b"", "lists no record"),
        ("train.idx", lambda text: text + text[:4], "lists the record 0 twice"),
        ("train.idx", None, r"train\.idx: isn't there"),
        ("train.rec", None, "holds no .rec"),
        ("property", lambda text: b"many", "should be IDENTITIES,HEIGHT,WIDTH"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, name: str, change: object, message: str) -> None:
    write_rec(tmp_path, IMAGES, LABELS)
    path = tmp_path / name
    if callable(change):
        path.write_bytes(change(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(BitfaceError, match=message) as error:
        RecordFaces(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", [4.0, -1.0, 0.5, 1e9])
def test_labels_out_of_range(tmp_path: Path, label: float) -> None:
    dataset = RecordFaces(write_rec(tmp_path, IMAGES, [*LABELS[:-1], label], classes=4))
    assert read(dataset) == IMAGES  # who doesn't ask for labels goes on
    with pytest.raises(BitfaceError, match=r"1 of 12 labels are out of range, the first that of image 11.*0 to 3"):
        dataset.labels  # noqa: B018


def test_labels_that_records_cant_tell_apart(tmp_path: Path) -> None:
    """They are numbers of 32 bits with a point, which hold every whole number up to 2^24."""
    write_rec(tmp_path, IMAGES, [*LABELS[:-1], 2.0**24])
    (tmp_path / "property").unlink()
    with pytest.raises(BitfaceError, match="records tell apart whole numbers from 0 to 16777215"):
        RecordFaces(tmp_path).labels  # noqa: B018


def test_a_missing_property_is_said(tmp_path: Path) -> None:
    write_rec(tmp_path, IMAGES, LABELS)
    (tmp_path / "property").unlink()
    dataset = RecordFaces(tmp_path)
    assert dataset.labels.tolist() == LABELS
    assert "isn't there" in dataset.notes[0]


def test_a_damaged_record_is_that_record_alone(tmp_path: Path) -> None:
    folder = write_rec(tmp_path, IMAGES, LABELS)
    offsets = [int(line.split("\t")[1]) for line in (folder / "train.idx").read_text().splitlines()]
    content = bytearray((folder / "train.rec").read_bytes())
    content[offsets[4] : offsets[4] + 4] = b"\0\0\0\0"
    content[offsets[6] + 4 : offsets[6] + 8] = b"\xff\xff\xff\x1f"
    (folder / "train.rec").write_bytes(content)
    dataset = RecordFaces(folder)
    for index, reason in ((3, "no record begins"), (5, "ends beyond the file")):
        with pytest.raises(ImageSkipped, match=reason):
            dataset.encoded(index)
    assert [index for index in range(12) if index not in (3, 5) and dataset.encoded(index) != IMAGES[index]] == []
    assert dataset.labels.tolist() == [*LABELS[:3], 0, *LABELS[4:]]


def test_pixels_are_those_of_the_jpegs(tmp_path: Path) -> None:
    from bitface.data.faces import load_faces

    dataset = RecordFaces(write_rec(tmp_path, IMAGES, LABELS))
    np.testing.assert_array_equal(load_faces(dataset).images, np.stack([decoded(image) for image in IMAGES]))
