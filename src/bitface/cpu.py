"""What the CPU says of itself, and how long computing on it may keep memory."""

import ctypes
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
# M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
_NEVER_MAP, _NEVER_TRIM = -4, -1
_NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def flags() -> set[str]:
    """The instruction sets as the system names them; empty where it doesn't (only Linux does)."""
    return set((field("flags") or field("Features")).split())


def has_bf16() -> bool:
    """Whether the CPU is known to compute in bfloat16 itself. Where that is emulated, it is slower than float32."""
    return bool(_NATIVE_BF16 & flags())


@lru_cache
def bf16_pays() -> bool:
    """Whether torch multiplies matrices faster in bfloat16 than in float32 here, by a trial of some milliseconds.

    The instructions alone don't tell: on some CPUs with AVX512-BF16 but no AMX they are half as fast as float32's,
    on others twice as fast. Nothing lies between, so the answer stays the same when a training is resumed.
    """
    import torch  # whoever asks has it; whoever only runs networks may have none

    return has_bf16() and product_seconds(torch.bfloat16) < product_seconds(torch.float32)


def product_seconds(dtype: "torch.dtype") -> float:
    """How long the product of two matrices of 512 x 512 takes, the fastest of ten."""
    import torch

    matrix = torch.ones(512, 512, dtype=dtype)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def field(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def cores() -> list[int]:
    """The logical cores that this process may run on: one of each physical core first, then their siblings."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    physical: set[str] = set()
    first: list[int] = []
    second: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        try:
            siblings = Path(_SIBLINGS.format(core)).read_text()
        except OSError:
            siblings = str(core)
        (second if siblings in physical else first).append(core)
        physical.add(siblings)
    return first + second


def keep_memory() -> None:
    """Lets glibc keep what training frees instead of handing it back and having every page zeroed again.

    A tenth to a fifth of a step otherwise; elsewhere than on glibc it does nothing. For the process from now on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(_NEVER_MAP, 0)
        mallopt(_NEVER_TRIM, -1)
