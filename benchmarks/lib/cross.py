"""The machines that the C of a network is compiled for here, and run on: this one, and others under qemu."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FIRMWARE = Path(__file__).parents[1] / "firmware"
OPTIMISATIONS = ("O0", "O1", "O2", "O3")
# A word in the environment, such as AARCH64_CFLAGS, adds flags: where a toolchain was only unpacked, its folders.
_QEMU = "apt-get install qemu-user-static"
_GCC = {"aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "riscv64": "riscv64-linux-gnu"}


@dataclass(frozen=True)
class Machine:
    """A compiler with its flags, and the processors that its program runs on.

    Attributes:
        name: of the machine; `compiler`: gcc or clang.
        command: the compiler with all flags but those of optimisation.
        processors: what kernels run there → the command before the program.
        tools: programs it needs → what installs them.
        flags: of its word in the environment.
    """

    name: str
    compiler: str
    command: tuple[str, ...]
    processors: Mapping[str, tuple[str, ...]]
    tools: Mapping[str, str] = field(default_factory=dict)
    flags: str = ""

    def missing(self) -> dict[str, str]:
        return {tool: package for tool, package in self.tools.items() if not shutil.which(tool)}

    def build(self, folder: Path, optimisation: str) -> None:
        """Makes `example` of the files in a folder."""
        extra = os.environ.get(self.flags, "").split()
        command = [
            *self.command,
            *extra,
            "-std=c99",
            f"-{optimisation}",
            "example.c",
            "face_net.c",
            "-lm",
            "-o",
            "example",
        ]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def run(self, folder: Path, processor: str, crops: Iterable[np.ndarray]) -> np.ndarray:
        """float32 `[N, D]`: a face after the other, each in a process."""
        rows = []
        for crop in crops:
            (folder / "crop").write_bytes(crop.tobytes())
            command = [*self.processors[processor], "./example", "crop"]
            output = subprocess.run(command, cwd=folder, check=True, capture_output=True)
            rows.append(np.array(output.stdout.split(), np.float64).astype(np.float32))
        return np.stack(rows)


def machines() -> list[Machine]:
    """All that are known, those first that need no emulator."""
    here: dict[str, tuple[str, ...]] = {"the best": ()}
    known = [Machine("x86-64", "clang", ("clang",), here, {"clang": "apt-get install clang"})]
    known += [Machine("x86-64", "gcc", ("gcc",), here, {"gcc": "apt-get install gcc"})]

    def cross(name: str, compiler: str, flags: tuple[str, ...], processors: dict[str, str]) -> None:
        target, emulator = _GCC[name], f"qemu-{name}-static"
        command = (f"{target}-gcc",) if compiler == "gcc" else ("clang", f"--target={target}")
        tools = {f"{target}-gcc": f"apt-get install gcc-{target}", emulator: _QEMU}
        if compiler == "clang":
            tools["clang"] = "apt-get install clang"
        emulators = {kernels: (emulator, "-cpu", cpu) for kernels, cpu in processors.items()}
        word = f"{name.upper()}_CFLAGS"
        known.append(Machine(name, compiler, (*command, *flags, "-static"), emulators, tools, word))

    # One program of gcc's has all kernels and asks Linux; clang 14 has what it was told of the processor.
    cores = {"8-bit matrices": "max", "dot products": "neoverse-n1", "NEON": "cortex-a53"}
    cross("aarch64", "gcc", (), cores)
    cross("aarch64", "gcc", ("-DFACE_NET_KERNELS=0",), {"plain C": "cortex-a53"})
    cross("aarch64", "clang", ("-march=armv8.6-a",), {"8-bit matrices": "max"})
    cross("aarch64", "clang", ("-march=armv8.2-a+dotprod",), {"dot products": "neoverse-n1"})
    cross("aarch64", "clang", (), {"NEON": "cortex-a53"})
    cross("arm", "gcc", ("-mfpu=neon",), {"NEON": "cortex-a7"})
    cross("arm", "gcc", ("-mfpu=vfpv3-d16", "-mthumb"), {"DSP": "cortex-a9"})
    cross("arm", "clang", ("-mfpu=neon",), {"NEON": "cortex-a7"})
    cross("riscv64", "gcc", (), {"plain C": "rv64"})
    cross("riscv64", "clang", ("-march=rv64gc",), {"plain C": "rv64"})

    # A newer clang, which comes with what it links: its programs for aarch64 ask Linux, and it knows RISC-V's vectors.
    def zig(name: str, processor: str, processors: dict[str, str]) -> None:
        command = (
            "python-zig",
            "cc",
            "-target",
            f"{name}-linux-musl",
            *processor.split(),
            "-fno-sanitize=all",
            "-static",
        )
        tools = {"python-zig": "pip install ziglang", f"qemu-{name}-static": _QEMU}
        emulators = {kernels: (f"qemu-{name}-static", "-cpu", cpu) for kernels, cpu in processors.items()}
        known.append(Machine(name, "clang of zig", command, emulators, tools))

    vectors = "rv64,v=true,vext_spec=v1.0,vlen="
    zig("aarch64", "", cores)
    zig(
        "riscv64",
        "-mcpu=generic_rv64+m+a+f+d+c+v",
        {"vectors": f"{vectors}128", "vectors of 512 bits": f"{vectors}512"},
    )
    return known


@dataclass(frozen=True)
class Board:
    """A board with a Cortex-M without an operating system, which qemu-system-arm emulates.

    Attributes:
        machine: qemu's name of it.
        constants, memory: addresses of 16 MB and of 4 MB, where what doesn't change and what does is put.
        kernels: that its processor has; tick: nanoseconds of its clock.
    """

    name: str
    machine: str
    flags: tuple[str, ...]
    constants: int
    memory: int
    kernels: str = "DSP"
    tick: float = 40

    def build(self, folder: Path, optimisation: str, *words: str) -> dict[str, int]:
        """Makes `firmware`; gives the bytes of its code, of its constants without the face, and of its memory."""
        toolchain = ["arm-none-eabi-gcc", "-mthumb", *self.flags]
        place = subprocess.run(
            [*toolchain, "-print-multi-directory"], check=True, capture_output=True, text=True
        ).stdout.strip()
        extra = os.environ.get("CORTEX_M_CFLAGS", "").replace("MULTILIB", place).split()
        command = [
            *toolchain, *extra, "-std=gnu99", f"-{optimisation}", *words, "-ffunction-sections", "-nostartfiles", "-I.",
            str(FIRMWARE / "main.c"), "face_net.c", "crop.c", "-T", str(FIRMWARE / "board.ld"), "-Wl,--gc-sections",
            f"-Wl,--defsym=constants={self.constants},--defsym=memory={self.memory}", "-lm", "-lc", "-lgcc",
            "-o", "firmware",
        ]  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        output = subprocess.run(
            ["arm-none-eabi-size", "-A", "firmware"], cwd=folder, check=True, capture_output=True, text=True
        )
        sizes = {name: int(size) for name, size in re.findall(r"^\.(\w+)\s+(\d+)", output.stdout, re.MULTILINE)}
        face = (folder / "crop").stat().st_size
        constants = sizes["rodata"] + sizes["data"] - face
        return {"code": sizes["text"], "constants": constants, "memory": sizes["data"] + sizes["bss"]}

    def run(self, folder: Path) -> tuple[np.ndarray, int]:
        """The embedding, and the instructions that it took: qemu gives each a nanosecond of the board's clock."""
        command = [
            "qemu-system-arm", *os.environ.get("QEMU_SYSTEM_FLAGS", "").split(), "-M", self.machine, "-nographic",
            "-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", "firmware",
        ]  # fmt: skip
        output = subprocess.run(
            command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, timeout=3600,
        ).stdout  # fmt: skip
        words = [int(word, 16) for word in re.findall(r"^[0-9a-f]{8}$", output, re.MULTILINE)]
        *embedding, wraps, ticks = words
        return np.array(embedding, np.uint32).view(np.float32), round(self.tick * (wraps * 2**24 + ticks % 2**24))


def crop_source(folder: Path, crop: np.ndarray) -> None:
    """A face as a file and as C, which a board's firmware holds."""
    (folder / "crop").write_bytes(crop.tobytes())
    numbers = ",".join(map(str, crop.reshape(-1)))
    text = f"#include <stdint.h>\nextern const uint8_t crop[];\nconst uint8_t crop[] = {{{numbers}}};\n"
    (folder / "crop.c").write_text(text)


BOARDS = (
    Board("Cortex-M3", "mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft"), 0x21000000, 0x20000000, "plain C"),
    Board("Cortex-M4", "mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard"), 0x21000000, 0x20000000),
    Board("Cortex-M7", "mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=hard"), 0x60000000, 0x20000000),
    Board("Cortex-M55", "mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 0x60000000, 0x61000000, tick=31.25),
)
BOARD_TOOLS = {
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "apt-get install qemu-system-arm",
}
