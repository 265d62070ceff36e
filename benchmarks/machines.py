"""Is a network as C the same on every machine, bit for bit?

    python benchmarks/machines.py [--faces 200] [--emulated 10] [--optimisations O0 O3] [out/model.bitface ...]

Of each artifact (by default the networks of the other benchmarks, and an IResNet-18, in several plans): whether
embeddings of faces are those that plain C gives on this CPU, compiled by gcc and by clang with every optimisation: with
each set of kernels of x86, in 1 and in 8 threads, on aarch64, armv7 and RISC-V under qemu-user, and on boards with a
Cortex-M under qemu-system-arm, one face each, with the bytes of the firmware and the instructions that it took (qemu
counts them, not cycles). The last optimisation is run on all faces, the others on one; of networks of more than
`LARGE` bytes that is one face on emulated machines; boards hold `TOO_LARGE` at most. What isn't installed is said, with
the command that installs it, and left out.

Goes on where it was stopped: each row is written as soon as it is there, and rows of the same C aren't computed again.
As many are computed at once as there are cores. Writes `benchmarks/results/machines.json`.
"""

import argparse
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from lib.common import ARTIFACTS, HERE, IRESNET, LFW, artifact, cores, known, networks, save
from lib.cross import BOARD_TOOLS, BOARDS, OPTIMISATIONS, Board, Machine, crop_source, machines
from lib.native_times import KERNELS

from bitface.data.faces import choose, find_images, load_faces
from bitface.runtime import open_model
from bitface.store import written_by
from bitface.targets import Settings
from bitface.targets.c.emit import c_source, emit
from bitface.targets.c.engine import FLAGS, NUMBERS, Compiled
from bitface.targets.start import start

PLANS = ("w8a8", "w6a6", "w4a8", "w4a4", "mixed-plan")
# Bytes of an artifact: of which one face is run on emulated machines; with the last optimisation alone and on no board.
LARGE, TOO_LARGE = 3_000_000, 10_000_000
Row = dict[str, Any]
# Machine, kernels, compiler and optimisation.
Key = tuple[str, str, str, str]


@dataclass
class Results:
    """The rows of the C that is written now; several threads add to them."""

    rows: list[Row] = field(default_factory=list)
    source: str = field(default_factory=lambda: written_by("targets/c")[:12])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> "Results":
        self.rows = [row for row in known("machines") if row.get("source") == self.source]
        return self

    def known(self, name: str, key: Key) -> bool:
        words = ("machine", "kernels", "compiler", "optimisation")
        return any(row["artifact"] == name and tuple(row[word] for word in words) == key for row in self.rows)

    def add(self, row: Row) -> None:
        with self.lock, redirect_stdout(None):  # it prints them all
            self.rows.append({**row, "source": self.source})
            save("machines", self.rows)
        print(row, flush=True)


@dataclass
class Network:
    """An artifact with its C in a folder, faces and what plain C says of them on this CPU."""

    name: str
    size: int
    folder: Path
    crops: np.ndarray
    images: np.ndarray
    expected: np.ndarray
    options: argparse.Namespace
    results: Results

    def add(self, key: Key, rows: np.ndarray, **facts: Any) -> None:
        """Notes how a run went."""
        same = rows.tobytes() == self.expected[: len(rows)].tobytes()
        words = dict(zip(("machine", "kernels", "compiler", "optimisation"), key, strict=True))
        self.results.add(
            {"artifact": self.name, "bytes": self.size, **words, "faces": len(rows), "same": same, **facts}
        )

    def missing(self, key: Key) -> bool:
        return not self.results.known(self.name, key)

    def faces(self, optimisation: str, most: int) -> int:
        return most if optimisation == self.options.optimisations[-1] else 1


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
    results = Results().read()
    for path in options.artifacts or artifacts():
        check(path, options, results)


def artifacts() -> Iterator[Path]:
    for name in (*networks(), IRESNET):
        for plan in PLANS:
            yield artifact(name, str(HERE / f"{plan}.yaml") if plan == "mixed-plan" else plan, ARTIFACTS)


def check(path: Path, options: argparse.Namespace, results: Results) -> None:
    """Every run of an artifact that there can be here and that isn't known."""
    name = "/".join(path.parts[-3:-1])
    net = open_model(path).network
    assert net.preprocess is not None
    files = choose(find_images([LFW / "images"], LFW / "not_in_pairs.txt"), options.faces, 0)
    crops = load_faces(files, net.size).images
    images, numbers = net.preprocess(crops), bytearray()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        emit(net, {}, folder)
        if path.stat().st_size > LARGE:  # compilers take minutes to read that many numbers
            text = c_source(net, packed=True, numbers=numbers)
            (folder / "face_net.c").write_text(text.code, encoding="ascii")
            (folder / NUMBERS).write_bytes(numbers)
            numbers = bytearray()
        text = c_source(net, numbers=numbers)

        def compiled(flags: Sequence[str], compiler: str | None = None) -> Compiled:
            return Compiled(text.code, text.header, (*flags,), bytes(numbers), compiler)

        expected = compiled((*FLAGS, "-DFACE_NET_KERNELS=0"))(images)
        network = Network(name, path.stat().st_size, folder, crops, images, expected, options, results)
        runs = [*here(network, compiled), *elsewhere(network), *on_boards(network)]
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda run: run(), runs))
        for threads in (1, 8):
            key = ("x86-64", f"the best, {threads} thread{'s' * (threads > 1)}", "cc", "O3")
            if network.missing(key):
                network.add(key, start("c", net, Settings(threads=threads))(images))


def here(network: Network, compiled: Callable[[Sequence[str], str], Compiled]) -> Iterator[Callable[[], None]]:
    """Each set of kernels of this CPU, by each compiler."""
    flags = [flag for flag in FLAGS if not flag.startswith("-O")]

    def run(key: Key, level: int) -> None:
        words = (*flags, f"-{key[3]}", f"-DFACE_NET_KERNELS={level}")
        number = network.faces(key[3], len(network.images))
        network.add(key, compiled(words, key[2])(network.images[:number]))

    for compiler in filter(which, ("gcc", "clang")):
        for optimisation in network.options.optimisations:
            for name, level in KERNELS.items():
                key = ("x86-64", "plain C" if level == 0 else name, compiler, optimisation)
                if network.missing(key):
                    yield partial(run, key, level)


def elsewhere(network: Network) -> Iterator[Callable[[], None]]:
    """Machines that are emulated, and this one's example."""
    most = 1 if network.size > LARGE else network.options.emulated
    optimisations = network.options.optimisations[-1 if network.size > TOO_LARGE else 0 :]

    def run(machine: Machine, keys: dict[str, Key], optimisation: str) -> None:
        with copied(network.folder) as folder:
            try:
                machine.build(folder, optimisation)
            except subprocess.CalledProcessError as error:
                print(f"{machine.name}, {machine.compiler} {optimisation}: doesn't build: {error.stderr[-400:]!r}")
                return
            number = network.faces(optimisation, most)
            for processor, key in keys.items():
                network.add(key, machine.run(folder, processor, network.crops[:number]))

    for machine in machines():
        for optimisation in [] if machine.missing() else optimisations:
            keys = {one: (machine.name, one, machine.compiler, optimisation) for one in machine.processors}
            if keys := {one: key for one, key in keys.items() if network.missing(key)}:
                yield partial(run, machine, keys, optimisation)


def on_boards(network: Network) -> Iterator[Callable[[], None]]:
    """One face on each board, with its kernels and in plain C."""
    if network.size > TOO_LARGE or not all(map(which, BOARD_TOOLS)):
        return

    def run(board: Board, key: Key) -> None:
        words = ("-DFACE_NET_KERNELS=0",) if key[1] == "plain C" else ()
        with copied(network.folder) as folder:
            crop_source(folder, network.crops[0])
            try:
                sizes = board.build(folder, key[3], *words)
                embedding, instructions = board.run(folder)
            except (subprocess.CalledProcessError, ValueError) as error:
                print(f"{board.name}, {key[3]}: doesn't run: {getattr(error, 'stderr', None) or error}")
                return
        network.add(key, embedding[None], **sizes, instructions=instructions)

    for board in BOARDS:
        for optimisation, kernels in dict.fromkeys((("Os", board.kernels), ("O2", board.kernels), ("O2", "plain C"))):
            key = (board.name, kernels, "gcc", optimisation)
            if network.missing(key):
                yield partial(run, board, key)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of a folder, for a run by itself."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(folder, place, dirs_exist_ok=True))


if __name__ == "__main__":
    main()
