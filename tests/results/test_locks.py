"""One command at a time writes into a folder; who is dead holds nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bitface.errors import BitfaceError
from bitface.results.locks import LOCK, holding

HOLDER = """
import sys
from pathlib import Path
from bitface.results.locks import holding
with holding(Path(sys.argv[1]), "quantize"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_another_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with holder(out) as process:
        for _ in range(2):
            with pytest.raises(BitfaceError) as caught, holding(out, "analyse"):
                pass
            words = str(caught.value)
            told = (str(out), "bitface quantize", f"process {process.pid} on {socket.gethostname()}", "since 20")
            assert all(word in words for word in told), words
        process.communicate("")
        assert process.returncode == 0
    assert not out.exists(), "made for nothing"
    with holding(out, "analyse"):
        pass


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    left = tmp_path / LOCK
    assert json.loads(left.read_text())["pid"] == process.pid
    # The process id may be another one's by now.
    left.write_text(json.dumps({**json.loads(left.read_text()), "pid": os.getpid()}))
    with holding(tmp_path, "quantize"):
        assert left.is_file()
    assert not list(tmp_path.iterdir())


def test_two_threads_are_two_holders(tmp_path: Path) -> None:
    errors: list[str] = []

    def second() -> None:
        try:
            with holding(tmp_path, "quantize"):
                errors.append("it was let in")
        except BitfaceError as error:
            errors.append(str(error))

    with holding(tmp_path, "quantize"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(errors) == 1
    assert f"process {os.getpid()}" in errors[0]


def test_never_two_at_once(tmp_path: Path) -> None:
    """The lock file goes with each holder, while others are about to lock it."""
    inside, most, turns = [0], [0], [0]
    counting = threading.Lock()

    def work() -> None:
        for _ in range(40):
            with holding(tmp_path, "quantize", patience=60):
                with counting:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                with counting:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], turns[0]) == (1, 160)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_held(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "dangling").symlink_to("gone")
    for path, words in ((file, "is a file"), (file / "in", "can't be written"), (tmp_path / "dangling", "can't be")):
        with pytest.raises(BitfaceError, match=words), holding(path, "quantize"):
            pass
