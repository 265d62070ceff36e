"""Which engine runs an artifact where nobody names one, where the compiler doesn't do its work for a while."""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from bitface import artifact
from bitface.artifact import Artifact
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime import load
from bitface.runtime.embedder import about_engine
from bitface.runtime.model import open_model
from bitface.targets import DEFAULTS
from bitface.targets.base import NoKernel
from support.quantized import Mixed, faces, network

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
# A compiler that fails while there is a file `full`.
COMPILER = """#!/bin/sh
echo called >> {folder}/calls
[ -e {folder}/full ] && echo "cc: fatal error: No space left on device" >&2 && exit 1
exec {compiler} "$@"
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact; the first compiler on the path is `COMPILER`."""
    monkeypatch.setenv("BITFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    (tmp_path / "cc").write_text(COMPILER.format(folder=tmp_path, compiler=shutil.which("cc")))
    (tmp_path / "cc").chmod(0o755)
    net = network(Mixed(), 16)
    student = quantize(net, faces(8, 16), BitPlan(), Calibration("minmax", bias_correction=False))[0]
    artifact.write(tmp_path / "model.bitface", Artifact(student, BitPlan().to_json(), {"name": "mixed"}))
    return tmp_path / "model.bitface"


def test_a_compiler_that_fails_is_asked_again(model: Path) -> None:
    """What went wrong is said once, in a line; nothing of it is kept for the next start."""
    full, calls = model.with_name("full"), model.with_name("calls")
    full.touch()
    with pytest.warns(UserWarning, match="C didn't start") as said:
        embedder = load(model)
    assert embedder.engine in DEFAULTS
    assert [str(one.message).partition(" runs it here, as C didn't start: ")[2] for one in said] == [
        f"the C compiler {model.with_name('cc')} doesn't make it (cc: fatal error: No space left on device)"
    ]
    assert about_engine(embedder)[0] == [str(said[0].message).partition(": ")[2]]
    assert calls.read_text() == "called\n"
    assert not list((model.parent / "cache").rglob("*.txt"))
    full.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(model)
    assert calls.read_text() == "called\n" * 2
    assert len(list((model.parent / "cache").rglob("*.txt"))) == 1
    load(model)
    assert calls.read_text() == "called\n" * 2


def test_what_c_lacks_is_no_failure(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitface.targets.c.emit._WRITERS", {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(model).engine in DEFAULTS
    with pytest.raises(NoKernel, match="which there is no C for"):
        open_model(model).start("c")
    assert len(list((model.parent / "cache").rglob("*.txt"))) == 1


OUT_OF_FILES = """
import os, resource, sys
from pathlib import Path
from bitface.errors import BitfaceError
from bitface.runtime.exact import default_engine
from bitface.runtime.model import open_model

model = open_model(Path(sys.argv[1]))
_ = model.network
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 3, hard))
try:
    print(default_engine(model))
except BitfaceError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print(default_engine(model))
"""


def test_too_many_open_files_choose_no_other_engine(model: Path) -> None:
    """They are of this moment: results that are kept would be another engine's from then on."""
    process = subprocess.run(
        [sys.executable, "-c", OUT_OF_FILES, str(model)], capture_output=True, text=True, check=True
    )
    first, then = process.stdout.splitlines()
    assert "Too many open files" in first
    assert then == load(model).engine
