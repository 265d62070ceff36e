"""Faces read when they are asked for."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.data.crops import Crops, Damage, pixels
from bitface.data.dataset import ChosenFaces, FaceFiles, JoinedFaces
from bitface.data.datasets.rec import RecordFaces
from bitface.data.faces import choose, find_images, load_faces
from bitface.errors import BitfaceError
from support.packed_sets import crops, decoded, jpeg, write_rec

IMAGES = [jpeg(image) for image in crops(20)]
LABELS = [number // 5 for number in range(20)]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


# 65,536 x 65,536 pixels by its header.
BOMB = (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 65536, 65536, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"0")
)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


def damaged(folder: Path, broken: dict[int, bytes]) -> RecordFaces:
    return RecordFaces(write_rec(folder, [broken.get(place, image) for place, image in enumerate(IMAGES)], LABELS))


def test_as_an_array(tmp_path: Path) -> None:
    faces = Crops(damaged(tmp_path, {}), (112, 112), Damage(20))
    expected = np.stack([decoded(image) for image in IMAGES])
    assert faces.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(faces), expected)
    np.testing.assert_array_equal(np.asarray(faces[3:9][1:]), expected[4:9])
    np.testing.assert_array_equal(faces[np.array([7, 7, 0])], expected[[7, 7, 0]])
    small = Crops(damaged(tmp_path, {}), (56, 56), Damage(20))
    np.testing.assert_array_equal(np.asarray(small), load_faces(small.files, (56, 56)).images)
    assert len({faces.content, small.content, faces[:19].content}) == 3


def test_a_damaged_image_is_replaced_by_the_next_one_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "out" / "skipped.csv"
    dataset = damaged(tmp_path / "set", {4: IMAGES[4][:300], 5: b"", 19: BOMB})
    faces = Crops(dataset, (112, 112), Damage(20, True, path))
    content, rows, bad = pixels(faces, np.array([3, 4, 5, 19, 4]))
    assert rows.tolist() == [3, 6, 6, 0, 6]
    assert {row for row, _ in bad} == {4, 5, 19}
    np.testing.assert_array_equal(content[1], decoded(IMAGES[6]))
    for _ in range(2):  # once each, however often they are met
        np.asarray(faces)
    lines = path.read_text().splitlines()
    assert lines[0] == "path,reason"
    reasons = dict(line.split(",", 1) for line in lines[1:])
    assert set(reasons) == {"000000004.jpg", "000000005.jpg", "000000019.jpg"}
    assert "truncated" in reasons["000000004.jpg"]
    assert "empty" in reasons["000000005.jpg"]
    assert "megapixels" in reasons["000000019.jpg"]
    assert len(faces.damage) == len(lines) - 1


def test_too_many_damaged_images(tmp_path: Path) -> None:
    faces = Crops(damaged(tmp_path / "set", {4: b"no image"}), (112, 112), Damage(20, False, tmp_path / "skipped.csv"))
    np.asarray(faces[:4])
    with pytest.raises(BitfaceError, match=r"1 of 20 images \(5.0%\) can't be used.*000000004.jpg"):
        np.asarray(faces)
    assert "000000004.jpg" in (tmp_path / "skipped.csv").read_text()  # nothing is lost
    every = Crops(damaged(tmp_path / "all", dict.fromkeys(range(20), b"none")), (112, 112), Damage(20, True))
    with pytest.raises(BitfaceError, match=r"20 images in a row can't be read, from 000000002\.jpg on"):
        pixels(every, np.array([2]))


def test_files_take_little_and_are_drawn_as_lists_are(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "b/one"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(crops(1, number)[0]).save(tmp_path / name / f"{number}.png")
    files = find_images([tmp_path / "a", tmp_path / "b"])  # the same names in both
    dataset = FaceFiles(files)
    assert list(dataset) == files
    for seed in range(3):
        assert list(ChosenFaces(dataset, dataset.drawn(seed))) == choose(files, None, seed)
    assert dataset.content == FaceFiles(files).content != FaceFiles(files[:-1]).content


def test_joined_sets_are_of_different_people(tmp_path: Path) -> None:
    first, second = damaged(tmp_path / "a", {}), damaged(tmp_path / "b", {})
    joined = JoinedFaces([first, second])
    assert len(joined) == 40
    assert joined.labels is not None
    assert joined.labels.tolist() == LABELS + [4 + label for label in LABELS]
    assert [joined.encoded(place) for place in (0, 19, 20, 39)] == [IMAGES[place] for place in (0, 19, 0, 19)]
    assert joined[3].person != joined[23].person
    chosen = joined[18:22][1:]
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [3, 4, 4]
