"""The machine and the versions that a figure was measured with."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bitface import cpu
from bitface.cpu import cores
from bitface.targets.registry import TARGETS, every

# What decides how fast a network runs, as Linux names it: on x86, and on Arm.
_X86 = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_ARM = ("asimddp", "i8mm", "bf16", "sve")
# Beside the targets' own.
_PACKAGES = ("bitface", "torch", "onnx")
_UNKNOWN = "unknown"
NOT_INSTALLED = "not installed"
"""The version of what isn't here."""


def describe(engines: Iterable[str] | None = None) -> dict[str, str]:
    """CPU, instruction sets, cores, system, Python and the versions of what computes; `unknown` what no one says.

    Args:
        engines: that computed; None: any target may have.
    """
    flags = cpu.flags()
    targets = every().values() if engines is None else [TARGETS[name] for name in engines]
    packages = [*_PACKAGES, *sorted(target.package for target in targets if target.package), "numpy"]
    return {
        "cpu": cpu.field("model name") or platform.processor() or platform.machine() or _UNKNOWN,
        "isa": " ".join(name for name in _X86 + _ARM if name in flags) or _UNKNOWN,
        "cores": str(len(cores())),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


@contextmanager
def pinned(count: int) -> Iterator[Callable[[], list[int]]]:
    """Keeps the process on as many cores as it computes with, and gives it back the others at the end.

    Yields a function that pins all threads there are, to be called again when there may be new ones: engines start
    threads of their own, and with cores of their own choice. It gives the cores; none where the system can't do it
    (only Linux can) or there are fewer than `count`.
    """
    available = cores()
    selection = available[:count] if len(available) >= count and hasattr(os, "sched_setaffinity") else []
    before: dict[int, set[int]] = {}

    def pin() -> list[int]:
        again = bool(before)
        for thread in _threads() if selection else []:
            with suppress(OSError):  # it may have ended in the meantime
                # A thread that is new since the last time has inherited its cores from a pinned one.
                before.setdefault(thread, set(available) if again else os.sched_getaffinity(thread))
                os.sched_setaffinity(thread, selection)
        return selection

    try:
        yield pin
    finally:
        for thread in _threads() if before else []:
            with suppress(OSError):
                os.sched_setaffinity(thread, before.get(thread, available))


def _threads() -> list[int]:
    """The threads of this process; 0, the one that asks, where there is no /proc."""
    try:
        return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    except OSError:
        return [0]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
