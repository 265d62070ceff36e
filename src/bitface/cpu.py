"""What the CPU says of itself, and how long computing on it may keep memory."""

import ctypes
import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
_NEVER_MAP, _NEVER_TRIM = -4, -1
_NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def flags() -> set[str]:
    """The instruction sets as the system names them; empty where it doesn't (only Linux does)."""
    return set((field("flags") or field("Features")).split())


def has_bf16() -> bool:
    """Whether the CPU is known to compute in bfloat16 itself. Where that is emulated, it is slower than float32."""
    return bool(_NATIVE_BF16 & flags())


def field(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def keep_memory() -> None:
    """Lets glibc keep what training frees instead of handing it back and having every page zeroed again.

    A tenth to a fifth of a step otherwise; elsewhere than on glibc it does nothing. For the process from now on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(_NEVER_MAP, 0)
        mallopt(_NEVER_TRIM, 2**31 - 1)
