"""Compiles and loads the C++ kernels."""

import ctypes
import os
from functools import cache
from pathlib import Path

from torch import Tensor

from bitface.compiler import cpp_compiler, shared_library
from bitface.errors import BitfaceError

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
    executable = cpp_compiler()
    if not executable:
        return None, f"there is no C++ compiler to make them with; {_INSTALL}"
    reason = ""
    # Threads of torch's own OpenMP; where the compiler has none, one thread does the work.
    for flags in (("-fopenmp",), ()):
        try:
            texts = {path.name: path.read_text(encoding="utf-8") for path in (*SOURCES, _HEADER)}
            return shared_library([executable, *FLAGS, *flags], texts), ""
        except BitfaceError as error:
            reason = str(error)
    return None, f"the C++ compiler {executable} doesn't make them ({reason}); {_INSTALL}, or name another one in CXX"


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    """Where a contiguous tensor begins."""
    return ctypes.c_void_p(tensor.data_ptr())
