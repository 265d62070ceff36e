"""The machine and the versions that a measurement belongs to."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_PACKAGES = ("bitface", "torch", "onnx", "onnxruntime", "openvino", "numpy")


def cpu_flags() -> set[str]:
    """The instruction sets of the CPU as the system names them; empty where it doesn't."""
    return set(_cpuinfo("flags").split())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, str]:
    """CPU, cores, system and versions, as text."""
    flags = cpu_flags()
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "isa": " ".join(flag for flag in _FLAGS if flag in flags),
        "cores": str(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == field), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
