"""Where a file's content goes: files at once, links to where they lead, devices and pipes into themselves."""

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from bitface.errors import BitfaceError
from bitface.files import atomic_path, write_bytes, write_json, write_new


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    before = path.stat().st_ino
    with atomic_path(path) as temporary:  # some libraries put a file of their own in its place
        temporary.unlink()
        temporary.touch(0o600)
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before, "written in place: a crash would leave half of it"
    umask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "other", b"new")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o640
    assert {one.name for one in tmp_path.iterdir()} == {"file", "other"}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_link_stays_and_leads_to_the_new_content(tmp_path: Path, steps: int) -> None:
    target = tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o600)
    link = target
    for step in range(steps):
        (tmp_path / f"{step}").symlink_to(link if step % 2 else os.path.relpath(link, tmp_path))
        link = tmp_path / f"{step}"
    write_json(link, {"a": 1})
    assert link.is_symlink()
    assert not target.is_symlink()
    assert json.loads(target.read_text()) == {"a": 1}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [one.name for one in target.parent.iterdir()] == ["file"]


def test_what_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "no folder").symlink_to("nowhere/gone")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to folder").symlink_to("folder")
    (tmp_path / "file").touch()
    names = {
        "dangling": "symbolic link to gone", "no folder": "symbolic link to nowhere/gone", "loop": "symbolic links",
        "folder": "is a folder", "to folder": "is a folder", "file/inside": "directory",
    }  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    for name, words in names.items():
        with pytest.raises(BitfaceError, match=words) as caught:
            write_bytes(tmp_path / name, b"x")
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    for path in (pipe, link):
        read: list[bytes] = []
        reader = threading.Thread(target=lambda read=read: read.append(pipe.read_bytes()))
        reader.start()
        write_bytes(path, b"x" * 100_000)
        reader.join(30)
        assert read == [b"x" * 100_000]
        assert stat.S_ISFIFO(pipe.lstat().st_mode)
        assert link.is_symlink()
    assert {one.name for one in tmp_path.iterdir()} == {"pipe", "link"}


def device(path: Path, minor: int) -> Path:
    """A private copy of /dev/null (3) or /dev/full (7)."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        with open(path, "rb"):
            pass
    except OSError as error:
        pytest.skip(f"no devices can be made here: {error}")
    return path


def test_a_device_stays_one(tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    (tmp_path / "link").symlink_to("null")
    for path in (null, tmp_path / "link"):
        write_bytes(path, b"x")
    full = device(tmp_path / "full", 7)
    with pytest.raises(BitfaceError, match=r"full: can't be written \(No space left on device\)"):
        write_bytes(full, b"x")
    assert stat.S_ISCHR(null.lstat().st_mode)
    assert stat.S_ISCHR(full.lstat().st_mode)
    assert {one.name for one in tmp_path.iterdir()} == {"null", "link", "full"}


def test_what_fails_in_between_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path, dangling = tmp_path / "new", tmp_path / "dangling"
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(PermissionError):
            write_new(path, b"x")
    assert list(tmp_path.iterdir()) == []
    write_new(path, b"x")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"x", 0o600)
    dangling.symlink_to("gone")
    for taken in (path, dangling):
        with pytest.raises(FileExistsError):
            write_new(taken, b"y")
    assert path.read_bytes() == b"x"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["dangling", "new"]
