"""Compiles C and C++ by the machine's own compiler, once, and loads it."""

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bitface import cpu
from bitface.errors import BitfaceError
from bitface.store import Store, key_of


def cpp_compiler() -> str | None:
    """The C++ compiler: `$CXX`, else the first that is there."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def c_compiler() -> str | None:
    """The C compiler: `$CC`, else the first that is there."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def shared_library(command: Sequence[str], files: Mapping[str, str], libraries: Sequence[str] = ()) -> ctypes.CDLL:
    """What a compiler makes of some files, kept for this source, compiler and CPU.

    Args:
        command: the compiler and its flags.
        files: their texts by name; headers beside what is compiled.
        libraries: flags that follow the files.

    Raises:
        OSError, BitfaceError: there is no such compiler, or it refuses them; see `complaint`.
    """
    try:
        about = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True, timeout=60)
        # -march=native depends on the CPU, and a cache may be shared by several.
        recipe = [*command, *libraries, about.stdout, platform.machine(), *sorted(cpu.flags()), *files.values()]

        def make(path: Path) -> None:
            with TemporaryDirectory(prefix="bitface-") as folder:
                for name, text in files.items():
                    (Path(folder) / name).write_text(text, encoding="utf-8")
                sources = [str(Path(folder) / name) for name in files if not name.endswith(".h")]
                complete = [*command, *sources, "-o", str(path), *libraries]
                subprocess.run(complete, capture_output=True, check=True, timeout=300)

        return Store().file("kernels", key_of("\n".join(recipe)), ".so", make, lambda path: ctypes.CDLL(str(path)))
    except subprocess.SubprocessError as error:
        raise BitfaceError(complaint(error)) from error


def complaint(error: Exception) -> str:
    """The compiler's first complaint, else what the system says."""
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    lines = (output.decode(errors="replace") if isinstance(output, bytes) else output or "").strip().splitlines()
    first = next((line for line in lines if "error" in line), lines[0] if lines else "")
    return " ".join((first or getattr(error, "strerror", None) or str(error)).split())[:200]
