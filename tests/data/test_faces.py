"""Folders and lists of faces: the order, the draw, the geometry, and the account of what was left out."""

import csv
import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitface.data.faces import (
    FaceFile,
    batches,
    check_skipped,
    choose,
    common_size,
    crop_sizes,
    find_images,
    load_faces,
    manifest_hash,
    resizing,
)
from bitface.errors import BitfaceError, UsageError
from bitface.preprocess import Size


def save(path: Path, value: int = 0, side: int = 112, width: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(value).integers(0, 256, (side, width or side, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)


def names(files: list[FaceFile]) -> list[str]:
    return [file.relative for file in files]


def test_finds_images_below_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.Tiff", ".hidden/x.png", "b/._1.png", "b/.x.png", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.Tiff")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    files = find_images([tmp_path, tmp_path])
    assert names(files) == ["a.Tiff", "b/1.png", "b/2.JPG", "link.png"]
    assert files[1].path == tmp_path / "b" / "1.png"


def test_linked_folders_are_read_once_each(tmp_path: Path) -> None:
    """By their own name where they have one in the source, else by the first link; none that leads out of a circle."""
    for name in ("elsewhere/s1/1.png", "elsewhere/s2/1.png", "people/s3/1.png", "stranger/1.png"):
        save(tmp_path / name, side=32)
    people, elsewhere = tmp_path / "people", tmp_path / "elsewhere"
    for name, target in (
        ("a3", people / "s3"), ("s1", elsewhere / "s1"), ("s1 again", elsewhere / "s1"),
        ("s2", Path("../elsewhere/s2")),
        ("up", tmp_path), ("here", people), ("s3/loop", people), (".hidden", elsewhere), ("gone", tmp_path / "gone"),
    ):  # fmt: skip
        (people / name).symlink_to(target)
    (elsewhere / "s1" / "back").symlink_to(people / "s2")
    assert names(find_images([people])) == ["s1/1.png", "s2/1.png", "s3/1.png"]
    (tmp_path / "link").symlink_to(people)
    assert names(find_images([tmp_path / "link"])) == ["s1/1.png", "s2/1.png", "s3/1.png"]
    (people / "s4").symlink_to(elsewhere)
    assert names(find_images([people])) == ["s1/1.png", "s2/1.png", "s3/1.png"], "s4 holds what has been read"
    save(elsewhere / "s5" / "1.png", side=32)
    assert names(find_images([people])) == ["s1/1.png", "s2/1.png", "s3/1.png", "s4/s5/1.png"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_on_disk_never_matters(tmp_path: Path, seed: int) -> None:
    every = [f"{person}/{number}.png" for person in "abc" for number in range(4)]
    shuffled = random.Random(seed).sample(every, len(every))
    for name in shuffled:
        save(tmp_path / name, hash(name) % 1000, side=32)
    files = find_images([tmp_path])
    assert names(files) == every
    loaded = load_faces(files, (32, 32))
    np.testing.assert_array_equal(loaded.images[5], np.array(Image.open(tmp_path / every[5])))


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match="no such folder"):
        find_images([tmp_path / "missing"])
    (tmp_path / "file.png").touch()
    with pytest.raises(BitfaceError, match="not a folder"):
        find_images([tmp_path / "file.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BitfaceError, match="no image"):
        find_images([tmp_path, tmp_path / "empty"])


def test_a_list_is_looked_up_in_every_source(tmp_path: Path) -> None:
    for name in ("one/x.png", "one/both.png", "two/y.png", "two/both.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = tmp_path / "list.txt"
    listing.write_bytes("\ufeff# the faces\r\n\r\ny.png\r\nboth.png\r\n./x.png\r\ny.png\r\n".encode())
    sources = [tmp_path / "one", tmp_path / "two"]
    assert find_images(sources, listing) == [
        FaceFile(sources[1], "y.png"),
        FaceFile(sources[0], "both.png"),
        FaceFile(sources[0], "x.png"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../outside.png", "leads out"),
        ("a/../../outside.png", "leads out"),
        ("/etc/passwd", "leads out"),
        ("gone.png\nalso-gone.png\nhere.png", "2 of 3 .* 'gone.png'"),
        ("x" * 5000, "1 of 1"),
        ("nul\0.png", "1 of 1"),
        ("# nothing", "no image is listed"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, line: str, message: str) -> None:
    source = tmp_path / "source"
    save(source / "here.png")
    save(tmp_path / "outside.png")
    listing = tmp_path / "list.txt"
    listing.write_text(line)
    with pytest.raises(BitfaceError, match=message):
        find_images([source], listing)
    listing.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BitfaceError, match="UTF-8"):
        find_images([source], listing)


def test_choosing_depends_on_names_and_seed_alone() -> None:
    files = [FaceFile(Path("/here"), f"{index}.png") for index in range(100)]
    elsewhere = [FaceFile(Path("/there"), file.relative) for file in random.Random(0).sample(files, 100)]
    chosen = choose(files, 10, seed=1)
    assert names(chosen) == names(choose(elsewhere, 10, seed=1))
    rank = sorted(names(files), key=lambda name: hashlib.sha256(f"1:{name}".encode()).hexdigest())
    assert names(chosen) == rank[:10]
    assert names(choose(files, 20, seed=1))[:10] == names(chosen)
    assert names(choose(files, 10, seed=2)) != names(chosen)
    assert sorted(names(choose(files, None, seed=1))) == sorted(names(files))
    assert len(choose(files, 1000, seed=1)) == 100
    with pytest.raises(UsageError, match="can't choose 0"):
        choose(files, 0, seed=1)


def test_loading_takes_resizes_or_skips(tmp_path: Path) -> None:
    sizes = {
        "exact": (112, 112),
        "larger": (250, 250),
        "smaller": (32, 32),
        "tiny": (31, 31),
        "wide": (80, 120),
    }
    for name, (height, width) in sizes.items():
        save(tmp_path / f"{name}.png", side=height, width=width)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    save(tmp_path / "dot.png", side=1)
    calls: list[tuple[int, int]] = []
    loaded = load_faces(find_images([tmp_path]), progress=lambda done, total: calls.append((done, total)))
    assert names(loaded.files) == ["exact.png", "larger.png", "smaller.png"]
    assert loaded.images.shape == (3, 112, 112, 3)
    np.testing.assert_array_equal(loaded.images[0], np.array(Image.open(tmp_path / "exact.png")))
    assert loaded.resized == 2
    assert loaded.sizes == {(112, 112): 1, (250, 250): 1, (32, 32): 1}
    reasons = dict(loaded.skipped)
    assert set(reasons) == {"broken.png", "dot.png", "tiny.png", "wide.png"}
    assert reasons["wide.png"] == "not a square face crop (120x80): align it first"
    assert "too small" in reasons["dot.png"]
    assert calls == [(done, 7) for done in range(1, 8)]


def test_the_sizes_of_crops(tmp_path: Path) -> None:
    for index in range(18):
        save(tmp_path / f"{index:02}.png", side=160)
    save(tmp_path / "18.png", side=112)
    save(tmp_path / "19.png", side=80, width=120)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    files = find_images([tmp_path])
    sizes = crop_sizes(files)
    assert sizes == {(160, 160): 18, (112, 112): 1, (80, 120): 1}
    # A photograph's crop has the aligner's size.
    assert crop_sizes([FaceFile(tmp_path, "00.png", ((1.0, 2.0),) * 5)]) == {(112, 112): 1}
    many = crop_sizes(files[:20] * 500)
    assert sum(many.values()) == 512
    assert len(many) == 3
    assert not crop_sizes([])


@pytest.mark.parametrize(
    ("sizes", "common"),
    [
        ({(160, 160): 9, (112, 112): 1}, (160, 160)),
        ({(160, 160): 8, (112, 112): 1}, None),
        ({(112, 96): 3}, (112, 96)),
        ({(31, 31): 3}, None),
        ({(5000, 5000): 3}, None),
        ({}, None),
    ],
)
def test_the_size_that_crops_have_in_common(sizes: dict[tuple[int, int], int], common: tuple[int, int] | None) -> None:
    assert common_size({Size(*size): count for size, count in sizes.items()}) == common


@pytest.mark.parametrize(
    ("sizes", "size", "words"),
    [
        (
            {(160, 160): 3},
            (112, 112),
            "3 of 3 crops .* network's 112x112 .*, all of them from 160x160",
        ),
        ({(160, 160): 3, (96, 96): 2, (112, 112): 4}, (112, 112), "5 of 9 crops .*, 3 of them from 160x160"),
        ({(160, 160): 2, (112, 112): 2}, (112, 112), None),
        # Skipped, not resized.
        ({(160, 120): 3, (20, 20): 3, (112, 112): 1}, (112, 112), None),
        ({(160, 160): 3}, (112, 96), None),
        ({}, (112, 112), None),
    ],
)
def test_a_note_where_most_crops_are_resized(
    sizes: dict[tuple[int, int], int], size: tuple[int, int], words: str | None
) -> None:
    notes = resizing({Size(*own): count for own, count in sizes.items()}, size)
    assert len(notes) == (words is not None)
    assert not words or re.search(words, notes[0])


def test_shrinking_averages(tmp_path: Path) -> None:
    checks = np.indices((224, 224)).sum(0) % 2 * 255
    Image.fromarray(np.repeat(checks[..., None], 3, -1).astype(np.uint8)).save(tmp_path / "checks.png")
    image = load_faces(find_images([tmp_path])).images[0]
    assert np.abs(image.astype(int) - 127.5).max() < 1


def test_other_shapes_of_crops(tmp_path: Path) -> None:
    save(tmp_path / "a.png", side=112, width=96)
    save(tmp_path / "b.png", side=112)
    loaded = load_faces(find_images([tmp_path]), (112, 96))
    assert names(loaded.files) == ["a.png"]
    assert "96x112" in loaded.skipped[0][1]


def test_unique_drops_identical_pixels(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.bmp", 1)
    save(tmp_path / "c.png", 2)
    files = find_images([tmp_path])
    loaded = load_faces(files, unique=True)
    assert names(loaded.files) == ["a.png", "c.png"]
    assert (len(loaded.images), loaded.duplicates, loaded.skipped) == (2, 1, [])
    assert len(load_faces(files).images) == 3


@pytest.mark.parametrize("batch", [1, 2, 3, 10])
def test_batches_give_one_row_per_file(tmp_path: Path, batch: int) -> None:
    for index in range(5):
        save(tmp_path / f"{index}.png", index)
    (tmp_path / "3.png").write_bytes(b"")
    skipped: list[tuple[str, str]] = []
    parts = list(batches(find_images([tmp_path]), batch=batch, skipped=skipped))
    images, valid = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    assert max(len(part) for part, _ in parts) == min(batch, 5)
    assert valid.tolist() == [True, True, True, False, True]
    assert images.dtype == np.uint8
    assert not images[3].any()
    np.testing.assert_array_equal(images[4], np.array(Image.open(tmp_path / "4.png")))
    assert skipped == [("3.png", "empty file")]


def test_skipped_images_are_listed_and_limited(tmp_path: Path) -> None:
    listing = tmp_path / "skipped.csv"
    check_skipped([("a.png", "empty file")], 100, csv_path=listing)
    assert listing.read_text() == "path,reason\na.png,empty file\n"
    two = [("a.png", "empty file"), ("b.png", "truncated")]
    with pytest.raises(BitfaceError) as caught:
        check_skipped(two, 100, csv_path=listing)
    for part in ("2 of 100", "2.0%", "a.png: empty file", "allow_skipped=True", str(listing)):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(listing.read_text().splitlines()) == 3
    check_skipped(two, 100, allow=True)
    with pytest.raises(BitfaceError, match="no image is left"):
        check_skipped(two, 2, allow=True)
    with pytest.raises(BitfaceError, match="no images"):
        check_skipped([], 0, allow=True)
    check_skipped([], 5, csv_path=listing)
    assert not listing.exists()


def test_the_list_of_skipped_images_is_harmless_in_a_spreadsheet(tmp_path: Path) -> None:
    paths = [
        "=cmd|' /C calc'!A0.png",
        "+1.png",
        "-1.png",
        "@x.png",
        "\tx.png",
        'a,"b"\n.png',
        "bad\udcff.png",
    ]
    check_skipped([(path, "=reason") for path in paths], 10_000, csv_path=tmp_path / "skipped.csv")
    with open(tmp_path / "skipped.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == [f"'{path}" for path in paths[:5]] + [paths[5], "bad\\udcff.png"]
    assert {row[1] for row in rows} == {"'=reason"}


def test_a_list_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BitfaceError, match="can't be written"):
        check_skipped([("a", "b")], 1000, csv_path=tmp_path / "file" / "skipped.csv")


def test_a_set_of_faces_has_one_name_whatever_its_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    assert manifest_hash(images) == manifest_hash(images[::-1])
    assert manifest_hash(images) != manifest_hash(images[:5])
    assert manifest_hash(images) != manifest_hash(images.reshape(6, 4, 16, 3))
