"""The C of a network on this machine's CPU, by its own compiler.

What is compiled is kept for the network's fingerprint: where it is there, nothing is read, written or compiled, and
nothing imported that would do it.
"""

import ctypes
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitface.compiler import CompilerError, Texts, c_compiler, kept_library
from bitface.cpu import cores
from bitface.errors import BitfaceError
from bitface.store import key_of, written_by
from bitface.targets.base import Run, Settings, Unread
from bitface.targets.c.memory import ALIGNMENT

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from bitface.graph import Network

# What bitface itself calls, of float images: for a compiler that is given this word.
ENGINE = "BITFACE_ENGINE"
# The file of the tables' numbers, which no compiler needs to read.
NUMBERS = "numbers.bin"
FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared", "-ffp-contract=off", f"-D{ENGINE}")
# What decides between a network's fingerprint and its C.
_PLACES = ("graph", "targets/arithmetic.py", "targets/c")


def start(source: "Network | Path", settings: Settings) -> Run:
    """A network, or the folder that it was written to; see `start_unread`."""
    if isinstance(source, Path):
        return _shared(Compiled(*_exported(source)), settings)
    return start_unread(Unread(source.name, source.fingerprint(), lambda: source), settings)


def start_unread(source: Unread, settings: Settings) -> Run:
    """Without streams the threads share the images of a call; with them each call computes in its own thread."""
    return _shared(Compiled.of(source), settings)


def _shared(network: "Compiled", settings: Settings) -> Run:
    threads = (settings.threads or len(cores())) if settings.streams == 1 else 1
    return Shared(network, threads) if threads > 1 else network


def _exported(folder: Path) -> tuple[str, str]:
    """The file and the header in a folder that was written for C."""
    headers = sorted(folder.glob("*.h")) if folder.is_dir() else []
    if len(headers) != 1 or not headers[0].with_suffix(".c").is_file():
        raise BitfaceError(f"{folder}: is no folder with the C of a network, a .c file and its .h")
    code, header = (headers[0].with_suffix(end).read_text(encoding="utf-8") for end in (".c", ".h"))
    return code, header


class Compiled:
    """A compiled network, which computes in the thread that calls it; each thread has a scratch of its own."""

    def __init__(
        self,
        code: str,
        header: str,
        flags: tuple[str, ...] = FLAGS,
        numbers: bytes = b"",
        compiler: str | None = None,
    ) -> None:
        """Args:
        numbers: of its tables, where the code hasn't them.
        compiler: None: this machine's.
        """
        text = _one_file(code, header)
        self._load(key_of(text, numbers), lambda: {"network.c": text, NUMBERS: numbers}, flags, compiler)

    @classmethod
    def of(cls, source: Unread) -> "Compiled":
        """A network that is read where none of its fingerprint has been compiled before."""

        def texts() -> Texts:
            network, numbers = source.read(), bytearray()
            from bitface.targets.c.emit import c_source

            text = c_source(network, numbers=numbers)
            return {"network.c": _one_file(text.code, text.header), NUMBERS: bytes(numbers)}

        network = cls.__new__(cls)
        network._load(f"{source.fingerprint} {written_by(*_PLACES)}", texts, FLAGS)
        return network

    def _load(
        self, facts: str, texts: Callable[[], Texts], flags: tuple[str, ...], compiler: str | None = None
    ) -> None:
        compiler = compiler or c_compiler()
        if compiler is None:
            raise BitfaceError(
                "there is no C compiler; install one, such as gcc (apt-get install gcc, dnf install gcc)"
            )
        try:
            self._library = kept_library([compiler, *flags], facts, texts, ("-lm",))
        except CompilerError as error:
            raise BitfaceError(f"the C compiler {compiler} doesn't make it ({error})") from error
        sizes = (ctypes.c_int32 * 5).in_dll(self._library, "bitface_sizes")
        self._image, (self.embedding_size, self._scratch) = tuple(sizes[:3]), sizes[3:]
        self._memory = threading.local()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(images, np.float32)
        if images.shape[1:] != self._image:
            raise BitfaceError(f"images of {list(images.shape[1:])}, not {list(self._image)}")
        rows = np.empty((len(images), self.embedding_size), np.float32)
        for image, row in zip(images, rows, strict=True):
            self._library.bitface_embed(_address(image), ctypes.c_void_p(self._aligned()), _address(row))
        return rows

    def _aligned(self) -> int:
        if not hasattr(self._memory, "scratch"):
            self._memory.scratch = np.empty(self._scratch + ALIGNMENT, np.uint8)
        address: int = self._memory.scratch.ctypes.data
        return -(-address // ALIGNMENT) * ALIGNMENT


class Shared:
    """A network whose threads share the images of a call."""

    def __init__(self, network: Compiled, threads: int) -> None:
        self._network, self._threads = network, threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        count = min(self._threads, len(images))
        if count < 2:
            return self._network(images)
        return np.concatenate(list(self._workers().map(self._network, np.array_split(images, count))))

    def _workers(self) -> "ThreadPoolExecutor":
        """A forked process has none of its parent's threads and starts its own."""
        from concurrent.futures import ThreadPoolExecutor  # fifteen milliseconds

        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self._threads, "bitface")
        return self._pool[1]


def _one_file(code: str, header: str) -> str:
    """The header belongs to the file."""
    return re.sub(r'#include "\w+\.h"\n', lambda _: header, code, count=1)


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
