"""Too little memory, too few files, other libraries' remarks: one line each, and no word of a fault in bitface."""

import errno
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bitface.errors import BitfaceError, BitfaceWarning, lacks_memory
from bitface.store import Store

from .conftest import Run


def _chained() -> None:
    try:
        np.empty(1 << 60, np.uint8)
    except MemoryError as error:
        raise BitfaceError("net.onnx: damaged") from error


def _torch() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def _raised(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


LACKS: dict[str, Callable[[], object]] = {
    "python": _raised(MemoryError()),
    "numpy": lambda: np.empty(1 << 60, np.uint8),
    "torch": _torch,
    "chained": _chained,
    "C++": _raised(RuntimeError("std::bad_alloc")),
    "the system": _raised(OSError(errno.ENOMEM, "Cannot allocate memory")),
    "threads": _raised(RuntimeError("can't start new thread")),
    "ONNX Runtime": _raised(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : bad allocation")),
    "Python itself": _raised(SystemError("error return without exception set")),
    "a module in C": _raised(SystemError("<built-in function f> returned NULL without setting an exception")),
    "OpenVINO": _raised(RuntimeError("Exception from src/plugin.cpp:1:\ncan't alloc")),
    "its threads": _raised(RuntimeError("Resource temporarily unavailable")),
    "loader": _raised(ImportError("libtorch_cpu.so: failed to map segment from shared object")),
}


@pytest.mark.parametrize("name", LACKS)
def test_a_lack_of_memory_is_called_that(bitface: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Store, "contents", lambda *_: LACKS[name]())
    code, _, err = bitface("cache")
    assert code == 1
    assert err == "error: out of memory; give it more\n"  # this command has nothing to do with less


SPEECHLESS = """
import sys
from bitface.cli import app
def lacking(error):
    raise MemoryError
app._end = lacking
sys.argv = ["bitface", "inspect", "nowhere.bitface"]
app.main()
"""


def test_where_no_memory_is_left_to_say_why_that_is_said() -> None:
    """Words for an error take some memory, too."""
    ended = subprocess.run([sys.executable, "-c", SPEECHLESS], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "error: out of memory; give it more\n"


@pytest.mark.parametrize("error", [ValueError("x"), BitfaceError("b.txt: no memory of it"), OSError(2, "gone")])
def test_other_errors_are_not(error: Exception) -> None:
    assert not lacks_memory(error)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EFBIG, errno.EROFS, errno.ENOSPC])
def test_files_that_cannot_be(bitface: Run, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Store, "contents", _raised(OSError(code, "why", "file")))
    monkeypatch.setattr("bitface.cli.app._forget_output", lambda: None)
    ended, _, err = bitface("cache")
    assert ended == 1
    assert "unexpected" not in err
    assert len(err.splitlines()) == 1


def test_objects_of_libraries_go_in_silence(bitface: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's loader of data is one that says so when it never became whole, as without files for it."""

    class Half:
        def __del__(self) -> None:
            raise AttributeError("_shutdown")

    def contents(*_: object) -> None:
        half = Half()  # which the error's frames hold
        assert half
        raise OSError(errno.EMFILE, "Too many open files")

    before = sys.unraisablehook
    monkeypatch.setattr(Store, "contents", contents)
    _, _, err = bitface("cache")
    assert err.splitlines() == ["error: too many files are open (Too many open files); raise the limit (ulimit -n)"]
    assert sys.unraisablehook is before


def test_remarks_of_libraries_stay_away_and_ours_are_said(bitface: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    def remark(*_: object) -> dict[str, object]:
        warnings.warn("of a library", stacklevel=1)
        warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
        warnings.warn("a target is left out", BitfaceWarning, stacklevel=1)
        logging.getLogger("some.library").warning("of its log")
        return {}

    monkeypatch.setattr(Store, "contents", remark)
    monkeypatch.setattr(sys, "warnoptions", [])
    code, _, err = bitface("cache")
    assert (code, err) == (0, "warning: a target is left out\n")


@pytest.mark.slow
@pytest.mark.parametrize("room", [200, 500, 1000, 1500, 2000])
def test_little_memory_ends_in_one_line(net: Path, crops: Path, tmp_path: Path, room: int) -> None:
    """Megabytes of addresses; what libraries that abort themselves do is theirs."""

    def begin() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (room << 20, room << 20))

    command = [sys.executable, "-m", "bitface", "quantize", net, "--images", crops, "--out", tmp_path / "out"]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, preexec_fn=begin)
    if run.returncode > 0:
        assert "unexpected" not in run.stderr, run.stderr
        assert "Traceback" not in run.stderr, run.stderr
    assert not (tmp_path / "out" / "result.json").exists() or run.returncode == 0
