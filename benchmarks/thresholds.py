"""Do thresholds hold on people they have never seen? And what do the float network's thresholds do on integers?

    python benchmarks/thresholds.py [--splits 100] [--bits w8a8,w4a8] [--only TEXT] [--out out/thresholds]

The MobileFaceNets are turned into artifacts with 300 faces outside the LFW pairs (post-training). Their embeddings of
the 7,701 test images are split by people, at random, again and again: thresholds are found on one half as `bitface
calibrate` finds them, and the FAR that they have on the other half is held against the interval that they came with.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, artifact, known, networks, save

from bitface.data.faces import FaceFile
from bitface.evaluation import all_pairs, identity_of, read_pairs
from bitface.evaluation.figures.thresholds import thresholds
from bitface.inputs.embeddings import embed_kept
from bitface.inputs.models import prepare
from bitface.jobs.calibrate import DEFAULT_FARS
from bitface.store import Store


def measure(name: str, bits: str, out: Path, splits: int) -> list[dict[str, Any]]:
    """One row for each FAR: how often the interval held, and what the float network's threshold does."""
    path, preprocess = networks()[name]
    images = read_pairs(LFW / "pairs.csv", LFW / "images").paths
    files = [FaceFile(LFW / "images", image) for image in images]
    people = np.unique([identity_of(image) for image in images], return_inverse=True)[1]
    found = {
        kind: embed_kept(prepare(model, files, preprocess=word).embedder, files, Store(out))[0]
        for kind, model, word in (("integer", artifact(name, bits, out), None), ("float", path, preprocess))
    }
    own = all_pairs(found["float"].values, people, DEFAULT_FARS, resamples=0)
    reused = [float(point.threshold or 0) for point in own.tar]
    mine = all_pairs(found["integer"].values, people, DEFAULT_FARS, resamples=0, at=reused)
    held, ratios = np.zeros(len(DEFAULT_FARS), int), []
    began = time.perf_counter()
    for split in range(splits):
        half = np.random.default_rng(split).permutation(people.max() + 1)[people] % 2 == 0
        rows = found["integer"].values
        summary = all_pairs(rows[half], people[half], DEFAULT_FARS, resamples=1)
        chosen = thresholds(summary, resamples=1000, seed=split)
        others = all_pairs(
            rows[~half], people[~half], DEFAULT_FARS, resamples=0, at=[one.threshold for one in chosen]
        ).fixed
        held += [one.expected.low <= there.far <= one.expected.high for one, there in zip(chosen, others, strict=True)]
        ratios.append([there.far / one.far for one, there in zip(chosen, others, strict=True)])
    seconds = (time.perf_counter() - began) / max(splits, 1)
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    return [
        {
            "key": f"{name} {bits} {far:g}",
            "network": name,
            "bits": bits,
            "far": far,
            "splits": splits,
            "held": int(held[index]),
            "far on the other half, as a multiple": [round(float(low[index]), 2), round(float(high[index]), 2)],
            "threshold": mine.tar[index].threshold,
            "tar": mine.tar[index].tar,
            "float threshold": reused[index],
            "far at the float threshold": mine.fixed[index].far,
            "tar at the float threshold": mine.fixed[index].tar,
            "seconds a split": round(seconds, 1),
        }
        for index, far in enumerate(DEFAULT_FARS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--bits", default="w8a8,w4a8")
    parser.add_argument("--only", default="MobileFaceNet", help="networks whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/thresholds"))
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    rows = known("thresholds")
    for bits in options.bits.split(","):
        for name in networks():
            if options.only not in f"{name} {bits}" or any(row["key"].startswith(f"{name} {bits}") for row in rows):
                continue
            rows += measure(name, bits, options.out, options.splits)
            save("thresholds", rows, test="the 7,701 images of LFW View 2, split by people")


if __name__ == "__main__":
    main()
