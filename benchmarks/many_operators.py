"""How long does it take to read the artifacts with the most operators that are read at all?

    python benchmarks/many_operators.py [--rounds 5]

A small MobileFaceNet, and the same with ReLUs in a row behind it, so that a file of a few tens of kilobytes asks for as
much as it may. Each is read in fresh processes, in turns, after another small file, so that nothing is imported
meanwhile. Beside the seconds that pass are those of the CPU, which other programs on the machine stretch less.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lib.common import save

from bitface import artifact, backbones
from bitface.artifact import Artifact
from bitface.graph import Network, from_module, store
from bitface.quant import BitPlan, quantize

OPERATORS = (0, 2_500, 5_000, 9_900)
_READ = """
import sys, time
from pathlib import Path
from bitface import artifact
artifact.read(Path(sys.argv[1]))
passed, used = time.perf_counter(), time.process_time()
artifact.read(Path(sys.argv[2]))
print(time.perf_counter() - passed, time.process_time() - used)
"""


def student() -> Network:
    """A small integer network."""
    torch.manual_seed(0)
    network = from_module(backbones.create("mobilefacenet:0.125", embedding_size=16).eval(), "rgb-127.5-128")
    faces = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
    return quantize(network, faces, BitPlan.parse("w8a8"))[0]


def written(network: Network, path: Path, operators: int) -> int:
    """Writes the network with ReLUs behind it up to so many operators; gives how many there are."""
    description, tensors = store.dump(network.graph)
    nodes = description["nodes"]
    while len(nodes) < operators:
        nodes.append({"op": "Relu", "name": f"behind.relu{len(nodes)}", "in": [description["output"]]})
        description["output"] = nodes[-1]["name"]
    graph = store.load(description, tensors)
    artifact.write(path, Artifact(Network(graph, "many", network.preprocess), {}, {"name": "many"}))
    return len(nodes)


def read(small: Path, path: Path) -> tuple[float, float]:
    """The seconds that pass, and those of the CPU, in a fresh process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _READ, str(small), str(path)]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    passed, used = map(float, output.split())
    return passed, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network, small = student(), Path(folder) / "0.bitface"
        paths = {Path(folder) / f"{count}.bitface": count for count in OPERATORS}
        rows: list[dict[str, Any]] = [
            {"operators": written(network, path, count), "bytes": path.stat().st_size} for path, count in paths.items()
        ]
        seconds: dict[Path, list[tuple[float, float]]] = {path: [] for path in paths}
        for _ in range(options.rounds):
            for path, measured in seconds.items():
                measured.append(read(small, path))
    for row, measured in zip(rows, seconds.values(), strict=True):
        for name, values in zip(("seconds", "seconds of the CPU"), zip(*measured, strict=True), strict=True):
            row |= {name: round(median(values), 2), f"{name}, least": round(min(values), 2)}
    save("many_operators", rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
