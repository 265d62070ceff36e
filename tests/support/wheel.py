"""The wheel in environments of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """As `make wheel` does."""
    subprocess.run([sys.executable, ROOT / "release" / "wheel.py", "--out", folder], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel, and its folder of programs.

    What the wheel needs, torch among it, is too large to be installed for each run of the tests: it is found where this
    environment has it. bitface itself is that of the wheel, as links inside a linked folder aren't followed.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / "bin"
    install = ["-m", "pip", "--python", programs / "python", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, *map(str, install)], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    # What pip would have put there with torch.
    (programs / "torchrun").write_text(f'#!/bin/sh\nexec {programs / "python"} -m torch.distributed.run "$@"\n')
    (programs / "torchrun").chmod(0o755)
    return programs
