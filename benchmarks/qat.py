"""What training gives: recipes on three networks, trained on faces outside the LFW pairs, tested on LFW as integers.

    python benchmarks/qat.py [--groups headline,papers,...] [--only TEXT] [--out out/qat]

Each run is `bitface quantize --method qat` as a user would start it, tested in OpenVINO's integer kernels: the LFW
pairs, and TAR over all pairs of their 7,701 images, single crop. The 5,532 training images are in no test pair, but
two thirds of them show people who are in one; only the losses that need labels look at who it is. A run that
`results/qat.json` holds already isn't repeated: remove the row to measure it anew, or let it say `before` which change
of the program it was measured. Several of these programs may run beside each other, each held to its cores
(`taskset -c 0 python benchmarks/qat.py ...`): every row says how many it had.
"""

import argparse
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from lib.common import LFW, cores, evaluated, known, networks, save

from bitface.analysis.angular import dissect
from bitface.cli.console import progress
from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile
from bitface.data.synthetic import write_faces
from bitface.evaluation import read_pairs
from bitface.inputs import recipes as recipe
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan
from bitface.quant.reconstruct import effort
from bitface.results.folder import CHECKPOINT
from bitface.results.quantization import agreed
from bitface.runtime import Embedder, open_model
from bitface.runtime.machine import describe
from bitface.training import Training

RELU6, PRELU, SFACE = "MobileFaceNet ReLU6", "MobileFaceNet PReLU", "SFace"
_SETTINGS = [item.name for item in fields(Training)]


@dataclass(frozen=True)
class Run:
    """A recipe on a network.

    `changes` are settings of the training, quantizers, `bits`, `post_training`, the `effort` that a training begins
    with, how streams are turned (`rotate`), or a number of `synthetic` faces beside the real ones. `faces` are sources
    of `bitface quantize --images`, joined by +, or `real` or `noise`.
    """

    network: str
    recipe: str
    seed: int = 0
    changes: tuple[tuple[str, Any], ...] = ()
    faces: str = "real"

    @property
    def key(self) -> str:
        words = [] if self.faces == "real" else [self.faces]
        return " ".join([self.network, self.recipe, *self.changed, *words, str(self.seed)])

    @property
    def changed(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.changes]


def headline() -> list[Run]:
    """Our recipes; three seeds where a figure was promised."""
    both, promised = (RELU6, PRELU), ("w6a6", "w4a4")
    return [
        *(Run(network, f"best-{bits}") for bits in (*promised, "w8a8", "w3a3", "w2a4") for network in both),
        *(Run(SFACE, "best-w6a6", seed) for seed in range(3)),
        # Two thirds of the recipe's epochs and a third of them: what two cores do in ten minutes and in fifteen.
        Run(SFACE, "best-w6a6", changes=(("epochs", 4),)),
        *(Run(SFACE, "best-w4a4", seed, changes=(("epochs", 8),)) for seed in range(3)),
        *(Run(network, f"best-{bits}", seed) for seed in (1, 2) for bits in promised for network in both),
        Run(RELU6, "best-w4a4", 3),  # with two cores: the others had one
        Run(RELU6, "best-w1a4"),
    ]


def papers() -> list[Run]:
    """The recipes of the papers, as they come."""
    names = [name for name in recipe.names() if not name.startswith(("best-", "scratch-"))]
    post = [Run(RELU6, f"qmobilefacenet-{bits}bit", changes=(("post_training", True),)) for bits in (8, 4, 2)]
    post.append(Run(RELU6, "best-w6a6", changes=(("post_training", True),)))
    # EKD's company alone: what is EKD itself worth?
    feature = Run(RELU6, "ef-quantface-w6a6", changes=(("loss", {"feature": {"form": "cosine"}}),))
    # RCM with less of a margin for the error, and with the error as an angle between vectors.
    gentle = {"margin": "arcface", "m": 0.5, "s": 64, "lam": 1}
    milder = [
        Run(RELU6, "rcm-4bit", changes=(("loss", {"rcm": options}),))
        for options in (gentle, {**gentle, "error": "vector"})
    ]
    return [*(Run(RELU6, name) for name in names), *post, feature, *milder]


def quantizers() -> list[Run]:
    """Every other quantizer at 4 bits, everything else equal."""
    kinds = [("minmax", "ema"), ("percentile", "percentile"), ("lsq", "pact"), ("dorefa", "dorefa"), ("dsq", "dsq")]
    return [
        Run(RELU6, "best-w4a4", changes=(("epochs", 3), ("weights", weights), ("activations", activations)))
        for weights, activations in kinds
    ]


def ablation() -> list[Run]:
    """What each part of our recipe at 4 bits is worth, in three epochs unless the part says otherwise."""
    flip = (("views", "flip"), ("teacher", "cached"))
    parts: list[tuple[tuple[str, Any], ...]] = [
        (),
        flip,
        (("quantizer_rate", 1),),
        (("average", 0.99),),
        (("views", "strong"), ("mix", 0.5)),
        (("loss", {"feature": {"form": "cosine"}, "relational": 1.0}),),
        (("synthetic", 5000), ("epochs", 1.5)),  # as many steps
        (("epochs", 6), ("effort", "max")),  # begins with rebuilt blocks
        (("epochs", 6), ("effort", "balanced")),
        # In as many minutes, with rebuilt blocks to begin with and without.
        (("epochs", 8), ("effort", "balanced"), ("batch", 32), ("rate", 7e-4)),
        (("epochs", 10.5), ("batch", 32), ("rate", 7e-4)),
    ]
    at_4_bits = [tuple({"epochs": 3, **dict(part)}.items()) for part in parts]
    return [
        *(Run(RELU6, "best-w4a4", changes=changes) for changes in at_4_bits),
        Run(PRELU, "best-w4a4", changes=at_4_bits[-2]),
        Run(RELU6, "best-w3a3", changes=(("epochs", 6), ("effort", "balanced"))),
    ]


def faceless() -> list[Run]:
    """Our recipes with real, synthetic, distilled and no images at all: as many steps each.

    The recipes' own epochs at 6 bits; fewer where a row would take an hour.
    """
    sources = ("real", "synthetic:5532", "none:512", "noise:5532")
    everywhere = [(network, one) for network in (RELU6, PRELU, SFACE) for one in sources]
    short = {("best-w6a6", SFACE): 2, ("best-w4a4", RELU6): 3, ("best-w4a4", PRELU): 3, ("best-w4a4", SFACE): 2}

    def trained(network: str, name: str, faces: str) -> Run:
        if not (epochs := short.get((name, network))):
            return Run(network, name, faces=faces)
        passes = epochs if faces != "none:512" else round(epochs * 5532 / 512, 1)
        return Run(network, name, changes=(("epochs", passes),), faces=faces)

    return [
        *(Run(network, "best-w8a8", 0, (("post_training", True),), one) for network, one in everywhere),
        *(trained(network, name, one) for name in ("best-w6a6", "best-w4a4") for network, one in everywhere),
    ]


def streams() -> list[Run]:
    """What 8-bit sums and depthwise weights, and turned residual streams, are worth to a training of three epochs."""
    return [
        Run(network, "best-w4a4", seed, (("epochs", 3), ("bits", bits), ("rotate", way)))
        for seed, network, bits, way in product(
            range(3), (PRELU, RELU6), ("w4a4", "w4a4s8"), ("off", "hadamard", "learned")
        )
    ]


def sums() -> list[Run]:
    """Our recipe with 8-bit sums and depthwise weights; by it also fewer bits, the strict convention, made faces."""
    name, both = "best-w4a4s8", (PRELU, RELU6)
    return [
        *(Run(network, name, seed) for seed, network in product(range(3), both)),
        *(Run(SFACE, name, seed, (("epochs", 8),)) for seed in range(3)),
        *(Run(network, name, changes=(("epochs", 72),)) for network in both),
        *(Run(network, name, changes=(("bits", bits),)) for bits, network in product(("w3a3s8", "w2a4s8"), both)),
        *(Run(PRELU, name, seed, (("bits", "w4a4"),)) for seed in range(3)),
        Run(PRELU, name, faces="synthetic:5532"),
        Run(PRELU, name, changes=(("epochs", round(24 * 5532 / 512, 1)),), faces="none:512"),
    ]


def made() -> list[Run]:
    """What helps made faces, which are much alike, in as many steps as three epochs of 5,532 are.

    Stronger views, blended images, and faces that the teacher brought apart, alone and beside those that it didn't.
    """
    base = (("bits", "w4a4s8"), ("rotate", "learned"))
    ways: list[tuple[tuple[str, Any], ...]] = [(), (("views", "strong"),), (("views", "severe"),), (("mix", 0.5),)]
    spread: list[tuple[str, float]] = [("spread:5532", 3), ("synthetic:5532+spread:5532", 1.5)]
    return [
        *(Run(PRELU, "best-w4a4", 0, (("epochs", 3), *base, *way), "synthetic:5532") for way in ways),
        *(Run(PRELU, "best-w4a4", 0, (("epochs", epochs), *base), faces) for faces, epochs in spread),
    ]


def images_of(run: Run, out: Path) -> tuple[list[Path], Path | None]:
    """The sources of a run, and the list that chooses among their images."""
    if run.faces == "real":
        return [LFW / "images"], LFW / "not_in_pairs.txt"
    kind, _, count = run.faces.partition(":")
    if kind != "noise":
        return [Path(word) for word in run.faces.split("+")], None
    folder = out / run.faces.replace(":", "-")
    if not folder.is_dir():
        noise = np.random.default_rng(0).integers(0, 256, (int(count), 112, 112, 3), dtype=np.uint8)
        write_faces(folder, noise, {"kind": "random noise", "kept": int(count)})
    return [folder], None


GROUPS = {
    "faceless": faceless, "headline": headline, "papers": papers, "quantizers": quantizers, "ablation": ablation,
    "streams": streams, "sums": sums, "made": made,
}  # fmt: skip
# Groups with results of their own (`--results`): the tables of `results/qat.json` are of the others.
ELSEWHERE = ("faceless", "streams", "sums", "made")


def chosen(run: Run) -> recipe.Recipe:
    """The recipe of a run, with its changes and its seed."""
    made = recipe.read(run.recipe)
    assert isinstance(made, recipe.Recipe)
    assert made.method is not None
    changes = dict(run.changes)
    if synthetic := changes.pop("synthetic", 0):
        made = replace(made, images=(Path(f"synthetic:{synthetic}"),))
    if word := changes.pop("effort", None):
        rebuilt = replace(made.calibration, reconstruction=effort(word))
        made = replace(made, method=replace(made.method, calibration=rebuilt))
    if bits := changes.pop("bits", None):
        made = replace(made, plan=BitPlan.parse(bits))
    if way := changes.pop("rotate", None):
        turned = replace(made.method.calibration, rotate=way)
        made = replace(made, method=replace(made.method, calibration=turned))
    if changes.pop("post_training", False):
        return replace(made, method=None)
    training = {key: changes.pop(key) for key in list(changes) if key in _SETTINGS}
    if "epochs" in training:
        training["min_steps"] = 0  # so many, however few steps that is
    method = replace(made.method, training=replace(made.method.training, **training), **changes)
    return replace(made, method=method).seeded(run.seed)


def folder_of(run: Run, out: Path) -> Path:
    """Where the artifact of a run lies."""
    return out / "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in run.key)


def carry_out(run: Run, out: Path) -> dict[str, Any]:
    """Makes the artifact of a run; gives the content of its `result.json`."""
    path, preprocess = networks()[run.network]
    made, folder = chosen(run), folder_of(run, out)
    images, listed = images_of(run, out)
    request = QuantizeRequest(
        path,
        FaceSource([*images, *made.source.images], listed, labels=made.source.labels),
        folder,
        made.plan,
        preprocess=preprocess,
        seed=run.seed,
        data_kind="real" if run.faces == "real" else None,
        calibration=made.calibration,
        method=made.method,
        share=made.share,
        resume=(folder / CHECKPOINT).is_file(),
        force=True,
    )
    with progress() as steps:
        return quantize_model(request, steps)


def measure(run: Run, out: Path) -> dict[str, Any]:
    """One row: the run's seconds and rate, and what its artifact is worth."""
    began = time.perf_counter()
    result = carry_out(run, out)
    seconds = time.perf_counter() - began
    folder = folder_of(run, out)
    (_, figures), training = agreed(result), result["training"] or {}
    # A training that was interrupted took longer than its last stretch.
    seconds = max(seconds, training.get("seconds", 0))
    return {
        "key": run.key,
        "network": run.network,
        "recipe": run.recipe,
        "changes": ", ".join(run.changed),
        "faces": result["faces"]["kind"],
        "bits": result["bits"],
        "seed": run.seed,
        "cpu": describe()["cpu"],
        "isa": describe()["isa"],
        "cores": cores(),
        "minutes": round(seconds / 60, 1),
        "images/s": training.get("images_per_second"),
        **evaluated(folder / "model.bitface", None),
        "cosine mean": figures["mean"],
        **angles(run.network, folder / "model.bitface"),
        "bytes": result["bytes"]["model.bitface"],
    }


def angles(network: str, artifact: Path) -> dict[str, float]:
    """The angular errors on the test faces of people who have several, in degrees (see `analysis.angular`)."""
    files, labels = _repeated()
    student, _ = Embedder(open_model(artifact, None)).embed_files(files)
    errors = dissect(_expected(network), student, labels).means()
    return {f"{name} error": value for name, value in errors.items()}


@lru_cache
def _repeated() -> tuple[list[FaceFile], np.ndarray]:
    """The test images of people with at least two of them, and who is on them."""
    paths = np.array(read_pairs(LFW / "pairs.csv", LFW / "images").paths)
    _, people, counts = np.unique([path.split("/")[0] for path in paths], return_inverse=True, return_counts=True)
    several = counts[people] > 1
    _, labels = np.unique(people[several], return_inverse=True)
    return [FaceFile(LFW / "images", path) for path in paths[several]], labels


@lru_cache
def _expected(network: str) -> np.ndarray:
    """The teacher's embeddings of the same images."""
    path, preprocess = networks()[network]
    return Embedder(open_model(path, preprocess), "openvino").embed_files(_repeated()[0])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default=",".join(name for name in GROUPS if name not in ELSEWHERE))
    parser.add_argument("--only", default="", help="runs whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/qat"))
    parser.add_argument("--results", default="qat", help="the name of the file in results/")
    options = parser.parse_args()
    for name in options.groups.split(","):
        if name not in GROUPS:
            raise SystemExit(f"unknown group '{name}': use {', '.join(GROUPS)}")
    measured = {row["key"]: row for row in known("qat") if current(row)}
    command = "python benchmarks/qat.py"
    if options.results != "qat":
        command += f" --groups {options.groups} --results {options.results}"
    runs = {run.key: run for name in options.groups.split(",") for run in GROUPS[name]() if options.only in run.key}
    if not runs:
        raise SystemExit(f"no run's name in {options.groups} holds '{options.only}'")
    for run in runs.values():
        if run.key in {row["key"] for row in known(options.results) if current(row)}:
            continue
        row = measured.get(run.key) or measure(run, options.out)
        with alone(options.out / f"{options.results}.lock"):
            rows = [*(other for other in known(options.results) if other["key"] != run.key), row]
            test = "LFW View 2; TAR over all pairs of its 7,701 images"
            save(options.results, rows, test=test, command=command, machine=whole_machine())


def whole_machine() -> dict[str, str]:
    """The machine with all its cores; how many of them a row had is in the row."""
    return {**describe(), "cores": str(os.cpu_count())}


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Keeps other programs that wait for the same lock out."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def current(row: dict[str, Any]) -> bool:
    """Whether a row isn't marked as measured before a change of the program that matters to it."""
    return "before" not in row


if __name__ == "__main__":
    main()
