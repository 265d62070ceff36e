"""Folders for what isn't whole yet: gone with their block, and with the next process where theirs was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bitface import scratch as module
from bitface.errors import BitfaceError
from bitface.files import filled_once, new_folder, write_bytes
from bitface.jobs.synth import synthesize
from bitface.scratch import scratch
from bitface.targets.write import check_place

HELD = """
import sys, time
from pathlib import Path
from bitface.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print(folder.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks as one does that has just begun."""
    monkeypatch.setattr(module, "_seen", set())


def held(place: Path) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen([sys.executable, "-c", HELD, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_it_goes_with_its_block(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "file").touch()
        assert list(tmp_path.iterdir()) == [folder]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), scratch(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("another_process")
def test_what_a_killed_process_left_goes_and_what_a_live_one_has_stays(tmp_path: Path) -> None:
    killed, left = held(tmp_path)
    killed.kill()
    killed.wait()
    living, own = held(tmp_path)  # which removes what the first one left
    assert [path.name for path in tmp_path.iterdir()] == [own]
    assert own != left
    write_bytes(tmp_path / "file", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {own, "file"}
    living.send_signal(signal.SIGKILL)
    living.wait()
    module._seen.clear()
    write_bytes(tmp_path / "file", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def _into_a_full_folder(folder: Path) -> None:
    with new_folder(folder):
        raise AssertionError("it is refused before")


@pytest.mark.usefixtures("another_process")
@pytest.mark.parametrize(
    "refused", [_into_a_full_folder, partial(check_place, "ncnn"), partial(synthesize, "synthetic:1")]
)
def test_what_a_killed_process_left_goes_where_its_folder_is_refused(
    tmp_path: Path, refused: Callable[[Path], None]
) -> None:
    killed, left = held(tmp_path)
    killed.kill()
    killed.wait()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert (tmp_path / left).is_dir()
    with pytest.raises(BitfaceError):
        refused(tmp_path / "full")
    assert {path.name for path in tmp_path.iterdir()} == {"full"}
    assert (tmp_path / "full" / "file").exists()


@pytest.mark.usefixtures("another_process")
def test_nothing_of_others_goes(tmp_path: Path) -> None:
    others = [".bitface-projects", ".bitface", ".bitface-0123456789ABCDEF", ".bitface-0123", ".file.0123abcd"]
    for name in others:
        (tmp_path / name).mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    (tmp_path / f".bitface-{'0' * 16}").symlink_to(target)
    (tmp_path / f".bitface-{'1' * 16}").touch()
    before = {path.name for path in tmp_path.iterdir()}
    with scratch(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (target / "file").exists()


@pytest.mark.usefixtures("another_process")
def test_a_folder_that_is_taken_for_left_behind_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its beginning and its lock another process may come by."""
    before = module._held
    removed: list[Path] = []

    def late(folder: Path, way: int) -> int:
        if not removed:
            removed.append(folder)
            folder.rmdir()
        return before(folder, way)

    monkeypatch.setattr(module, "_held", late)
    with scratch(tmp_path) as folder:
        assert folder.is_dir()
        assert folder != removed[0]


def test_whole_folders_appear_at_once(tmp_path: Path) -> None:
    seen = []

    def fill(folder: Path) -> None:
        (folder / "file").touch()
        seen.append((tmp_path / "once").exists())

    umask = os.umask(0o027)
    try:
        filled_once(tmp_path / "once", fill)
        with new_folder(tmp_path / "new") as folder:
            (folder / "file").touch()
            seen.append((tmp_path / "new").exists())
    finally:
        os.umask(umask)
    assert seen == [False, False]
    for name in ("once", "new"):
        assert (tmp_path / name / "file").exists()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o750
    assert {path.name for path in tmp_path.iterdir()} == {"once", "new"}
