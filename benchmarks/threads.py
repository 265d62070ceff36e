"""One embedder in many threads: is every embedding that of its own image, and what do the threads gain?

    python benchmarks/threads.py [--embeddings 100000] [--out out/threads]

Two questions. A small integer network, which asks most of what threads share, embeds in 8 threads, each so many
embeddings, from one to eight images in a call: how many differ in any bit from what one thread gets from the same
call? And the ReLU6 MobileFaceNet in 8 bits, one image in a call as a server does it: how many images a second come
from 1, 8 and 32 threads that share one embedder, alternating in one run?
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.common import artifact, save
from torch import Tensor, nn

from bitface.artifact import Artifact
from bitface.graph import from_module
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, Model, open_model
from bitface.targets import DEFAULTS

THREADS, MOST = 8, 8
SERVED, ROUNDS = (1, 8, 32), 5
# Calls of each turn, so that every engine's turns take seconds.
CALLS: dict[str, int] = {"openvino": 3200, "onnxruntime": 960, "torch": 160}
SIDE, FACES = 32, 256


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.PReLU(16))
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1))
        self.fc = nn.Linear(16 * (SIDE // 2) ** 2, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(torch.flatten(x + self.body(x), 1))


def small() -> Model:
    torch.manual_seed(0)
    network = from_module(Small(), "rgb-127.5-127.5", "small", (SIDE, SIDE))
    plan = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})
    student, _ = quantize(network, faces(64, SIDE), plan)
    return Model(Path("small.bitface"), "artifact", student, details=Artifact(student, plan.to_json(), {}))


def faces(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def mixed_up(model: Model, engine: str, each: int) -> dict[str, Any]:
    """How many embeddings of all threads aren't, bit for bit, those that one thread gets from the same call; and how
    many of these are nearest to another image's.
    """
    embedder, images = Embedder(model, engine), faces(FACES, SIDE)
    calls = [(start, count) for start in range(FACES - MOST) for count in range(1, MOST + 1)]
    expected = {call: embedder.embed(images[call[0] : sum(call)]) for call in calls}
    alone = np.concatenate([expected.get((start, 1), expected[FACES - MOST - 1, MOST][-1:]) for start in range(FACES)])

    def ask(thread: int) -> tuple[int, int, int]:
        generator, done, wrong, others = np.random.default_rng(thread), 0, 0, 0
        while done < each:
            start, count = calls[generator.integers(len(calls))]
            found = embedder.embed(images[start : start + count])
            for index, (row, right) in enumerate(zip(found, expected[start, count], strict=True), start):
                if row.tobytes() != right.tobytes():
                    wrong += 1
                    others += int(np.square(alone - row).sum(1).argmin()) != index
            done += count
        return done, wrong, others

    with ThreadPoolExecutor(THREADS) as pool:
        counts = np.sum(list(pool.map(ask, range(THREADS))), axis=0).tolist()
    return {
        "question": "mixed up", "network": "small", "engine": engine, "threads": THREADS,
        "embeddings": counts[0], "wrong": counts[1], "another image's": counts[2],
    }  # fmt: skip


def served(model: Model, engine: str) -> list[dict[str, Any]]:
    """Images a second with one image in a call, for each number of threads; the turns alternate."""
    embedder, images = Embedder(model, engine), faces(64, 112)
    expected = [embedder.embed(image).tobytes() for image in images]
    seconds: dict[int, list[float]] = {count: [] for count in SERVED}
    wrong = dict.fromkeys(SERVED, 0)

    def ask(calls: range) -> int:
        return sum(embedder.embed(images[call % 64]).tobytes() != expected[call % 64] for call in calls)

    for turn in range(ROUNDS + 1):
        for count in SERVED:
            parts = [range(thread, CALLS[engine], count) for thread in range(count)]
            began = time.perf_counter()
            with ThreadPoolExecutor(count) as pool:
                wrong[count] += sum(pool.map(ask, parts))
            if turn:  # the first one warms up
                seconds[count].append(time.perf_counter() - began)
    rates = {count: CALLS[engine] / float(np.median(seconds[count])) for count in SERVED}
    return [
        {
            "question": "served", "network": "MobileFaceNet ReLU6 w8a8", "engine": engine, "threads": count,
            "embeddings": CALLS[engine] * (ROUNDS + 1), "wrong": wrong[count], "images/s": round(rates[count], 1),
            "times one thread": round(rates[count] / rates[1], 2),
        }
        for count in SERVED
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("out/threads"))
    options = parser.parse_args()
    real = open_model(artifact("MobileFaceNet ReLU6", "w8a8", options.out))
    rows: list[dict[str, Any]] = []
    for engine in DEFAULTS:
        rows += served(real, engine)
        print(rows[-3:], flush=True)
    for engine in DEFAULTS:
        rows.append(mixed_up(small(), engine, options.embeddings))
        print(rows[-1], flush=True)
    save("threads", rows)


if __name__ == "__main__":
    main()
