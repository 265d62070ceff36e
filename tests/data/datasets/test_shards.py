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
