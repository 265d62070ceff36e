"""Images packed into one file."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitface.data.datasets.shards import unpacked
from bitface.data.face_source import FaceSource
from bitface.data.faces import find_images, load_faces
from bitface.data.sources import Source, cached
from bitface.errors import BitfaceError
from bitface.inputs.faces import gather

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def packed(path: Path, names: list[str], mode: Any = "w") -> Path:
    """The images under these names, and a text beside each."""
    files: dict[str, bytes] = {}
    for name, image in zip(names, IMAGES, strict=False):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files[name] = file.getvalue()
        files[f"{name}.cls"] = b"7"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


NAMES = [f"p{index // 2}/{index}.png" for index in range(6)]


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.ZIP", "")])
def test_every_image_comes_out(tmp_path: Path, name: str, mode: str) -> None:
    made = packed(tmp_path / name.lower(), NAMES, mode or "w")
    path = made.rename(tmp_path / name)
    folder = unpacked(path)
    files = find_images([folder])
    assert [file.relative for file in files] == NAMES
    np.testing.assert_array_equal(load_faces(files).images, IMAGES)
    before = folder.stat().st_mtime_ns
    assert unpacked(path) == cached(Source.parse(path)) == folder
    assert folder.stat().st_mtime_ns == before


def test_as_a_source_beside_a_folder(tmp_path: Path) -> None:
    shard = packed(tmp_path / "a.tar", NAMES[:4])
    (tmp_path / "more").mkdir()
    for index in (4, 5):
        Image.fromarray(IMAGES[index]).save(tmp_path / "more" / f"{index}.png")
    gathered = gather(FaceSource([shard, tmp_path / "more"]), (112, 112))
    assert gathered.total == 6
    assert gathered.kind == "real or unknown"


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "C:/out.png", "..\\out.png"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_leaves_the_folder(tmp_path: Path, cache: Path, name: str, kind: str) -> None:
    path = packed(tmp_path / f"a.{kind}", ["in.png", name])
    with pytest.raises(BitfaceError, match="leads out of the folder"):
        unpacked(path)
    assert not list((cache / "shards").iterdir())
    assert not list(tmp_path.rglob("out.png"))


def test_links_are_left_alone(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", NAMES[:1])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert [file.relative for file in find_images([unpacked(path)])] == NAMES[:1]


def test_files_that_are_no_shards(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(BitfaceError, match=r"gone.tar: can't be unpacked \(No such file"):
        unpacked(tmp_path / "gone.tar")
    for name in ("a.tar", "a.zip"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(BitfaceError, match=r"is no whole \.tar or \.zip file"):
            unpacked(tmp_path / name)
    whole = packed(tmp_path / "whole.tar", NAMES).read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BitfaceError, match=r"half\.tar"):
        unpacked(tmp_path / "half.tar")
    with pytest.raises(BitfaceError, match=r"no image .* is packed in it"):
        unpacked(packed(tmp_path / "empty.tar", []))
    assert not list((cache / "shards").iterdir())


def sparse(size: int) -> bytes:
    """A tar file with a header of GNU's sparse files alone: nothing is stored, and so many zeros are to be read."""
    member = tarfile.TarInfo("sparse.png")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"%011o\0" % size  # its real size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def bomb(path: Path) -> Path:
    """A small archive that would fill a disk, or the memory."""
    size = 70 << 20
    match path.name:
        case "zeros.zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr("a.bmp", bytes(size))
        case "sparse.tar":
            path.write_bytes(sparse(1 << 32))
        case "name.tar.gz":
            with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(tarfile.TarInfo("x" * (2 << 20) + ".png"))
        case _:
            with tarfile.open(path, "w:gz", compresslevel=1) as tar:
                # Of no image either: it would be read through.
                member = tarfile.TarInfo("a.bmp" if path.name == "zeros.tar.gz" else "a.txt")
                member.size = size
                tar.addfile(member, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("zeros.zip", "would unpack 73,400,320 bytes or more"),
        ("zeros.tar.gz", "would unpack"),
        ("beside.tar.gz", "would unpack"),
        ("name.tar.gz", "a header of 2,097,"),
        ("sparse.tar", "would unpack"),
    ],
)
def test_bombs(tmp_path: Path, cache: Path, name: str, why: str) -> None:
    path = bomb(tmp_path / name)
    with pytest.raises(BitfaceError, match=why) as caught:
        unpacked(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not list((cache / "shards").iterdir())


def test_modes_and_owners_stay_behind(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", NAMES[:1])
    content = Path(unpacked(path) / NAMES[0]).read_bytes()
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        member = tarfile.TarInfo(NAMES[0])
        member.size, member.mode, member.uid, member.mtime = len(content), 0o6777, 12345, 0
        archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as zipped:
        info = zipfile.ZipInfo(NAMES[0])
        info.external_attr = 0o106777 << 16
        zipped.writestr(info, content)
    for name in ("b.tar", "b.zip"):
        status = (unpacked(tmp_path / name) / NAMES[0]).stat()
        assert status.st_mode & 0o7111 == 0
        assert status.st_uid == tmp_path.stat().st_uid
        assert status.st_mtime > 0


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_name_that_stands_twice(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a.png", b"1")
            with pytest.warns(UserWarning, match="Duplicate"):
                zipped.writestr("a.png", b"2")
    else:
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("a.png"))
            archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(BitfaceError, match=r"a\.\w+: holds 'a.png' twice"):
        unpacked(path)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_inside_what_is_compressed(tmp_path: Path, kind: int) -> None:
    """Each way to compress has errors of its own."""
    image, random = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(IMAGES[0] // 64).save(image, "BMP")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", kind) as archive:
        archive.writestr("a.bmp", image.getvalue())
    whole = (tmp_path / "whole.zip").read_bytes()
    for number in range(20):
        content = bytearray(whole)
        for place in random.integers(40, len(whole) - 100, 3):
            content[place] ^= 1 << int(random.integers(8))
        path = tmp_path / f"{number}.zip"
        path.write_bytes(content)
        with pytest.raises(BitfaceError, match=rf"{number}\.zip") as caught:
            unpacked(path)
        assert "\n" not in str(caught.value)
