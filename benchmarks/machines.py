"""Is a network as C the same on every machine, bit for bit?

    python benchmarks/machines.py [--faces 200] [--emulated 10] [--optimisations O0 O3] [out/model.bitface ...]

Of each artifact (by default the networks of the other benchmarks in several plans): whether embeddings of faces are
those that plain C gives on this CPU, compiled by gcc and by clang with every optimisation: with each set of kernels of
x86, in 1 and in 8 threads, on aarch64, armv7 and RISC-V under qemu-user, and on boards with a Cortex-M under
qemu-system-arm, one face each, with the bytes of the firmware and the instructions that it took (qemu counts them, not
cycles). The last optimisation is run on all faces, the others on one. What isn't installed is said, with the
command that installs it, and left out. Goes on where it was stopped. Writes `benchmarks/results/machines.json`.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from itertools import chain
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from lib.common import ARTIFACTS, HERE, LFW, artifact, networks, save
from lib.cross import BOARD_TOOLS, BOARDS, OPTIMISATIONS, crop_source, machines
from lib.native_times import KERNELS

from bitface.data.faces import choose, find_images, load_faces
from bitface.runtime import open_model
from bitface.targets.c.emit import c_source, emit
from bitface.targets.c.engine import FLAGS, Compiled

PLANS = ("w8a8", "w6a6", "w4a8", "w4a4", "mixed-plan")
RESULTS = HERE / "results" / "machines.json"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--faces", type=int, default=200, help="on this CPU")
    parser.add_argument("--emulated", type=int, default=10, help="faces on other machines")
    parser.add_argument("--optimisations", nargs="+", default=OPTIMISATIONS, choices=OPTIMISATIONS)
    options = parser.parse_args()
    tools = dict(BOARD_TOOLS)
    for machine in machines():
        tools |= machine.tools
    for tool, command in tools.items():
        if not which(tool):
            print(f"without {tool}: {command}")
    paths = options.artifacts or [
        artifact(name, str(HERE / f"{plan}.yaml") if plan == "mixed-plan" else plan, ARTIFACTS)
        for name in networks() for plan in PLANS
    ]  # fmt: skip
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.is_file() else []
    for path in paths:
        known = {row["artifact"] for row in rows}
        if (name := "/".join(path.parts[-3:-1])) not in known:
            rows += [{"artifact": name, "bytes": path.stat().st_size, **row} for row in runs(path, options)]
            with redirect_stdout(None):  # it prints them all
                save("machines", rows)


def runs(path: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Each run that there can be here: where, with which kernels, how compiled, how many faces, whether equal."""
    network = open_model(path).network
    assert network.preprocess is not None
    files = choose(find_images([LFW / "images"], LFW / "not_in_pairs.txt"), options.faces, 0)
    crops = load_faces(files, network.size).images
    images = network.preprocess(crops)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emit(network, {}, folder)
        text = c_source(network)
        expected = Compiled(text.code, text.header, (*FLAGS, "-DFACE_NET_KERNELS=0"))(images)
        for row in chain(
            here(text.code, text.header, images, expected, options),
            elsewhere(folder, crops, expected, options),
            on_boards(folder, crops[0], expected[0]),
        ):
            print(path.parent.parent.name, path.parent.name, row, flush=True)
            yield row


def here(
    code: str, header: str, images: np.ndarray, expected: np.ndarray, options: argparse.Namespace
) -> Iterator[Row]:
    """Each set of kernels of this CPU; threads."""
    flags = [flag for flag in FLAGS if not flag.startswith("-O")]
    for compiler in filter(which, ("gcc", "clang")):
        os.environ["CC"] = compiler
        for optimisation in options.optimisations:
            number = len(images) if optimisation == options.optimisations[-1] else 1
            for name, level in KERNELS.items():
                words = (*flags, f"-{optimisation}", f"-DFACE_NET_KERNELS={level}")
                rows = Compiled(code, header, words)(images[:number])
                yield row("x86-64", "plain C" if level == 0 else name, compiler, optimisation, rows, expected)
        del os.environ["CC"]
    run = Compiled(code, header)
    for threads in (1, 8):
        with ThreadPoolExecutor(threads) as pool:
            rows = np.concatenate(list(pool.map(run, np.split(images, len(images)))))
        yield row("x86-64", f"the best, {threads} thread{'s' * (threads > 1)}", "cc", "O3", rows, expected)


def elsewhere(folder: Path, crops: np.ndarray, expected: np.ndarray, options: argparse.Namespace) -> Iterator[Row]:
    """Machines that are emulated, and this one's example."""
    for machine in machines():
        if machine.missing():
            continue
        for optimisation in options.optimisations:
            number = options.emulated if optimisation == options.optimisations[-1] else 1
            try:
                machine.build(folder, optimisation)
            except subprocess.CalledProcessError as error:
                print(f"{machine.name}, {machine.compiler} {optimisation}: doesn't build: {error.stderr[-400:]!r}")
                break
            for processor in machine.processors:
                rows = machine.run(folder, processor, crops[:number])
                yield row(machine.name, processor, machine.compiler, optimisation, rows, expected)


def on_boards(folder: Path, crop: np.ndarray, expected: np.ndarray) -> Iterator[Row]:
    """One face on each board, with its kernels and in plain C."""
    if not all(map(which, BOARD_TOOLS)):
        return
    crop_source(folder, crop)
    for board in BOARDS:
        for optimisation, kernels in dict.fromkeys((("Os", board.kernels), ("O2", board.kernels), ("O2", "plain C"))):
            words = ("-DFACE_NET_KERNELS=0",) if kernels == "plain C" else ()
            try:
                sizes = board.build(folder, optimisation, *words)
                embedding, instructions = board.run(folder)
            except (subprocess.CalledProcessError, ValueError) as error:
                print(f"{board.name}, {optimisation}: doesn't run: {getattr(error, 'stderr', None) or error}")
                continue
            result = row(board.name, kernels, "gcc", optimisation, embedding[None], expected[None])
            yield {**result, **sizes, "instructions": instructions}


def row(machine: str, kernels: str, compiler: str, optimisation: str, rows: np.ndarray, expected: np.ndarray) -> Row:
    same = rows.tobytes() == expected[: len(rows)].tobytes()
    return {
        "machine": machine, "kernels": kernels, "compiler": compiler, "optimisation": optimisation,
        "faces": len(rows), "same": same,
    }  # fmt: skip


if __name__ == "__main__":
    main()
