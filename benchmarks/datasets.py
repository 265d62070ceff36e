"""Can a set of faces be read from disk as fast as it is trained with, in bounded memory and in one order?

    python benchmarks/datasets.py [--images 200000] [--folder /tmp/bitface-records] [--rounds 5]

Makes RecordIO of noise in the shape of crops (some 6 KB each; 64 variations of each coarse image) where the folder
doesn't hold it. Memory is that of this process and of its workers together, what they share divided among them (PSS,
shared memory included), over what it was before the set was opened. A whole epoch is read with 0, 1 and 4 workers, each
in a new process, with targets in a file as a teacher's; its pixels, labels and order make one hash. Rates are images
for a second of one core's time, whatever else runs, and take turns in rounds: reading alone, a MobileFaceNet's
full-precision training from memory, and that training from records. Epochs that `results/datasets.json` holds aren't
read again.
"""

import argparse
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lib.common import known, save

from bitface import backbones
from bitface.data.crops import Crops, Damage
from bitface.data.datasets.rec import RecordFaces
from bitface.data.writers import RecWriter
from bitface.files import new_folder
from bitface.losses import build_sum
from bitface.preprocess import parse
from bitface.training import Status, Trainee, Training, TrainingFaces, fit
from bitface.training.loader import Loader
from bitface.training.teacher import StoredTargets

BATCH, SIDE, EMBEDDING = 64, 112, 512
PER_PERSON, VARIATIONS = 50, 64
WORKERS = (0, 1, 4)
LOSS: dict[str, Any] = {"feature": {"form": "cosine"}}
# Steps of a turn: of reading, and of training after those that start it.
READ, TRAINED, STARTING = 50, 3, 1


def made(count: int) -> Iterator[tuple[int, bytes, int]]:
    """Images in the shape of crops: coarse noise, smooth, under some fine noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (max(1, count // VARIATIONS), 14, 14, 3), dtype=np.uint8)
    fine = random.normal(0, 12, (VARIATIONS, SIDE, SIDE, 3)).astype(np.int16)
    for number in range(count):
        smooth = cv2.resize(coarse[number % len(coarse)], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        image = np.clip(smooth + fine[number // len(coarse) % VARIATIONS], 0, 255).astype(np.uint8)
        yield number, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes(), number // PER_PERSON


def write_targets(path: Path, count: int) -> None:
    """What a teacher might have said, at an epoch's full size."""
    values = np.lib.format.open_memmap(path, "w+", np.float32, (2, count, EMBEDDING))
    noise = np.random.default_rng(1).standard_normal((1024, EMBEDDING)).astype(np.float32)
    for begin in range(0, count, len(noise)):
        values[:, begin : begin + len(noise)] = noise[: min(len(noise), count - begin)]
    values.flush()


def resident() -> int:
    """Bytes of this process and of those it started, what they share among them counted once."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    total = 0
    for process in [str(os.getpid()), *children]:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        total += 1024 * int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
    return total


def opened(folder: Path, workers: int) -> TrainingFaces:
    dataset = RecordFaces(folder)
    faces = Crops(dataset[:], (SIDE, SIDE), Damage(len(dataset)))
    return TrainingFaces(faces, dataset.labels.astype(np.int64), workers)


def epoch(folder: Path, workers: int, targets: Path) -> dict[str, Any]:
    """A whole epoch of steps: its hash, the largest memory over what it was before, and the rate."""
    gc.collect()
    before = resident()
    faces, cached = opened(folder, workers), StoredTargets(targets)
    loader, digest, most = Loader(faces, Training(batch=BATCH)), hashlib.sha256(), 0
    steps = loader.sampler.steps_per_epoch
    began = time.perf_counter()
    for number in range(steps):
        step = loader.take(number, lambda images: np.zeros((len(images), EMBEDDING), np.float32), cached)
        for part in (step.images, step.labels, step.targets):
            digest.update(np.ascontiguousarray(part).data)
        if number % 100 == 99:
            most = max(most, resident() - before)
    seconds = time.perf_counter() - began
    most = max(most, resident() - before)
    loader.close()
    return {
        "workers": workers, "images": steps * BATCH, "images/s": steps * BATCH / seconds, "growth MB": most / 1e6,
        "hash": digest.hexdigest()[:16],
    }  # fmt: skip


def reading(faces: TrainingFaces) -> Iterator[float]:
    """Images for a second of one core, in each turn."""
    loader, step = Loader(faces, Training(batch=BATCH)), 0
    while True:
        began = time.process_time()
        for _ in range(READ):
            loader.views(step)
            step += 1
        yield READ * BATCH / (time.process_time() - began)


def training(faces: TrainingFaces, targets: Any) -> Iterator[float]:
    """As `reading`."""
    torch.manual_seed(0)
    model, preprocess = backbones.create("mobilefacenet", EMBEDDING), parse("rgb-127.5-128", (SIDE, SIDE))
    trained = Training(loss=LOSS, batch=BATCH, epochs=1, schedule="constant", rate=1e-6)
    steps = max(1, len(faces.images) // BATCH)
    short = Training(**{**vars(trained), "epochs": (STARTING + TRAINED) / steps})
    while True:
        times: list[float] = []

        def watch(_: Status, times: list[float] = times) -> None:
            times.append(time.process_time())

        fit(
            Trainee(model, build_sum(LOSS, EMBEDDING, 0), faces, preprocess, None, targets, train_statistics=True),
            short, watch=watch,
        )  # fmt: skip
        yield (len(times) - STARTING) * BATCH / (times[-1] - times[STARTING - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bitface-records")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epoch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--targets", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder
    if options.epoch is not None:
        print(json.dumps(epoch(folder, options.epoch, options.targets)))
        return
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            RecWriter(temporary).write(made(options.images))
    before = known("datasets")
    rows: list[dict[str, Any]] = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["BITFACE_CACHE"] = scratch
        began = time.perf_counter()
        dataset = RecordFaces(folder)
        rows.append({"what": "open", "seconds": time.perf_counter() - began, "images": len(dataset)})
        began = time.perf_counter()
        labels = dataset.labels
        rows.append({"what": "labels", "seconds": time.perf_counter() - began, "identities": int(labels.max()) + 1})
        rows[0]["index bytes"] = dataset._begins.nbytes / len(dataset)
        size = (folder / "train.rec").stat().st_size
        targets = Path(scratch) / "targets.npy"
        write_targets(targets, len(dataset))
        del dataset, labels
        rows += [row for row in before if row["what"] == "epoch"]
        for workers in WORKERS[len(rows) - 2 :]:
            command = [
                sys.executable,
                __file__,
                "--folder",
                str(folder),
                "--epoch",
                str(workers),
                "--targets",
                str(targets),
            ]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"what": "epoch", **json.loads(answer)})
            print(rows[-1], flush=True)
        outside, cached = TrainingFaces(opened(folder, 0).images[: 16 * BATCH]), StoredTargets(targets)
        inside = TrainingFaces(np.asarray(outside.images))
        turns = {
            "reading": reading(opened(folder, 0)),
            "training, in memory": training(inside, np.array(np.load(targets, mmap_mode="r")[:, : len(inside.images)])),
            "training, from records": training(outside, cached),
        }
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(options.rounds):
            for name, turn in turns.items():
                rates[name].append(next(turn))
                print(name, round(rates[name][-1]), flush=True)
        for name, values in rates.items():
            rows.append({"what": name, "images/s": float(np.median(values)), "turns": values})
    save(
        "datasets",
        rows,
        images=options.images,
        bytes_an_image=size / options.images,
        batch=BATCH,
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()
