"""Quantization, pruning and distillation at equal bytes and equal latency, on two MobileFaceNets.

    python benchmarks/smaller.py [--networks relu6,prelu] [--out out/smaller]

What is compared is in `smaller-relu6.yaml` and `smaller-prelu.yaml`: each candidate as `bitface compare` makes it, from
the 5,532 LFW images that are in no test pair, or as `post_training.py` and `mixed_precision.py` have left it, which go
first; tested on the LFW pairs and on all pairs of their 7,701 images. Stopped, it goes on where it stopped. Latency is
one image on one thread of OpenVINO, all of a network's candidates in one run.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.common import DATA, HERE, LFW, known, save

from bitface.cli.console import progress
from bitface.inputs.comparisons import Comparison, read_comparison
from bitface.jobs.compare import compare_candidates
from bitface.report.tables import percent
from bitface.results.comparison import CandidateRow

NETWORKS = {"relu6": "MobileFaceNet ReLU6", "prelu": "MobileFaceNet PReLU"}


def located(comparison: Comparison) -> Comparison:
    """The same with the data where it is."""
    return replace(
        comparison,
        model=DATA / "models" / comparison.model.name,
        source=replace(comparison.source, images=(LFW / "images",), image_list=LFW / "not_in_pairs.txt"),
        pairs=LFW / "pairs.csv",
        root=LFW / "images",
    )


def rows_of(network: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one comparison."""
    result = []
    for row in content["rows"]:
        if row["error"]:
            result.append({"network": network, "candidate": row["name"], "error": row["error"]})
            continue
        figures = {figure.name: figure for figure in CandidateRow.model_validate(row).figures}
        latency = row["latency"]
        result.append(
            {
                "network": network,
                "candidate": row["name"],
                "bytes": row["bytes"],
                "parameters": row["parameters"],
                "macs": row["macs"],
                "ms": latency["median_ms"],
                "ratio": latency["ratio"],
                "ratio_interval": latency["ratio_interval"],
                "note": latency["note"],
                "LFW %": percent(figures["accuracy"]),
                **{f"{name} %": percent(figure) for name, figure in figures.items() if name.startswith("TAR")},
                "figures": row["figures"],
                "copies": row["copies"],
                "not beaten at fewer": [cost for cost, best in content["frontier"].items() if row["name"] in best],
            }
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--out", type=Path, default=Path("out/smaller"))
    options = parser.parse_args()
    for word in options.networks.split(","):
        if word not in NETWORKS:
            raise SystemExit(f"unknown network '{word}': use {', '.join(NETWORKS)}")
        with progress() as steps:
            comparison = located(read_comparison(HERE / f"smaller-{word}.yaml"))
            content = compare_candidates(comparison, options.out / word, steps)
        others = [row for row in known("smaller") if row["network"] != NETWORKS[word]]
        test = "LFW View 2; TAR over all pairs of its 7,701 images"
        save("smaller", [*others, *rows_of(NETWORKS[word], content)], test=test, command="python benchmarks/smaller.py")


if __name__ == "__main__":
    main()
