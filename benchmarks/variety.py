"""How varied made faces are for the networks that learn from them, beside real ones: what `synth --judge` measures.

    python benchmarks/variety.py [--networks NAMES] [--faces 1000]

LFW images that are in no pair, faces from the default generator, as they are and brought apart by the network, and
noise, embedded by each network in float32.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, known, networks, save

from bitface.analysis.variety import variety_of
from bitface.data.faces import find_images, load_faces
from bitface.data.sources import Source, cached, opened
from bitface.inputs.faces import chosen_files, settle_preprocess
from bitface.runtime import Embedder, Model, open_float
from bitface.targets.registry import FASTEST

SYNTHETIC, SPREAD = "synthetic:2000", "spread:1000"


def measured(name: str, count: int) -> list[dict[str, Any]]:
    path, preprocess = networks()[name]
    network = open_float(path, preprocess)
    sets = {
        "real (LFW)": find_images([LFW / "images"], LFW / "not_in_pairs.txt"),
        SYNTHETIC: opened(Source.parse(SYNTHETIC)),
    }
    images = {kind: load_faces(chosen_files(files, count), network.size).images for kind, files in sets.items()}
    network, *_ = settle_preprocess(network, images["real (LFW)"], preprocess)
    spread = find_images([cached(Source.parse(SPREAD), network=network)])
    images[SPREAD] = load_faces(chosen_files(spread, count), network.size).images
    images["random noise"] = np.random.default_rng(0).integers(0, 256, (200, *network.size, 3), dtype=np.uint8)
    embedder = Embedder(Model(Path(path), "float", network), FASTEST)
    rows = [{"network": name, "kind": kind, **asdict(variety_of(embedder.embed(one)))} for kind, one in images.items()]
    for row in rows:
        row["share"] = row["dimensions"] / rows[0]["dimensions"]
        row["fingerprint"] = network.fingerprint()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", help="default: all three")
    parser.add_argument("--faces", type=int, default=1000)
    options = parser.parse_args()
    for name in options.networks.split(",") if options.networks else networks():
        save("variety", [row for row in known("variety") if row["network"] != name] + measured(name, options.faces))


if __name__ == "__main__":
    main()
