"""What scaling channels between convolutions is worth at four bits, without training.

    python benchmarks/equalizing.py [--networks NAMES] [--bits w4a4s8,w4a4] [--seeds 0]

Each network is calibrated on 256 LFW faces that are in no pair, with residual streams turned by Hadamard matrices:
with channels as they are; with equal peaks before depthwise layers, as from 8 bits on; with the steps of least error
there; and with the channels before dense layers scaled too, as the library does it below 8 bits. Tested on LFW as
integers: accuracy of the 6,000 pairs, TAR over all pairs of the 7,701 images with subject-bootstrap intervals. Each
seed draws other faces. Rows are saved one by one, and those of other settings stay.
"""

import argparse
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lib.common import known, networks, save
from lib.learning import quantized

from bitface.quant import Calibration, equalize, post_training

KEYS = ("network", "bits", "channels", "seed")
WAYS: dict[str, AbstractContextManager[Any]] = {
    "as they are": patch.object(post_training, "equalize", lambda *_: None),
    "equal peaks": patch.object(post_training, "equalize", lambda *arguments: equalize.equalize(*arguments[:3])),
    "steps of least error": patch.object(equalize, "_smooth", lambda *_: None),
    "and before dense layers": nullcontext(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", help="default: all three")
    parser.add_argument("--bits", default="w4a4s8,w4a4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("out/equalizing"))
    options = parser.parse_args()
    names = options.networks.split(",") if options.networks else list(networks())
    for seed, name, bits, way in product(map(int, options.seeds.split(",")), names, options.bits.split(","), WAYS):
        row = {"network": name, "bits": bits, "channels": way, "seed": seed}
        if any(all(one[key] == row[key] for key in KEYS) for one in known("equalizing")):
            continue
        folder = options.out / "-".join([name.replace(" ", "-"), bits, str(list(WAYS).index(way)), str(seed)])
        with WAYS[way]:
            row |= quantized(name, folder, bits, Calibration(rotate="hadamard"), seed, 256)
        rows = sorted([*known("equalizing"), row], key=partial(place, list(networks())))
        save("equalizing", rows)


def place(names: list[str], row: dict[str, Any]) -> tuple[Any, ...]:
    """Where a row stands in the table."""
    return names.index(row["network"]), row["bits"], list(WAYS).index(row["channels"]), row["seed"]


if __name__ == "__main__":
    main()
