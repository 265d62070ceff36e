"""Which faces and pairs a sweep measures on, and the state that outlives an interruption."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitface.analysis import sensitivity
from bitface.analysis.probe import Probe
from bitface.data.face_source import FaceSource
from bitface.data.faces import check_skipped, load_faces, manifest_hash, resizing
from bitface.errors import BitfaceError, option
from bitface.evaluation import fold_accuracy
from bitface.files import path_fields
from bitface.graph import Network
from bitface.inputs import faces as job_faces
from bitface.inputs.protocols import Opened, asked_protocol
from bitface.preprocess import Size
from bitface.progress import Progress, Steps
from bitface.quant.rotate import OFF
from bitface.training.checkpoint import Checkpoint

STATE = "sensitivity.unfinished.safetensors"
LAYER, BLOCK = "layer", "block"
FEWEST = 16
# Seconds of work that an interruption may cost.
_KEPT_EVERY = 15.0


@dataclass(frozen=True)
@path_fields
class SensitivityRequest:
    """What to measure on what; the options of `bitface sensitivity`.

    Attributes:
        source: the faces.
        weight_bits, activation_bits: widths to ask about.
        faces: how many held-out faces are measured on, at most 256.
        calibration_faces: how many others find ranges.
        pairs, root, part: a list of pairs in any form, see `evaluation.protocols.pairs.listed_pairs`: verification
            accuracy, too.
        protocol: any other protocol that compares images with images, in the place of the list; see
            `inputs.protocols.read_protocol`.
        max_pairs: of the list so many, as many genuine as impostor ones from each fold.
        force: writes over a table that `out` holds.
        by: what is rounded at a time: the one tensor of a `layer`, or all weights, or activations, of a `block`.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        size: of the image, for a network that leaves it free; None: see `inputs.faces.load_teacher`.
        sums: bits of what additions read, whatever layers read of the same tensors; None: what layers read.
        rotate: of residual streams, see `quant.Calibration`.
        equalized: bits of activations that channels get their steps for, see `quant.equalize`.
    """

    model: Path
    source: FaceSource
    out: Path
    weight_bits: Sequence[int] = (8, 4, 2)
    activation_bits: Sequence[int] = (8, 4, 2)
    faces: int = 128
    calibration_faces: int = 256
    pairs: Path | None = None
    root: Path | None = None
    part: str | None = None
    max_pairs: int = 600
    preprocess: str | None = None
    seed: int = 0
    by: str = LAYER
    size: Size | None = None
    force: bool = False
    protocol: str | Opened | None = None
    output: str | None = None
    sums: int | None = None
    rotate: str = OFF
    equalized: int = 8

    @property
    def judged(self) -> bool:
        """Whether verification accuracy is asked for."""
        return self.pairs is not None or self.protocol is not None


@dataclass(frozen=True)
class SweptNetwork:
    """A network and its faces, ready to be probed: to calibrate with, to measure on, and held-out ones left over."""

    network: Network
    learning: np.ndarray
    validation: np.ndarray
    spare: np.ndarray
    kind: str
    notes: list[str]
    warnings: list[str]

    @property
    def identity(self) -> dict[str, str]:
        """What a table or an unfinished sweep must be of."""
        faces = f"{manifest_hash(self.learning)} {manifest_hash(self.validation)}"
        return {"network": self.network.fingerprint(), "faces": faces}


def subject(request: SensitivityRequest, steps: Steps) -> SweptNetwork:
    """Loads the network and the faces, and settles the preprocessing.

    Raises:
        BitfaceError: they can't be used, or there are too few faces.
    """
    network = job_faces.load_teacher(
        request.model, request.source, request.preprocess, request.size, output=request.output
    )
    faces = job_faces.gather(
        request.source.up_to(request.calibration_faces), network.size, request.seed, request.out / "skipped.csv",
        steps, network,
    )  # fmt: skip
    validation = faces.held_out[: request.faces]
    if len(validation) < FEWEST:
        raise BitfaceError(
            f"only {len(validation)} of {len(faces.learning) + len(faces.held_out)} usable faces are left to measure "
            f"on; give {FEWEST + request.calibration_faces} or more, or a smaller "
            f"{option('max-images', field='calibration_faces')}"
        )
    network, notes, warnings = job_faces.settle_preprocess(network, faces.learning, request.preprocess)
    warnings += job_faces.few(len(faces.learning))
    return SweptNetwork(
        network,
        np.asarray(faces.learning),
        validation,
        faces.held_out[len(validation) :],
        faces.kind,
        [*network.notes, *notes, *faces.notes],
        [*network.warnings, *warnings],
    )


def settings(request: SensitivityRequest) -> dict[str, Any]:
    """What decides the numbers, beside the network and the faces."""
    return {
        "weight_bits": list(request.weight_bits),
        "activation_bits": list(request.activation_bits),
        "seed": request.seed,
        **({"sums": request.sums} if request.sums else {}),
        **({"rotate": request.rotate} if request.rotate != OFF else {}),
        **({"equalized": request.equalized} if request.equalized < 8 else {}),
    }


@dataclass(frozen=True)
class ChosenPairs:
    """Pairs whose two images are read together: `[P, 2, H, W, 3]`."""

    images: np.ndarray
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    fold: np.ndarray

    @staticmethod
    def of(request: SensitivityRequest, experiment: SweptNetwork, steps: Steps) -> "ChosenPairs":
        opened = asked_protocol(request.protocol, request.pairs, request.root, request.part)
        pairs = opened.protocol.comparisons()
        if pairs is None or pairs.members != opened.protocol.paths:
            raise BitfaceError(
                f"{opened.protocol.name}: this protocol lists no pairs of images; what each tensor costs in "
                "verification is measured on pairs of images"
            )
        fold = _folds(pairs.same) if pairs.fold is None else pairs.fold
        rows = _balanced(pairs.same, fold, request.max_pairs, request.seed)
        left, right = pairs.left[rows], pairs.right[rows]
        used = np.unique(np.concatenate([left, right]))
        files = [opened.files[index] for index in used]
        crops = load_faces(files, experiment.network.size, steps("reading pairs"))
        check_skipped(crops.skipped, 1)  # a pair needs both of its images
        experiment.notes.extend(f"pairs: {note}" for note in resizing(crops.sizes, experiment.network.size))
        return ChosenPairs(
            crops.images, np.searchsorted(used, left), np.searchsorted(used, right),
            pairs.same[rows], fold[rows],
        )  # fmt: skip

    def accuracy(self, scores: torch.Tensor) -> float:
        """Ten-fold verification accuracy."""
        return fold_accuracy(scores.double().numpy(), self.same, self.fold).mean


def _folds(same: np.ndarray) -> np.ndarray:
    """Ten folds with as many pairs of each kind, where a protocol has none."""
    fold = np.empty(len(same), np.int64)
    for kind in (same, ~same):
        fold[kind] = np.arange(np.count_nonzero(kind)) % 10
    return fold


def _balanced(same: np.ndarray, fold: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many pairs, evenly from both kinds of each fold, in the order of the list."""
    kinds = [np.flatnonzero((fold == number) & (same == kind)) for number in np.unique(fold) for kind in (True, False)]
    each, generator = max(1, most // len(kinds)), np.random.default_rng(seed)
    return np.sort(np.concatenate([generator.permutation(kind)[:each] for kind in kinds]))


class Sweeps:
    """The sweep over faces and the one over pairs, with the state that outlives an interruption."""

    def __init__(
        self, request: SensitivityRequest, experiment: SweptNetwork, probe: Probe, pairs: ChosenPairs | None
    ) -> None:
        self.path, self.probe, self.experiment, self.pairs = request.out / STATE, probe, experiment, pairs
        listed = (
            [str(request.pairs or request.protocol), len(pairs.same), manifest_hash(pairs.images)] if pairs else None
        )
        rows = len(probe.units) + 1
        self.identity = {**experiment.identity, "settings": repr(settings(request)), "pairs": repr(listed)}
        self.identity |= {"--by": request.by, "tensors": str(rows)}
        self.measurements = {"faces": torch.zeros(rows, len(experiment.validation))}
        if pairs:
            self.measurements["pairs"] = torch.zeros(rows, len(pairs.same))
        self.done: dict[str, int] = dict.fromkeys(self.measurements, 0)
        if self.path.exists():
            state = Checkpoint.read(self.path, self.identity, "sweep")
            self.measurements, self.done = state.groups["found"], state.numbers
        self.saved_at = time.monotonic()

    def run(self, steps: Steps) -> tuple[torch.Tensor, torch.Tensor]:
        """What was found on faces and on pairs; an interruption keeps what is done."""
        try:
            self._faces(steps("sweeping"))
            if self.pairs:
                self._pairs(self.pairs, steps("sweeping pairs"))
        finally:
            self._keep()
        return self.measurements["faces"], self.measurements.get("pairs", torch.zeros(0))

    def _faces(self, progress: Progress) -> None:
        size, faces = sensitivity.BATCH, self.experiment.validation
        self._sweep(
            "faces",
            lambda batch: self.probe.inputs(faces[batch * size : (batch + 1) * size]),
            [len(faces[start : start + size]) for start in range(0, len(faces), size)],
            sensitivity.turned,
            progress,
        )

    def _pairs(self, pairs: ChosenPairs, progress: Progress) -> None:
        size = sensitivity.BATCH // 2

        def images(batch: int) -> torch.Tensor:
            rows = slice(batch * size, (batch + 1) * size)
            return self.probe.inputs(pairs.images[np.concatenate([pairs.left[rows], pairs.right[rows]])])

        count = len(pairs.same)
        columns = [min(size, count - start) for start in range(0, count, size)]
        self._sweep("pairs", images, columns, sensitivity.halves, progress)

    def _sweep(
        self, name: str, batches: Any, columns: list[int], measure: sensitivity.Measure, progress: Progress
    ) -> None:
        before, began = self.done[name], time.monotonic()

        def report(done: int, total: int) -> None:
            self.done[name] = done
            if time.monotonic() - self.saved_at > _KEPT_EVERY:
                self._keep()
            rate = (done - before) / max(time.monotonic() - began, 1e-9)
            progress(done, total, f"{rate:.1f} measurements/s")

        sensitivity.sweep(self.probe, batches, columns, measure, self.measurements[name], before, report)

    def _keep(self) -> None:
        Checkpoint(self.identity, sum(self.done.values()), {"found": self.measurements}, self.done).write(self.path)
        self.saved_at = time.monotonic()
