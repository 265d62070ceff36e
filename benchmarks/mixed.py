"""What mixed galleries cost: float and integer galleries against float and integer probes, and galleries in int8.

    python benchmarks/mixed.py [--only TEXT] [--out out/mixed] [--trained out/qat]

Both MobileFaceNets at w8a8 (post-training), w6a6 and w4a4 (trained, for two and three epochs only), on LFW: TAR over
all pairs of the 7,701 test images, and rank-1 with the first image of each person enrolled and the others searched for.
An artifact that `qat.py` has left in `--trained` is taken as it is. Training images are in no test pair, but two thirds
of them show people who are in one.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import FARS, LFW, known, networks, save
from qat import PRELU, RELU6, Run, alone, carry_out, folder_of, whole_machine

from bitface.data.faces import FaceFile
from bitface.evaluation import identity_of, read_pairs
from bitface.evaluation.gallery import Gallery, Origin, enrolled
from bitface.evaluation.gallery_file import write_gallery
from bitface.evaluation.mixed import BASELINE, matrix
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.closed_set import identify
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.protocols.people import ClosedSetProtocol
from bitface.evaluation.scores.similarity import unit_rows
from bitface.inputs.embeddings import embed_kept
from bitface.inputs.models import prepare
from bitface.store import Store

RUNS = {
    "w8a8": lambda network: Run(network, "best-w8a8", 0, (("post_training", True),)),
    "w6a6": lambda network: Run(network, "best-w6a6", 0, (("epochs", 2), ("min_steps", 0))),
    "w4a4": lambda network: Run(network, "best-w4a4", 0, (("epochs", 3), ("min_steps", 0))),
}


def artifact(run: Run, places: list[Path]) -> Path:
    """The artifact of a run: one that is there, or a new one in the first place."""
    for place in places:
        if (folder_of(run, place) / "model.bitface").is_file():
            return folder_of(run, place) / "model.bitface"
    carry_out(run, places[0])
    return folder_of(run, places[0]) / "model.bitface"


def measure(network: str, bits: str, places: list[Path]) -> dict[str, Any]:
    """One matrix, and what a gallery of the integer model costs in int8."""
    path, preprocess = networks()[network]
    pairs = read_pairs(LFW / "pairs.csv", LFW / "images")
    files = [FaceFile(LFW / "images", name) for name in pairs.paths]
    made = artifact(RUNS[bits](network), places)

    def embedded(model: Path, word: str | None) -> tuple[Embeddings, str]:
        embedder = prepare(model, files, preprocess=word).embedder
        return embed_kept(embedder, files, Store(places[0]))[0], embedder.engine

    (baseline, _), (model, engine) = embedded(path, preprocess), embedded(made, None)
    cells = matrix(PairProtocol("LFW", pairs, all_pairs=True), baseline, model, FARS)
    people, closed = np.array([identity_of(name) for name in pairs.paths]), ClosedSetProtocol.of(pairs.paths)
    rows = np.asarray(model.values)
    gallery = enrolled(rows[closed.enrolled], people[closed.enrolled].tolist(), Origin(model.fingerprint, ""))
    return {
        "key": f"{network} {bits}",
        "network": network,
        "bits": bits,
        "engine": engine,
        "training": RUNS[bits](network).key,
        "cells": [
            {
                "gallery": "float" if cell.gallery == BASELINE else "integer",
                "probe": "float" if cell.probe == BASELINE else "integer",
                "figures": [figure.to_json() for figure in cell.figures],
            }
            for cell in cells
        ],
        "int8 gallery": int8_cost(gallery, rows[closed.probes], people[closed.probes], places[0]),
    }


def int8_cost(gallery: Gallery, probes: np.ndarray, subjects: np.ndarray, folder: Path) -> dict[str, Any]:
    """A float32 gallery beside itself in int8: bytes of the files, rank-1, and the largest difference of a score."""
    forms = {"float32": gallery, "int8": gallery.quantized()}
    facts: dict[str, Any] = {"images": len(gallery), "probes": len(probes)}
    for name, form in forms.items():
        facts[f"{name}_bytes"] = write_gallery(folder / f"gallery.{name}.safetensors", form)
        rank1 = identify(form, np.array(gallery.ids), probes, subjects, (1,)).points[0]
        facts |= {f"{name}_rank1": rank1.rate, f"{name}_interval": asdict(rank1.interval)}
    facts["lost"] = facts["float32_rank1"] - facts["int8_rank1"]
    change = np.subtract(*(form.unit(slice(None))[0] for form in forms.values()))
    facts["largest_difference"] = max(float(np.abs(unit @ change.T).max()) for unit in unit_rows(probes)[0])
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/mixed"))
    parser.add_argument("--trained", type=Path, default=Path("out/qat"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for bits in RUNS:
        for network in (RELU6, PRELU):
            key = f"{network} {bits}"
            if options.only not in key or any(row["key"] == key for row in known("mixed")):
                continue
            row = measure(network, bits, [options.out, options.trained])
            with alone(options.out / "mixed.lock"):
                rows = [*(other for other in known("mixed") if other["key"] != key), row]
                save(
                    "mixed",
                    rows,
                    test="LFW View 2: all pairs of its 7,701 images, and their people",
                    machine=whole_machine(),
                )


if __name__ == "__main__":
    main()
