"""WebDataset's tar files, read where they lie."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import pytest

from bitface.data.dataset import FaceDataset
from bitface.data.sources import Source, opened
from bitface.errors import BitfaceError
from support.packed_sets import crops, jpeg, write_tar

IMAGES = [jpeg(image) for image in crops(12)]
LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))


def shards(folder: Path, as_json: bool = False) -> Path:
    for number in range(3):
        part = slice(4 * number, 4 * number + 4)
        write_tar(folder / f"faces-{number:03}.tar", IMAGES[part], LABELS[part], as_json)
    return folder


def read(dataset: FaceDataset) -> list[object]:
    return [dataset.encoded(index) for index in range(len(dataset))]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("word", ["", "/*.tar", "/faces-{000..002}.tar", "/faces-00{0,1,2}.tar"])
def test_images_and_labels(tmp_path: Path, word: str, as_json: bool) -> None:
    dataset = opened(Source.parse(f"tar:{shards(tmp_path / 'set', as_json)}{word}"))
    assert read(dataset) == read(pickle.loads(pickle.dumps(dataset))) == IMAGES
    assert dataset.labels is not None
    assert dataset.labels.tolist() == LABELS
    assert dataset.name(5) == "faces-001.tar/faces-001_000001.jpg"


def test_without_labels_and_with_names(tmp_path: Path) -> None:
    plain = opened(Source.parse(f"tar:{write_tar(tmp_path / 'a.tar', IMAGES, None)}"))
    assert plain.labels is None
    named = opened(Source.parse(f"tar:{write_tar(tmp_path / 'b.tar', IMAGES[:3], ['Zoe', 'Ann', 'Zoe'])}"))
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0, 1]
    assert read(plain)[:3] == read(named)


def test_a_changed_file_is_indexed_again(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", IMAGES[:3], None)
    assert len(opened(Source.parse(f"tar:{path}"))) == 3
    write_tar(path, IMAGES, None)
    assert read(opened(Source.parse(f"tar:{path}"))) == IMAGES


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    def refused(word: Path | str, message: str) -> None:
        with pytest.raises(BitfaceError, match=message) as error:
            opened(Source.parse(f"tar:{word}"))
        assert "\n" not in str(error.value)

    whole = write_tar(tmp_path / "a.tar", IMAGES, LABELS).read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.tar", r"half\.tar: is (truncated|no whole)")
    (tmp_path / "none.tar").write_bytes(b"nothing of the kind" * 100)
    refused(tmp_path / "none.tar", r"is no whole \.tar file")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole))
    refused(tmp_path / "a.tar.gz", r"is no plain \.tar")
    refused(tmp_path / "gone.tar", "no such file")
    refused(tmp_path / "gone-*.tar", "no such file")
    refused(write_tar(tmp_path / "empty.tar", [], None), "no image .* is packed in it")
    refused(write_tar(tmp_path / "low.tar", IMAGES[:2], [0, -1]), "the label -1 is out of range")
    refused(write_tar(tmp_path / "float.tar", IMAGES[:2], [0.5, 1], True), "says the label 0.5")
    write_tar(tmp_path / "mixed/1.tar", IMAGES[:2], [0, 1])
    write_tar(tmp_path / "mixed/2.tar", IMAGES[2:4], None)
    refused(tmp_path / "mixed", "2 of 4 images have no label beside them")


def of(path: Path, *members: tuple[str, bytes]) -> Path:
    """A tar file of just these."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_large_labels_stay_apart(tmp_path: Path) -> None:
    """Numbers of accounts: beyond 32 bits, and beyond 63."""
    for labels in ([5, 4294967301, 2147483648, 5], [2**63 + 5, 5, 2**70, 2**63 + 5]):
        dataset = opened(Source.parse(f"tar:{write_tar(tmp_path / f'{len(str(labels))}.tar', IMAGES[:4], labels)}"))
        assert dataset.labels is not None
        assert [dataset.labels.tolist().index(label) for label in dataset.labels] == [0, 1, 2, 0]


def test_what_is_named_is_read_whatever_it_would_mean_as_a_pattern(tmp_path: Path) -> None:
    wanted = write_tar(tmp_path / "set[1]" / "x{1,2}.tar", IMAGES[:2], None)
    write_tar(tmp_path / "set1" / "x1.tar", IMAGES[2:], None)
    for word in (wanted, wanted.parent):
        assert read(opened(Source.parse(f"tar:{word}"))) == IMAGES[:2]


def test_sets_that_lie_in_one_folder_are_of_different_people(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1", "b2"):
        write_tar(tmp_path / f"{name}.tar", IMAGES[:2], [0, 1])
    sets = [opened(Source.parse(f"tar:{tmp_path}/{name}*.tar")) for name in ("a", "b")]
    assert len({file.person for dataset in sets for file in dataset}) == 4


def test_images_and_labels_that_would_be_lost(tmp_path: Path) -> None:
    def refused(message: str, *members: tuple[str, bytes]) -> None:
        with pytest.raises(BitfaceError, match=message) as error:
            opened(Source.parse(f"tar:{of(tmp_path / 'a.tar', *members)}"))
        assert "\n" not in str(error.value)

    image = IMAGES[0]
    refused("Robert_Downey_Jr._0001.jpg has a point", ("p/ok.jpg", image), ("p/Robert_Downey_Jr._0001.jpg", image))
    refused("a.cls holds no label", ("a.jpg", image), ("a.cls", b""))
    refused("says the label 2, and another file 1", ("a.jpg", image), ("a.cls", b"1"), ("a.json", b'{"label": 2}'))
    refused("holds two files a.jpg", ("a.jpg", image), ("a.jpg", image))
    whole = of(tmp_path / "b.tar", ("a.jpg", image), ("a.seg.png", b"a mask"))
    assert len(opened(Source.parse(f"tar:{whole}"))) == 1
