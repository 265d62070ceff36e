"""Whether a training on several ranks is the same as on one: losses of its first steps, and of resumed ones.

    python benchmarks/ranks.py [--steps 50]

A small MobileFaceNet learns from noise at w4a4, as one process, and as two and four ranks over gloo, each on one
thread; a second training of two ranks is stopped half-way and goes on with one rank and with four. The loss of every
step is held against that of one process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lib.common import save

from bitface import backbones, ranks
from bitface.graph import from_module
from bitface.losses import build_sum
from bitface.preprocess import Size
from bitface.quant import BitPlan, Calibration, learn
from bitface.quant.fused import fused
from bitface.quant.post_training import calibrated
from bitface.training import Interrupted, Trainee, Training, TrainingFaces, fit, loop

BATCH, SIZE, PEOPLE = 32, Size(32, 32), 40
LOSSES: dict[str, dict[str, Any]] = {
    "feature": {"loss": {"feature": {"form": "cosine"}}},
    "EKD": {"loss": {"ekd": {"memory": 512}}, "per_identity": 2},
    "ArcFace, classes split": {"loss": {"arcface": {}}},
    "ArcFace, half of the classes a step": {"loss": {"arcface": {"sample": 0.5}}},
    "RCM": {"loss": {"rcm": {}}, "per_identity": 2},
}
STOPPED = ("ArcFace, classes split",)


def trained(name: str, steps: int, stop: int | None, checkpoint: Path) -> list[float]:
    """The losses of a training, of all its steps or of those up to `stop`."""
    torch.manual_seed(0)
    module = backbones.create("mobilefacenet:0.25", 32, input_size=SIZE)
    with torch.no_grad():
        module.train()(torch.randn(8, 3, *SIZE))
    network = from_module(module.eval(), "rgb-127.5-128", "MobileFaceNet 0.25", SIZE)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (320, *SIZE, 3), dtype=np.uint8)
    faces = TrainingFaces(images, np.arange(len(images)) % PEOPLE)
    student = calibrated(network, images[:32], BitPlan.parse("w4a4"), Calibration("minmax"))
    learn.make_learnable(student)
    training = Training(
        **LOSSES[name], epochs=steps * BATCH / len(images), batch=BATCH, precision="f32", device="cpu",
        schedule="constant", optimizer="sgd", rate=1e-2,
    )  # fmt: skip
    loss = build_sum(training.loss, 32, PEOPLE, generator=torch.Generator().manual_seed(0))
    targets = random.standard_normal((2, len(images), 32)).astype(np.float32)
    assert network.preprocess is not None
    trainee = Trainee(student.graph, loss, faces, network.preprocess, None, targets, run=fused(student.graph))
    losses: list[float] = []
    asked = [False]

    def watch(status: Any) -> None:
        losses.append(status.loss)
        asked[0] = stop is not None and len(losses) == stop - 1

    if stop:
        loop._interruptible = lambda: nullcontext(lambda: asked[0])  # type: ignore
    with suppress(Interrupted):
        fit(trainee, training, {"training": name}, checkpoint, resume=True, watch=watch)
    return losses


def launched(count: int, *arguments: str) -> tuple[list[float], float]:
    """The losses of a training on so many ranks, and its seconds."""
    script = [__file__, *arguments]
    command = [sys.executable, *script]
    if count > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *script]
    began = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    return json.loads(Path(arguments[-1]).read_text(encoding="utf-8")), time.perf_counter() - began


def largest(losses: list[float], alone: list[float]) -> float:
    """The largest relative difference of any step."""
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(losses, alone, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--worker", nargs=4, metavar=("LOSS", "STOP", "CHECKPOINT", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, stop, checkpoint, out = options.worker
        ranks.begin()
        losses = trained(name, options.steps, int(stop) or None, Path(checkpoint))
        if ranks.is_first():
            Path(out).write_text(json.dumps(losses), encoding="utf-8")
        ranks.end()
        return
    rows = []
    steps = ("--steps", str(options.steps), "--worker")
    with TemporaryDirectory() as folder:
        for number, name in enumerate(LOSSES):
            out = str(Path(folder) / "losses.json")
            alone, _ = launched(1, *steps, name, "0", f"{folder}/{number}-1", out)
            for count in (2, 4):
                losses, _ = launched(count, *steps, name, "0", f"{folder}/{number}-{count}", out)
                rows.append({"loss": name, "ranks": str(count), "largest difference": largest(losses, alone)})
            for count in (1, 4) if name in STOPPED else ():
                place = f"{folder}/{number}-resumed-{count}"
                begun, _ = launched(2, *steps, name, str(options.steps // 2), place, out)
                rest, _ = launched(count, *steps, name, "0", place, out)
                difference = largest([*begun, *rest], alone)
                rows.append({"loss": name, "ranks": f"2, then {count}", "largest difference": difference})
    save("ranks", rows, steps=options.steps, batch=BATCH)


if __name__ == "__main__":
    main()
