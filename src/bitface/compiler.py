"""Compiles C and C++ by the machine's own compiler, once, and loads it."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bitface import cpu
from bitface.errors import BitfaceError
from bitface.scratch import scratch
from bitface.store import Store, key_of

Texts = Mapping[str, str | bytes]
_SECONDS = 300
_LIBRARY, _CHECKSUM = "library.so", "library.sha256"


class CompilerError(BitfaceError):
    """A compiler refuses what it is given, or takes too long."""


def cpp_compiler() -> str | None:
    """The C++ compiler: `$CXX`, else the first that is there."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def c_compiler() -> str | None:
    """The C compiler: `$CC`, else the first that is there."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def shared_library(command: Sequence[str], files: Texts, libraries: Sequence[str] = ()) -> ctypes.CDLL:
    """What a compiler makes of some files, kept for their text, the compiler and the CPU.

    Args:
        command: the compiler and its flags.
        files: their content by name; what they include beside what is compiled (`.c` and `.cpp`).
        libraries: flags that follow the files.

    Raises:
        CompilerError: there is no such compiler, or it refuses them.
        BitfaceError: the cache can't be written.
    """
    return kept_library(command, key_of(sorted(files.items())), lambda: files, libraries)


def kept_library(
    command: Sequence[str], facts: str, files: Callable[[], Texts], libraries: Sequence[str] = ()
) -> ctypes.CDLL:
    """As `shared_library`, of files that are asked for where nothing is kept for these facts.

    Args:
        facts: what the files depend on.

    Raises:
        CompilerError, BitfaceError: as `shared_library`; and whatever `files` raises.
    """

    def fill(folder: Path) -> None:
        texts = files()
        with scratch() as place:
            for name, content in texts.items():
                (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
            sources = [name for name in texts if name.endswith((".c", ".cpp"))]
            complete = [executable, *command[1:], *sources, "-o", str(folder.absolute() / _LIBRARY), *libraries]
            try:
                subprocess.run(complete, capture_output=True, check=True, timeout=_SECONDS, cwd=place)
            except (OSError, subprocess.SubprocessError) as error:
                raise CompilerError(complaint(error)) from error
        (folder / _CHECKSUM).write_text(_checksum(folder), encoding="ascii")

    store, executable = Store(), os.path.abspath(shutil.which(command[0]) or command[0])
    recipe = (*command, identity(command[0]), *libraries, os.uname().machine, *_instructions(command), facts)
    try:
        folder = store.folder("kernels", key_of("\n".join(recipe)), fill, _check)
    except OSError as error:
        raise BitfaceError(f"{error.filename or store.root}: can't be written ({error.strerror or error})") from error
    try:
        return ctypes.CDLL(str(folder / _LIBRARY))
    except OSError as error:  # such as a file system that nothing may be run from
        raise BitfaceError(f"what was compiled can't be loaded ({error})") from error


def identity(compiler: str) -> str:
    """What tells a compiler from another one, or from its next version: its file, which needn't be started for it.

    Raises:
        CompilerError: there is none.
    """
    path = os.path.realpath(shutil.which(compiler) or compiler)
    try:
        status = os.stat(path)
    except OSError as error:
        raise CompilerError(complaint(error)) from error
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def complaint(error: Exception) -> str:
    """The compiler's first complaint, else what the system says."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it takes longer than {error.timeout:g} seconds"
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    lines = (output.decode(errors="replace") if isinstance(output, bytes) else output or "").strip().splitlines()
    first = next((line for line in lines if "error" in line), lines[0] if lines else "")
    return " ".join((first or getattr(error, "strerror", None) or str(error)).split())[:200]


def _instructions(command: Sequence[str]) -> list[str]:
    """Those of this CPU, where they count: a cache may be shared by several."""
    return sorted(cpu.flags()) if "-march=native" in command else []


def _checksum(folder: Path) -> str:
    return hashlib.sha256((folder / _LIBRARY).read_bytes()).hexdigest()


def _check(folder: Path) -> None:
    if (folder / _CHECKSUM).read_text(encoding="ascii") != _checksum(folder):
        raise ValueError("damaged")
