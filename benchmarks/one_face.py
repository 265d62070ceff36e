"""What one face costs through `load(path).embed(crop)`, beside the engine started for batches of one.

    python benchmarks/one_face.py [--rounds 300] [out/model.bitface]

In turns, on each engine, of the artifact as `load` starts it: `embed` of one crop, and the same pixels preprocessed and
handed to an engine that was started for one image at a time, with as many threads. Ratios of medians, and of the
fastest runs, which other programs on the machine disturb least. Writes `benchmarks/results/one_face.json`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from lib.common import ARTIFACTS, artifact, save

import bitface
from bitface.cpu import cores
from bitface.targets import DEFAULTS
from bitface.targets.base import Settings

ENGINES = ("c", *DEFAULTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    path = options.model or artifact("MobileFaceNet PReLU", "w8a8", ARTIFACTS)
    rows = [row(path, engine, options.rounds) for engine in ENGINES]
    save("one_face", rows, artifact="/".join(path.parts[-3:-1]), rounds=options.rounds)


def row(path: Path, engine: str, rounds: int) -> dict[str, Any]:
    embedder = bitface.load(path, engine)
    crop = np.random.default_rng(0).integers(0, 256, (*embedder.preprocess.size, 3), dtype=np.uint8)
    threads = len(cores())
    run = embedder.model.start(engine, Settings(1, threads, streams=threads))

    def alone() -> np.ndarray:
        return run(embedder.preprocess(crop[None]))

    np.testing.assert_array_equal(embedder.embed(crop), alone())
    one, other = in_turns(lambda: embedder.embed(crop), alone, rounds)
    result = {
        "engine": engine, "embed, ms": median(one), "batch 1, ms": median(other), "ratio": median(one) / median(other),
        "ratio of the fastest": min(one) / min(other),
    }  # fmt: skip
    print(json.dumps(result), flush=True)
    return result


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """The milliseconds of both, of which each begins as often."""
    times: tuple[list[float], list[float]] = ([], [])
    calls = (first, second)
    for turn in range(rounds + 10):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            calls[which]()
            if turn >= 10:  # the first warm up
                times[which].append((time.perf_counter() - began) * 1e3)
    return times


if __name__ == "__main__":
    main()
