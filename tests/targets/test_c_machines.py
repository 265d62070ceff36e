"""The C of a network on other machines, as far as they can be emulated here: bit for bit what the arithmetic says."""

import sys
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

from bitface.graph import Network
from bitface.targets.c.emit import emit
from support.c_oracle import run as oracle
from support.integers import everything, wide
from targets.test_c import assert_same_bits

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that `python benchmarks/NAME.py` has."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


def crops_of(net: Network) -> np.ndarray:
    height, width = net.size
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def expected(net: Network) -> np.ndarray:
    assert net.preprocess is not None
    return oracle(net.graph, net.preprocess(crops_of(net)))


def emulated(name: str, compiler: str, processor: str) -> Any:
    from lib.cross import machines

    machine = next(
        one for one in machines() if (one.name, one.compiler) == (name, compiler) and processor in one.processors
    )
    if machine.missing():
        pytest.skip(f"not installed: {', '.join(machine.missing().values())}")
    return machine


def check(machine: Any, net: Network, optimisation: str, folder: Path) -> None:
    emit(net, {}, folder)
    machine.build(folder, optimisation)
    for processor in machine.processors:
        assert_same_bits(machine.run(folder, processor, crops_of(net)), expected(net))


def test_one_program_on_processors_with_and_without_its_kernels(tmp_path: Path) -> None:
    """It asks Linux what the processor has."""
    check(emulated("aarch64", "gcc", "8-bit matrices"), everything(), "O1", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "compiler", "processor"),
    [
        ("aarch64", "gcc", "8-bit matrices"),
        ("aarch64", "gcc", "plain C"),
        ("aarch64", "clang", "8-bit matrices"),
        ("aarch64", "clang", "dot products"),
        ("aarch64", "clang", "NEON"),
        ("arm", "gcc", "NEON"),
        ("arm", "gcc", "DSP"),
        ("arm", "clang", "NEON"),
        ("riscv64", "gcc", "plain C"),
        ("riscv64", "clang", "plain C"),
        ("riscv64", "clang of zig", "vectors"),
        ("aarch64", "clang of zig", "NEON"),
    ],
)
def test_odd_sizes_on_every_processor(name: str, compiler: str, processor: str, tmp_path: Path) -> None:
    machine = emulated(name, compiler, processor)
    for net in (everything(), wide()):
        for optimisation in ("O0", "O2", "O3"):
            check(machine, net, optimisation, tmp_path)


@pytest.mark.parametrize("board", ["Cortex-M4", pytest.param("Cortex-M3", marks=pytest.mark.slow),
                                   pytest.param("Cortex-M55", marks=pytest.mark.slow)])  # fmt: skip
def test_a_firmware_without_an_operating_system(board: str, tmp_path: Path) -> None:
    from lib.cross import BOARD_TOOLS, BOARDS, crop_source

    if missing := [package for tool, package in BOARD_TOOLS.items() if not which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    net = everything()
    emit(net, {}, tmp_path)
    crop_source(tmp_path, crops_of(net)[0])
    emulated_board = next(one for one in BOARDS if one.name == board)
    emulated_board.build(tmp_path, "O2")
    embedding, instructions = emulated_board.run(tmp_path)
    assert_same_bits(embedding[None], expected(net))
    assert instructions > 0


@pytest.mark.slow
def test_numbers_that_32_bit_neon_takes_for_zero(tmp_path: Path) -> None:
    """Scales that are denormals, and slopes that make something of what they give."""
    net = everything()
    module: Any
    for module in net.graph.modules():
        if hasattr(module, "input_scale") and len(module.weight) == 70:
            module.scale[:4] = 1e-44
    machine = emulated("arm", "gcc", "NEON")
    check(machine, net, "O1", tmp_path)
