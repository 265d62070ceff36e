"""The C of a network on this machine's CPU, by its own compiler."""

import ctypes
import re
import threading
from pathlib import Path

import numpy as np

from bitface.errors import BitfaceError
from bitface.graph import Network
from bitface.quant.kernels.shared_library import c_compiler, complaint, shared_library
from bitface.targets.base import Run, Settings
from bitface.targets.c.emit import c_source
from bitface.targets.c.memory import ALIGNMENT
from bitface.targets.c.source import ENGINE

FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared", "-ffp-contract=off", f"-D{ENGINE}")


def start(source: Network | Path, settings: Settings) -> Run:
    """One image after the other, each call in its own thread."""
    if isinstance(source, Network):
        text = c_source(source)
        return Compiled(text.code, text.header)
    headers = sorted(source.glob("*.h")) if source.is_dir() else []
    if len(headers) != 1 or not headers[0].with_suffix(".c").is_file():
        raise BitfaceError(f"{source}: is no folder with the C of a network, a .c file and its .h")
    code, header = (headers[0].with_suffix(end).read_text(encoding="utf-8") for end in (".c", ".h"))
    return Compiled(code, header)


class Compiled:
    """A compiled network; each thread has a scratch of its own."""

    def __init__(self, code: str, header: str, flags: tuple[str, ...] = FLAGS) -> None:
        compiler = c_compiler()
        if compiler is None:
            raise BitfaceError(
                "there is no C compiler; install one, such as gcc (apt-get install gcc, dnf install gcc)"
            )
        # One file, as the header belongs to it.
        text = re.sub(r'#include "\w+\.h"\n', lambda _: header, code, count=1)
        try:
            self._library = shared_library([compiler, *flags], {"network.c": text}, ("-lm",))
        except (OSError, BitfaceError) as error:
            raise BitfaceError(f"the C compiler {compiler} doesn't make it ({complaint(error)})") from error
        sizes = (ctypes.c_int32 * 5).in_dll(self._library, "bitface_sizes")
        self._image, (self._embedding, self._scratch) = tuple(sizes[:3]), sizes[3:]
        self._memory = threading.local()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(images, np.float32)
        if images.shape[1:] != self._image:
            raise BitfaceError(f"images of {list(images.shape[1:])}, not {list(self._image)}")
        rows = np.empty((len(images), self._embedding), np.float32)
        for image, row in zip(images, rows, strict=True):
            self._library.bitface_embed(_address(image), ctypes.c_void_p(self._aligned()), _address(row))
        return rows

    def _aligned(self) -> int:
        if not hasattr(self._memory, "scratch"):
            self._memory.scratch = np.empty(self._scratch + ALIGNMENT, np.uint8)
        address: int = self._memory.scratch.ctypes.data
        return -(-address // ALIGNMENT) * ALIGNMENT


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
