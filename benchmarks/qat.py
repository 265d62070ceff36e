"""What training gives: recipes on three networks, trained on faces outside the LFW pairs, tested on LFW as integers.

    python benchmarks/qat.py [--groups headline,papers] [--only TEXT] [--out out/qat]

Each run is `bitface quantize --method qat` as a user would start it, tested in OpenVINO's integer kernels: the LFW
pairs, and TAR over all pairs of their 7,701 images, single crop. The 5,532 training images are in no test pair, but
two thirds of them show people who are in one; only the losses that need labels look at who it is. A run that
`results/qat.json` holds already isn't repeated: remove the row to measure it anew.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import HERE, LFW, evaluated, networks, save

from bitface.jobs import QuantizeRequest, quantize_model, recipe

RELU6, PRELU, SFACE = "MobileFaceNet ReLU6", "MobileFaceNet PReLU", "SFace"


@dataclass(frozen=True)
class Run:
    network: str
    recipe: str
    seed: int = 0

    @property
    def key(self) -> str:
        return f"{self.network} {self.recipe} {self.seed}"


def group(name: str) -> list[Run]:
    """The runs of a group, the most wanted first."""
    if name == "headline":
        first = [
            Run(network, f"best-{bits}", seed)
            for seed in (0, 1, 2)
            for bits in ("w6a6", "w4a4", "w8a8", "w3a3", "w2a4")
            for network in (RELU6, PRELU)
            if seed == 0 or bits in ("w6a6", "w4a4")
        ]
        return [*first, *(Run(SFACE, f"best-{bits}") for bits in ("w6a6", "w4a4"))]
    if name == "papers":
        pairs = {
            "quantface-w8a8-real": 1, "quantface-w6a6-real": 1, "ef-quantface-w8a8": 1, "ef-quantface-w6a6": 1,
            "ef-quantface-w6a6-ce": 1, "ef-quantface-w6a6-75": 1, "ef-quantface-w6a6-50": 1,
            "ef-quantface-w6a6-25": 1, "qmobilefacenet-8bit": 1, "qmobilefacenet-4bit": 1, "qmobilefacenet-2bit": 1,
            "qmobilefacenet-mixed": 1, "arcface-4bit": 1, "mimic-4bit": 1, "rcm-4bit": 1, "arcface-3bit": 1,
            "mimic-3bit": 1, "rcm-3bit": 1, "dorefa-rcm-4bit": 1, "dsq-rcm-4bit": 1,
        }  # fmt: skip
        return [Run(RELU6, one) for one in pairs]
    raise SystemExit(f"unknown group '{name}': headline or papers")


def measure(run: Run, out: Path) -> dict[str, Any]:
    """One row: the run's seconds and rate, and what its artifact is worth."""
    path, preprocess = networks()[run.network]
    chosen = recipe.read(run.recipe)
    assert isinstance(chosen, recipe.Recipe)
    chosen = chosen.seeded(run.seed)
    folder = out / run.key.replace(" ", "-")
    began = time.perf_counter()
    result = quantize_model(
        QuantizeRequest(
            path,
            [LFW / "images"],
            folder,
            chosen.bits,
            image_list=LFW / "not_in_pairs.txt",
            preprocess=preprocess,
            seed=run.seed,
            data_kind="real",
            calibration=chosen.calibration,
            method=chosen.method,
            labels=chosen.labels,
            share=chosen.share,
            resume=True,
        )
    )
    seconds = time.perf_counter() - began
    agreed, training = result["agreement"]["openvino"], result["training"] or {}
    return {
        "key": run.key,
        "network": run.network,
        "recipe": run.recipe,
        "bits": result["bits"],
        "seed": run.seed,
        "minutes": round(seconds / 60, 1),
        "images/s": training.get("images_per_second"),
        **evaluated(folder / "model.bitface", None),
        "cosine mean": agreed["mean"],
        "bytes": result["bytes"]["model.bitface"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="headline,papers")
    parser.add_argument("--only", default="", help="runs whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/qat"))
    options = parser.parse_args()
    kept = HERE / "results" / "qat.json"
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.is_file() else []
    for run in [run for name in options.groups.split(",") for run in group(name)]:
        if options.only not in run.key or any(row["key"] == run.key for row in rows):
            continue
        rows.append(measure(run, options.out))
        print(rows[-1], flush=True)
        save("qat", rows, test="LFW View 2; TAR over all pairs of its 7,701 images")


if __name__ == "__main__":
    main()
