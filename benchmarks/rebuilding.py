"""What scales of weights that learn while units are rebuilt are worth, and longer units, in short runs.

    python benchmarks/rebuilding.py [--network NAME] [--bits w4a4s8] [--seeds 0] [--only WORDS]

Each row is one network, calibrated and rebuilt from a few LFW faces that are in no pair (`--images`), with fewer steps
than `--effort max` has, so that many can be compared: the mean cosine to the float network on 256 other such faces,
simulated in floating point, with its standard error. Seeds draw other faces. Rows are saved one by one.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from lib.common import known, save
from lib.learning import network_and_faces

from bitface.quant import BitPlan, Calibration, Reconstruction
from bitface.quant.post_training import calibrated
from bitface.runtime.machine import describe

# What is tried → what differs from today's settings.
CHANGES: dict[str, dict[str, Any]] = {
    "learn with the roundings": {},
    "learn at last": {"scale_weights": False},
    # Neighbouring units learn together, as MRECG (Ma et al., CVPR 2023) joins those whose errors depend on one another.
    "units of up to 6 layers": {"layers": 6},
    "units of up to 9 layers": {"layers": 9},
}
KEYS = ("network", "bits", "changes", "images", "steps", "tuning", "seed")


def rebuilt(name: str, bits: str, changes: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    network, faces = network_and_faces(name, options.images, seed)
    settings = Reconstruction(steps=options.steps, tuning=options.tuning, batch=16, seed=seed, **CHANGES[changes])
    began = time.process_time()
    calibration = Calibration(rotate="hadamard", reconstruction=settings, device="cpu")
    student = calibrated(network, np.asarray(faces.learning), BitPlan.parse(bits), calibration)
    seconds = time.process_time() - began
    assert network.preprocess is not None
    cosines = []
    with torch.no_grad():
        for start in range(0, len(faces.held_out), 64):
            inputs = torch.from_numpy(network.preprocess(faces.held_out[start : start + 64]))
            both = student.graph(inputs), network.graph(inputs)
            cosines.append(torch.nn.functional.cosine_similarity(*both))
    every = torch.cat(cosines)
    return {
        "network": name, "bits": bits, "changes": changes, "images": options.images, "steps": options.steps,
        "tuning": options.tuning, "seed": seed, "cosine": round(float(every.mean()), 4),
        "standard error": round(float(every.std()) / len(every) ** 0.5, 4), "seconds of one core": round(seconds, 1),
        "cpu": describe()["cpu"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="MobileFaceNet PReLU")
    parser.add_argument("--bits", default="w4a4s8")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="changes whose name holds these words")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--tuning", type=int, default=60)
    options = parser.parse_args()
    for seed in map(int, options.seeds.split(",")):
        for changes in (name for name in CHANGES if options.only in name):
            rows = known("rebuilding")
            row = rebuilt(options.network, options.bits, changes, seed, options)
            print(row, flush=True)
            key = [row[one] for one in KEYS]
            save("rebuilding", [one for one in rows if [one[part] for part in KEYS] != key] + [row])


if __name__ == "__main__":
    main()
