"""What a searched bit plan buys: at the bytes of uniform 4 bits, and at a tenth of the float32 weight bits.

    python benchmarks/mixed_precision.py [--networks "MobileFaceNet ReLU6,..."] [--only TEXT] [--out out/plans]

`bitface search` chooses the plans on faces outside the LFW pairs, by the proxy `jacobian` and a few measured swaps;
`bitface quantize` makes the artifacts, without training (1,024 faces) or with it (5,532 faces, our recipe for the
plan); LFW is the test, in OpenVINO's integer kernels. Rows that `results/mixed_precision.json` holds already aren't
measured again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lib.common import LFW, evaluated, known, networks, save

from bitface.cli.console import progress
from bitface.data.face_source import FaceSource
from bitface.inputs import recipes as recipe
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.jobs.search import SearchRequest, search_plans
from bitface.quant import BitPlan
from bitface.results.folder import CHECKPOINT
from bitface.results.quantization import agreed
from bitface.search.budget import Budget
from bitface.search.sweep import SensitivityRequest

# The plan, and how the artifact is made.
RUNS = [
    ("uniform w4a8", "fast"),
    ("as large as w4a8", "fast"),
    ("10 % of float32", "qat"),
]
_TENTH = "3.2bits"
_QAT_EPOCHS = 4.0
FACES = FaceSource([LFW / "images"], LFW / "not_in_pairs.txt")


def searched(name: str, budget: str, out: Path) -> Path:
    """The plan file of a budget; searched for unless it is there."""
    path, preprocess = networks()[name]
    folder = out / name.replace(" ", "-") / budget
    result = folder / "result.json"
    if not result.is_file():
        base = SensitivityRequest(path, FACES, folder, preprocess=preprocess)
        with progress() as steps:
            search_plans(SearchRequest(base, Budget.parse(budget), cost="jacobian", points=4, tries=4), steps)
    return folder / json.loads(result.read_text(encoding="utf-8"))["best"]["file"]


def planned(name: str, plan: str, out: Path) -> BitPlan:
    """A plan by its name."""
    if plan == "uniform w4a8":
        return BitPlan.parse("w4a8")
    budget = f"{uniform_bytes(name)}B" if plan == "as large as w4a8" else _TENTH
    return BitPlan.parse(str(searched(name, budget, out)))


def uniform_bytes(name: str) -> int:
    """The packed weights of uniform w4a8, its first and last layer in 8 bits; its row is measured first."""
    return next(
        r["weight bytes"] for r in known("mixed_precision") if (r["network"], r["plan"]) == (name, "uniform w4a8")
    )


def measure(name: str, plan: str, how: str, out: Path) -> dict[str, Any]:
    path, preprocess = networks()[name]
    bits = planned(name, plan, out)
    folder = out / name.replace(" ", "-") / f"{plan}-{how}".replace(" ", "-").replace("%", "percent")
    request = QuantizeRequest(
        path, FACES if how == "qat" else FACES.up_to(1024), folder, bits, preprocess,
        data_kind="real", resume=(folder / CHECKPOINT).is_file(), force=True,
    )  # fmt: skip
    if how == "qat":
        chosen = recipe.read(recipe.best_for(bits))
        assert isinstance(chosen, recipe.Recipe)
        request = replace(request, method=chosen.for_epochs(_QAT_EPOCHS).method)
    began = time.perf_counter()
    with progress() as steps:
        result = quantize_model(request, steps)
    weights = sum(layer["bytes"] for layer in result["layers"])
    return {
        "network": name,
        "plan": plan,
        "how": how,
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "threads": torch.get_num_threads(),
        **evaluated(folder / "model.bitface", None),
        "cosine": agreed(result)[1]["mean"],
        "weight bytes": weights,
        "share of float32": weights / result["float_bytes"],
        "bytes": result["bytes"]["model.bitface"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(networks()))
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/plans"))
    options = parser.parse_args()
    for name in options.networks.split(","):
        for plan, how in RUNS:
            key = (name, plan, how)
            if options.only in " ".join(key) and key not in {
                (r["network"], r["plan"], r["how"]) for r in known("mixed_precision")
            }:
                row = measure(name, plan, how, options.out)
                save(
                    "mixed_precision",
                    [*known("mixed_precision"), row],
                    test="LFW View 2; TAR over all pairs of its 7,701 images",
                )


if __name__ == "__main__":
    main()
