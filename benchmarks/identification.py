"""Identification among up to a million distractors: seconds and peak memory at every size.

    OMP_NUM_THREADS=1 python benchmarks/identification.py [--largest 1000000]

The sizes of MegaFace's challenge 1 with FaceScrub: 3,530 photographs of 80 people, 512 numbers each. The embeddings are
made up: a photograph is its person's centre plus noise, so that mates score 0.25 on average; distractors are random
directions. They lie in a memory-mapped file of float32, whose pages count as memory once they are read. Every row is a
process of its own and reads its distractors in one pass; faiss is measured where it is installed, and finds no TAR.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PHOTOS, PEOPLE, SIZE = 3530, 80, 512
FAR = 1e-6
_CHUNK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--row", nargs=4, metavar=("FOLDER", "ENGINE", "SIZE", "FARS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        folder, engine, size, fars = options.row
        print(json.dumps(measured(Path(folder), engine, int(size), [float(far) for far in fars.split(",") if far])))
        return
    # Not in the processes that are measured: it brings the networks' libraries with it.
    from lib.common import save

    sizes = [10**power for power in range(1, 10) if 10**power <= options.largest]
    kinds = [("numpy", ""), ("numpy", f"{FAR}"), *([("faiss", "")] if importlib.util.find_spec("faiss") else [])]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, sizes[-1])
        for engine, fars in kinds:
            for size in sizes:
                command = [sys.executable, __file__, "--row", name, engine, str(size), fars]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    save("identification", rows, photos=PHOTOS, people=PEOPLE, size=SIZE, threads=threads)


def make(folder: Path, distractors: int) -> None:
    """Writes `photos.npy` and `distractors.npy`, the same ones every time."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((PEOPLE, SIZE)) / 3**0.5
    people = np.sort(np.arange(PHOTOS) % PEOPLE)
    np.save(folder / "photos.npy", (centres[people] + rng.standard_normal((PHOTOS, SIZE))).astype(np.float32))
    np.save(folder / "people.npy", people)
    file = np.lib.format.open_memmap(folder / "distractors.npy", "w+", np.float32, (distractors, SIZE))
    for start in range(0, distractors, _CHUNK):
        count = min(_CHUNK, distractors - start)
        file[start : start + count] = rng.standard_normal((count, SIZE), dtype=np.float32)
    file.flush()


def measured(folder: Path, engine: str, size: int, fars: list[float]) -> dict[str, Any]:
    """One row: identification at one size, with everything but reading the libraries."""
    from bitface.evaluation.figures.operating import far_name
    from bitface.evaluation.protocols.distractors import ListSizes, Photographs, among_distractors

    before = _peak()
    began = time.perf_counter()
    photos = np.load(folder / "photos.npy")
    distractors = np.load(folder / "distractors.npy", mmap_mode="r")
    people = np.load(folder / "people.npy")
    found = among_distractors(Photographs(people, photos), distractors, ListSizes((size,)), fars=fars, engine=engine)
    seconds = time.perf_counter() - began
    return {
        "engine": engine,
        "distractors": size,
        "seconds": round(seconds, 2),
        "peak MB": round(_peak()),
        "of it libraries MB": round(before),
        "rank-1": found.points[0].rate,
        **{f"TAR@FAR {far_name(point.far)}": point.tar for point in found.tar},
    }


def _peak() -> float:
    """The most memory this process had, in MB. (`getrusage` would begin with what the process that started it had.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
