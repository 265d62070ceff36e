"""Compiles and loads the C++ kernels."""

import ctypes
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from torch import Tensor

from bitface import cpu
from bitface.errors import BitfaceError
from bitface.store import Store, key_of

SOURCES = [Path(__file__).with_name(name) for name in ("fake_quantize.cpp", "depthwise.cpp")]
_HEADER = Path(__file__).with_name("bf16.h")
_INSTALL = "install one, such as g++ (apt-get install g++, dnf install gcc-c++, xcode-select --install)"
FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-std=c++17",
    "-shared",
    "-fPIC",
)


def compiler() -> str | None:
    """The C++ compiler: `$CXX`, else the first that is found."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they can't be compiled here or are switched off."""
    return _loaded()[0]


def compiled() -> bool:
    """Whether the compiled kernels are used."""
    return library() is not None


def missing() -> str:
    """Why the compiled kernels aren't used and what to do about it, in one sentence; empty where they are."""
    return _loaded()[1]


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("BITFACE_KERNELS") == "0":
        return None, "BITFACE_KERNELS=0 switches them off; leave it out"
    executable = compiler()
    if not executable:
        return None, f"there is no C++ compiler to make them with; {_INSTALL}"
    reason = ""
    # Threads of torch's own OpenMP; where the compiler has none, one thread does the work.
    for flags in (("-fopenmp",), ()):
        try:
            return _built([executable, *FLAGS, *flags]), ""
        except (OSError, BitfaceError, subprocess.SubprocessError) as error:
            reason = _reason(error)
    return None, f"the C++ compiler {executable} doesn't make them ({reason}); {_INSTALL}, or name another one in CXX"


def _reason(error: Exception) -> str:
    """The compiler's first complaint, else what the system says."""
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    lines = (output.decode(errors="replace") if isinstance(output, bytes) else output or "").strip().splitlines()
    complaint = next((line for line in lines if "error" in line), lines[0] if lines else "")
    return " ".join((complaint or getattr(error, "strerror", None) or str(error)).split())[:200]


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    """Where a contiguous tensor begins."""
    return ctypes.c_void_p(tensor.data_ptr())


def _built(command: list[str]) -> ctypes.CDLL:
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    # -march=native depends on the CPU, and a cache may be shared by several.
    sources = [path.read_text(encoding="utf-8") for path in (*SOURCES, _HEADER)]
    recipe = "\n".join([*command, version, platform.machine(), *sorted(cpu.flags()), *sources])

    def make(path: Path) -> None:
        files = [*map(str, SOURCES), "-o", str(path)]
        subprocess.run([*command, *files], capture_output=True, check=True, timeout=300)

    return Store().file("kernels", key_of(recipe), ".so", make, lambda path: ctypes.CDLL(str(path)))
