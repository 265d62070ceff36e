"""What the CPU says of itself."""

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
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
