"""What is measured on, real faces and networks and the default assets, skipped where they are absent; little memory."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from bitface.data.assets import fetch
from bitface.errors import BitfaceError

# A job in the background ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Test files import engines themselves: these tell nobody either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None

# How long an example takes depends on the machine, and on what else runs there.
settings.register_profile("bitface", deadline=None)
settings.load_profile("bitface")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: `$BITFACE_DATA`, else `../shared/data` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BITFACE_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} isn't a folder (set BITFACE_DATA)")
    return folder


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """The path of a default asset, by its name."""

    def get(name: str) -> Path:
        try:
            return fetch(name)
        except BitfaceError as error:
            pytest.skip(f"no asset '{name}': {error}")

    return get


@pytest.fixture
def small_memory() -> Iterator[None]:
    """No room for more than 300 MB beside what the process has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
