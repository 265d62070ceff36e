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
        schedule="constant", optimizer="sgd", rate=1e-3,
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


def launched(count: int, folder: Path, steps: int, stop: int = 0) -> dict[str, list[float]]:
    """The losses of every training on so many ranks; in `folder` they go on from where one before has stopped."""
    out = folder / "losses.json"
    script = [__file__, "--steps", str(steps), "--worker", str(stop), str(folder), str(out)]
    command = [sys.executable, *script]
    if count > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *script]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    losses: dict[str, list[float]] = json.loads(out.read_text(encoding="utf-8"))
    return losses


def largest(losses: list[float], alone: list[float]) -> float:
    """The largest relative difference of any step."""
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(losses, alone, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--worker", nargs=3, metavar=("STOP", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        stop, folder, out = options.worker
        ranks.begin()
        losses = {
            name: trained(name, options.steps, int(stop) or None, Path(folder) / str(number))
            for number, name in enumerate(LOSSES)
        }
        if ranks.is_first():
            Path(out).write_text(json.dumps(losses), encoding="utf-8")
        ranks.end()
        return
    with TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("1", "2", "4", "2 then 1", "2 then 4")]
        for folder in folders:
            folder.mkdir()
        alone = launched(1, folders[0], options.steps)
        results = {"2": launched(2, folders[1], options.steps), "4": launched(4, folders[2], options.steps)}
        for count, folder in ((1, folders[3]), (4, folders[4])):
            begun = launched(2, folder, options.steps, options.steps // 2)
            rest = launched(count, folder, options.steps)
            results[f"2, then {count}"] = {name: [*begun[name], *rest[name]] for name in LOSSES}
    rows = [
        {"loss": name, "ranks": count, "largest difference": largest(losses[name], alone[name])}
        for name in LOSSES
        for count, losses in results.items()
    ]
    save("ranks", rows, steps=options.steps, batch=BATCH)


if __name__ == "__main__":
    main()
