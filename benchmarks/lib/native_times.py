"""Milliseconds of one face in engines that take turns; run as a program, of C and OpenVINO with AVX2 alone.

python -m lib.native_times out/model.bitface ROUNDS
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np

from bitface.graph import Network, passes
from bitface.runtime import open_model
from bitface.targets import Run, Settings
from bitface.targets.c.emit import c_source
from bitface.targets.c.engine import FLAGS, Compiled
from bitface.targets.start import start
from lib.common import networks

KERNELS = {"C": 0, "AVX2": 1, "AVX-VNNI": 2, "AVX-512 VNNI": 3}
Times = dict[str, dict[str, float]]


def compiled(network: Network, kernels: str = "AVX-512 VNNI", compiler: str | None = None) -> Compiled:
    """With no more than these kernels."""
    numbers = bytearray()
    text = c_source(network, numbers=numbers)
    flags = (*FLAGS, f"-DFACE_NET_KERNELS={KERNELS[kernels]}")
    return Compiled(text.code, text.header, flags, bytes(numbers), compiler)


def floats(path: Path, precision: str) -> Run | None:
    """The network that an artifact was made of in OpenVINO, on one thread; None: it isn't one of the benchmarks'."""
    name = path.parent.parent.name
    known = [(file, preprocess) for file, preprocess in networks().values() if file.stem == name]
    if not known:
        return None
    teacher = open_model(*known[0]).network
    folded = Network(passes.fold(teacher.graph), teacher.name)
    return start("openvino", folded, Settings(threads=1, precision=precision))


def in_turns(engines: Mapping[str, Run], image: np.ndarray, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, run in engines.items():
            began = time.perf_counter()
            run(image)
            times[name].append(time.perf_counter() - began)
    return times


def beside(base: list[float], times: Mapping[str, list[float]]) -> Times:
    """Of each engine, and how many times as fast as another one."""
    return {
        name: {
            "median": median(values) * 1e3, "lowest": min(values) * 1e3,
            "times as fast": median(base) / median(values), "of the lowest": min(base) / min(values),
        }
        for name, values in times.items()
    }  # fmt: skip


def with_avx2_alone(path: Path, rounds: int) -> Times | None:
    """C and OpenVINO in float32 in a process where OpenVINO, too, takes the CPU for one that has AVX2 and no more."""
    command = [sys.executable, "-m", "lib.native_times", str(path.resolve()), str(rounds)]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    times: Times | None = json.loads(output.stdout.splitlines()[-1])
    return times


def main() -> None:
    path, rounds = Path(sys.argv[1]), int(sys.argv[2])
    network = open_model(path).network
    reference = floats(path, "f32")
    if reference is None:
        print("null")
        return
    image = np.random.default_rng(0).uniform(-1, 1, (1, network.channels, *network.size)).astype(np.float32)
    times = in_turns({"OpenVINO f32": reference, "AVX2": compiled(network, "AVX2")}, image, rounds)
    print(json.dumps(beside(times["OpenVINO f32"], times)))


if __name__ == "__main__":
    main()
