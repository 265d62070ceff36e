"""Does an embedder that runs for days keep its memory, its threads and its answers?

    python benchmarks/soak.py [--embeddings 100000] [--engine openvino]        (make soak)

An artifact embeds images one by one and in batches, from one thread and from four, and in processes that are forked
meanwhile. Each embedding has to be, bit for bit, the first one of its image; memory, threads, open files and children
are counted after each hundredth.
"""

import argparse
import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import known, save

import bitface
from bitface import artifact, backbones
from bitface.artifact import Artifact
from bitface.graph import from_module
from bitface.quant import BitPlan, quantize
from bitface.runtime.machine import describe
from bitface.targets.registry import runs_here

ENGINES = ("openvino", "onnxruntime", "torch", "c")
_FACES, _THREADS, _FORKS = 32, 4, 20


def model(folder: Path) -> Path:
    """A small artifact."""
    torch.manual_seed(0)
    network = from_module(backbones.create("mobilefacenet:0.125", embedding_size=16).eval(), "rgb-127.5-128")
    faces = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
    student, _ = quantize(network, faces, BitPlan.parse("w8a8"))
    artifact.write(folder / "model.bitface", Artifact(student, {}, {"name": "net"}))
    return folder / "model.bitface"


def usage() -> dict[str, int]:
    """What the process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        memory = int(file.read().split()[1]) * resource.getpagesize()
    return {
        "bytes": memory,
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
    }


def soaked(path: Path, engine: str, count: int) -> dict[str, Any]:
    """One line of the result."""
    faces = np.random.default_rng(1).integers(0, 256, (_FACES, 112, 112, 3), dtype=np.uint8)
    embedder = bitface.load(path, engine=engine)
    expected = np.concatenate([embedder.embed(face[None]) for face in faces])
    random, done, wrong, seen = np.random.default_rng(2), 0, 0, []
    forks, forked_wrong, begin = 0, 0, time.monotonic()

    def embed(places: np.ndarray) -> int:
        return int((embedder.embed(faces[places]) != expected[places]).any(axis=1).sum())

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(embed, [np.arange(4)] * 2 * _THREADS))  # they begin when they are asked
        for part in range(100):
            end = count * (part + 1) // 100
            while done < end:
                blocks = [random.integers(0, _FACES, int(random.choice((1, 1, 1, 4, 8)))) for _ in range(_THREADS)]
                wrong += sum(threads.map(embed, blocks) if random.random() < 0.5 else map(embed, blocks))
                done += sum(map(len, blocks))
            if part % (100 // _FORKS) == 0:
                child = os.fork()
                if not child:
                    os._exit(1 if embed(np.arange(_FACES)) else 0)
                forks += 1
                forked_wrong += os.waitpid(child, 0)[1] != 0
            seen.append(usage())
    first, last = seen[9], seen[-1]  # what is loaded once has been by then
    return {
        "engine": engine, "embeddings": done, "wrong": wrong, "forks": forks, "wrong in forks": forked_wrong,
        "MB after a tenth": round(first["bytes"] / 1e6, 1), "MB at the end": round(last["bytes"] / 1e6, 1),
        "growth %": round(100 * (last["bytes"] / first["bytes"] - 1), 2),
        "more threads": last["threads"] - first["threads"], "more files": last["files"] - first["files"],
        "minutes": round((time.monotonic() - begin) / 60, 1), "cpu": describe()["cpu"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=int, default=100_000)
    parser.add_argument("--engine", help="this one alone")
    parser.add_argument("--dry", action="store_true", help="keep no result")
    options = parser.parse_args()
    engines = [options.engine] if options.engine else [name for name in ENGINES if runs_here(name)]
    with tempfile.TemporaryDirectory() as folder:
        path = model(Path(folder))
        for engine in engines:
            row = soaked(path, engine, options.embeddings)
            print(row, flush=True)
            if not options.dry:  # after each, beside what others have
                rows = {one["engine"]: one for one in known("soak")} | {engine: row}
                save("soak", [rows[name] for name in ENGINES if name in rows])


if __name__ == "__main__":
    main()
