"""What each layer costs, how well proxies rank layers, and what bit plans buy beside uniform bits.

    python benchmarks/sensitivity.py [--networks all] [--faces 128] [--tries 8]

Needs $BITFACE_DATA (or ../shared/data): LFW images outside the verification pairs calibrate, choose and judge. One
thread. Tables and plans of each network go to a temporary folder; the figures to `results/sensitivity.json`.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lib.common import LFW, networks, save

from bitface.cli.console import progress
from bitface.data.face_source import FaceSource
from bitface.jobs.search import WIDTHS, SearchRequest, search_plans
from bitface.jobs.sensitivity import measure_sensitivity
from bitface.search.budget import Budget
from bitface.search.sweep import SensitivityRequest

# Under the bytes of uniform 4 bits on each of the three networks: a mean to compare with.
BUDGET = "3.5bits"


def measured(path: Path, preprocess: str | None, out: Path, faces: int, tries: int) -> dict[str, Any]:
    """One network: the sweep, then the search with its table."""
    request = SensitivityRequest(
        path,
        FaceSource([LFW / "images"], LFW / "not_in_pairs.txt"),
        out,
        WIDTHS,
        (8, 4, 2),
        faces,
        preprocess=preprocess,
        force=True,
    )
    started = time.perf_counter()
    with progress() as steps:
        table = measure_sensitivity(request, steps)
        swept = time.perf_counter()
        result = search_plans(SearchRequest(request, Budget.parse(BUDGET), tries=tries), steps)
    kept = ("label", "limit", "weight_bytes", "mean_bits", "agreement", "unrefined_agreement", "chosen_agreement")
    return {
        "units": len(table["units"]),
        "faces": table["faces"]["measured"],
        "correlations": table["correlations"],
        "seconds": {
            "sensitivity": round(swept - started, 1),
            **{f"sensitivity, {key}": value for key, value in table["seconds"].items()},
            "search": round(time.perf_counter() - swept, 1),
        },
        "front": [{key: row[key] for key in kept} for row in result["front"]],
        "uniform": [{key: row[key] for key in kept if key in row} for row in result["uniform"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = networks()
    parser.add_argument("--networks", default=",".join(known))
    parser.add_argument("--faces", type=int, default=128)
    parser.add_argument("--tries", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"network": name, **measured(*known[name], Path(folder), options.faces, options.tries)})
        print(rows[-1], flush=True)
    save("sensitivity", rows, threads=1, budget=BUDGET, tries=options.tries)


if __name__ == "__main__":
    main()
