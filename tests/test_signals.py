"""Whatever ends a command from outside ends it with one line, a shell's exit code, and nothing half-written."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitface import signals

# A command that writes, and gets a signal in the middle of it.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from bitface.cli import main
from bitface.store import Store
from bitface.files import atomic_path, new_folder

place, number = Path(sys.argv[1]), int(sys.argv[2])

def contents(*_):
    with atomic_path(place / "file") as file, new_folder(place / "folder") as folder:
        file.write_text("half")
        (folder / "part").touch()
        os.kill(os.getpid(), number)
        time.sleep(0.2)
    return {}

Store.contents = contents
sys.argv = ["bitface", "cache"]
main()
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def ended(place: Path, number: int, ignored: tuple[int, ...] = ()) -> "subprocess.CompletedProcess[str]":
    def begin() -> None:
        for one in CODES:
            signal.signal(one, signal.SIG_IGN if one in ignored else signal.default_int_handler)

    command = [sys.executable, "-c", PROGRAM, str(place), str(number)]
    environment = {**os.environ, "BITFACE_CACHE": str(place / "cache")}
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=begin, env=environment)


@pytest.mark.parametrize(("number", "code"), CODES.items())
def test_one_line_its_code_and_nothing_left(tmp_path: Path, number: int, code: int) -> None:
    run = ended(tmp_path, number)
    assert run.returncode == code
    words = {130: "interrupted", 143: "told to end (SIGTERM)", 129: "the terminal has gone (SIGHUP)"}
    assert run.stderr.splitlines() == [f"error: {words[code]}"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As below nohup."""
    run = ended(tmp_path, signal.SIGHUP, (signal.SIGHUP,))
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """SIGHUP ends a process, as it does where nobody said otherwise."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
def test_handlers_come_back() -> None:
    before = {one: signal.getsignal(one) for one in CODES}
    with signals.listening():
        assert all(signal.getsignal(one) is not before[one] for one in CODES)
        with signals.asking() as stopped:
            assert not stopped()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopped()
        assert signals.ending() == ("told to end (SIGTERM)", 143)
    assert {one: signal.getsignal(one) for one in CODES} == before
    with signals.listening():
        assert signals.ending() is None


def test_a_library_asks_for_ctrl_c_alone() -> None:
    """Other signals are whose program it is."""
    before = signal.getsignal(signal.SIGTERM)
    with signals.asking() as stopped:
        assert signal.getsignal(signal.SIGTERM) is before
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()


def test_other_threads_are_left_alone() -> None:
    answers = []

    def work() -> None:
        with signals.listening(), signals.asking() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
