"""Four bits without training: what the convention and the rotation of residual streams are worth, each alone.

    python benchmarks/four_bits.py [--networks NAMES] [--rotations off,hadamard,learned] [--effort fast] [--seeds 0,1,2]

Each network in floating point, then `w4a4` (strict) and `w4a4s8` (sums and depthwise weights at 8 bits), with the
streams as they are and turned two ways, calibrated on LFW faces that are in no pair and tested on LFW: accuracy of the
6,000 pairs, TAR over all pairs of the 7,701 images with subject-bootstrap intervals. Each seed draws other faces. SFace
has no stream that could be turned. Rows are saved one by one, and those of other settings stay.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from lib.common import HERE, evaluated, known, networks, save
from lib.learning import quantized

from bitface.quant import Calibration
from bitface.quant.reconstruct import effort

ROTATIONS = ("off", "hadamard", "learned")
PLANS = ("w4a4", "w4a4s8")
KEYS = ("network", "bits", "rotate", "effort", "seed")


def row_of(name: str, bits: str, rotate: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    folder = options.out / networks()[name][0].stem / f"{bits}-{rotate}-{options.effort}-{seed}"
    calibration = Calibration(rotate=rotate, reconstruction=effort(options.effort))
    return {
        "network": name, "bits": bits, "rotate": rotate, "effort": options.effort, "seed": seed,
        **quantized(name, folder, bits, calibration, seed, options.images), "images": options.images,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", help="default: all three")
    parser.add_argument("--rotations", default=",".join(ROTATIONS))
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("out/four-bits"))
    options = parser.parse_args()
    path, names = HERE / "results" / "four_bits.json", list(networks())
    for name in options.networks.split(",") if options.networks else names:
        keep({"network": name, "bits": "float32", **evaluated(*networks()[name])}, path, names)
        for seed in map(int, options.seeds.split(",")):
            for bits, rotate in product(PLANS, options.rotations.split(",")):
                keep(row_of(name, bits, rotate, seed, options), path, names)


def keep(row: dict[str, Any], path: Path, names: list[str]) -> None:
    """Saves a row in the place of the one with the same settings."""
    by_key = {tuple(one.get(key) for key in KEYS): one for one in [*known(path.stem), row]}
    words = (*PLANS, *ROTATIONS)
    rows = sorted(
        by_key.values(),
        key=lambda one: (
            names.index(one["network"]), one.get("effort", ""),
            *(words.index(one[key]) if one.get(key) in words else -1 for key in ("bits", "rotate")),
            one.get("seed", -1),
        ),
    )  # fmt: skip
    save(path.stem, rows)


if __name__ == "__main__":
    main()
