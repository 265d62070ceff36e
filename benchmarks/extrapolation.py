"""Do extrapolated thresholds keep their word? The true FMR of many draws beside the interval that each came with.

    python benchmarks/extrapolation.py [--draws 100] [--only TEXT] [--out out/extrapolation]

The embeddings of LFW's 7,701 test images form 29.6 million impostor pairs. From them a small set is drawn again and
again, as somebody has who calibrates: pairs at random, as in a list, or people with all pairs of their images. Its
threshold is extrapolated to FARs that it can't decide, and the share of all 29.6 million pairs that really pass it is
held against the interval.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, known, networks, save

from bitface.data.faces import FaceFile
from bitface.evaluation import identity_of, read_pairs, unit_rows
from bitface.evaluation.figures.extrapolate import TAIL, extrapolated_threshold
from bitface.evaluation.protocols.all_pairs import all_pairs
from bitface.inputs.embeddings import embed_kept
from bitface.inputs.models import prepare
from bitface.runtime.machine import describe
from bitface.store import Store

# How many pairs or people are drawn, and the FARs: some thirds of what so many decide, and thirtieths.
DRAWN = {
    "pairs": ((3_000, (1e-3, 1e-4)), (30_000, (1e-4, 1e-5)), (300_000, (1e-5, 1e-6))),
    "people": ((150, (1e-4, 1e-5)), (500, (1e-5, 1e-6))),
}


def impostors(unit: np.ndarray, people: np.ndarray) -> np.ndarray:
    """The scores of all impostor pairs, ascending, float32."""
    parts = []
    for at in range(0, len(unit), 512):
        scores = (unit[at : at + 512] @ unit[at:].T).astype(np.float32)
        other = people[at : at + 512, None] != people[None, at:]
        later = np.arange(len(scores))[:, None] < np.arange(scores.shape[1])[None]
        parts.append(scores[other & later])
    return np.sort(np.concatenate(parts))


def of_list(truth: np.ndarray, count: int, far: float, seed: int) -> tuple[float, float, float]:
    """Threshold and interval from pairs at random."""
    drawn = truth[np.random.default_rng(seed).choice(len(truth), count, replace=False)].astype(np.float64)
    one = extrapolated_threshold(np.sort(drawn)[::-1][: TAIL + 1], count, far, seed=seed)
    return one.threshold, one.interval.low, one.interval.high


def of_people(rows: np.ndarray, people: np.ndarray, count: int, far: float, seed: int) -> tuple[float, float, float]:
    """Threshold and interval from all pairs of some people's images, as `calibrate --extrapolate` finds them."""
    names = np.random.default_rng(seed).permutation(people.max() + 1)[:count]
    drawn = np.isin(people, names)
    summary = all_pairs(rows[drawn], people[drawn], (far,), resamples=1)
    assert summary.subjects is not None
    one = extrapolated_threshold(summary.subjects.tail, summary.counts.impostor, far, summary.subjects, seed)
    return one.threshold, one.interval.low, one.interval.high


def embedded(name: str, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the test images and whom each shows."""
    path, preprocess = networks()[name]
    images = read_pairs(LFW / "pairs.csv", LFW / "images").paths
    files = [FaceFile(LFW / "images", image) for image in images]
    people = np.unique([identity_of(image) for image in images], return_inverse=True)[1]
    embedder = prepare(path, files, preprocess=preprocess).embedder
    return np.asarray(embed_kept(embedder, files, Store(out))[0].values), people


def row_of(
    key: tuple[str, str, int, float], truth: np.ndarray, rows: np.ndarray, people: np.ndarray, draws: int
) -> dict[str, Any]:
    """How often the interval held, and how far the true rate lies from the target."""
    name, kind, count, far = key
    found = [
        of_list(truth, count, far, seed) if kind == "pairs" else of_people(rows, people, count, far, seed)
        for seed in range(draws)
    ]
    true = np.array([1 - np.searchsorted(truth, one, "left") / len(truth) for one, _, _ in found])
    low, high = np.array([bounds for _, *bounds in found]).T
    return {
        "key": f"{name} {kind} {count} {far:g}",
        "network": name,
        "drawn": kind,
        "count": count,
        "far": far,
        "draws": draws,
        "cpu": describe()["cpu"],
        "held": int(((low <= true) & (true <= high)).sum()),
        "below": int((true < low).sum()),
        "above": int((true > high).sum()),
        "true / target": [round(float(one), 2) for one in np.quantile(true / far, [0.025, 0.5, 0.975])],
        "interval / target": [round(float(np.median(side) / far), 3) for side in (low, high)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--only", default="MobileFaceNet PReLU", help="rows whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/extrapolation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in networks():
        keys = [(name, kind, count, far) for kind, sizes in DRAWN.items() for count, fars in sizes for far in fars]
        there = {row["key"] for row in known("extrapolation")}
        texts = {key: f"{key[0]} {key[1]} {key[2]} {key[3]:g}" for key in keys}
        keys = [key for key in keys if options.only in texts[key] and texts[key] not in there]
        if not keys:
            continue
        rows, people = embedded(name, options.out)
        truth = impostors(unit_rows(rows)[0], people)
        for key in keys:
            row = row_of(key, truth, rows, people, options.draws)
            order = [f"{name} {kind} {count} {far:g}" for name in networks() for kind, sizes in DRAWN.items()
                     for count, fars in sizes for far in fars]  # fmt: skip
            table = sorted([*known("extrapolation"), row], key=lambda one: order.index(one["key"]))
            save("extrapolation", table, test="the 29.6 million impostor pairs of LFW View 2, subsampled")


if __name__ == "__main__":
    main()
