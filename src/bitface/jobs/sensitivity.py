"""`bitface sensitivity`: a network and faces in; what rounding each tensor alone costs out."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitface
from bitface import report
from bitface.analysis import proxies, sensitivity
from bitface.analysis.sensitivity import ACTIVATIONS, WEIGHTS, Probe, Unit
from bitface.data.faces import FaceFile, check_skipped, load_faces, manifest_hash
from bitface.errors import BitfaceError
from bitface.evaluation import PairList, fold_accuracy
from bitface.files import write_json
from bitface.graph import Network, load_network, ops
from bitface.jobs import faces as job_faces
from bitface.jobs.drawings import sensitivity_page
from bitface.jobs.protocols import listed_pairs
from bitface.jobs.staging import Clock, staging
from bitface.jobs.steps import Progress, Steps, silent
from bitface.runtime.machine import describe
from bitface.train.checkpoint import Checkpoint

TABLE, PAGE, STATE = "sensitivity.json", "sensitivity.html", "sensitivity.unfinished.safetensors"
FEWEST = 16
# Seconds of work that an interruption may cost.
_KEPT_EVERY = 15.0
_PROXY_FACES = 64


@dataclass(frozen=True)
class SensitivityRequest:
    """What to measure on what; the options of `bitface sensitivity`.

    Attributes:
        images: see `jobs.faces.gather`.
        weight_bits, activation_bits: widths to ask about.
        faces: how many held-out faces are measured on, at most 256.
        calibration_faces: how many others find ranges.
        pairs, root, part: a list of pairs in any form, see `jobs.protocols.listed_pairs`: verification accuracy, too.
        max_pairs: of the list so many, as many genuine as impostor ones from each fold.
    """

    model: Path
    images: list[Path]
    out: Path
    image_list: Path | None = None
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
    allow_skipped: bool = False


@dataclass(frozen=True)
class Subject:
    """A network and its faces, ready to be probed: to calibrate with, to measure on, and held-out ones left over."""

    network: Network
    learning: np.ndarray
    measured: np.ndarray
    spare: np.ndarray
    kind: str
    notes: list[str]
    warnings: list[str]

    @property
    def identity(self) -> dict[str, str]:
        """What a table or an unfinished sweep must be of."""
        faces = f"{manifest_hash(self.learning)} {manifest_hash(self.measured)}"
        return {"network": self.network.fingerprint(), "faces": faces}


def measure_sensitivity(request: SensitivityRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes `sensitivity.json` and `sensitivity.html` to `request.out`.

    While it runs, `sensitivity.unfinished.safetensors` keeps what is measured; the same request goes on from there.

    Returns:
        The content of `sensitivity.json`.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out, or the folder holds the unfinished
            sweep of another one.
    """
    table = measured_table(request, subject(request, steps), steps)
    write_table(request.out, table)
    return table


def write_table(out: Path, table: dict[str, Any]) -> None:
    """Writes both files of a finished sweep and forgets its state."""
    with staging(out) as folder:
        write_json(folder / TABLE, table)
        report.write(folder / PAGE, sensitivity_page(table))
    with suppress(OSError):
        (out / STATE).unlink()


def subject(request: SensitivityRequest, steps: Steps) -> Subject:
    """Loads the network and the faces, and settles the preprocessing.

    Raises:
        BitfaceError: they can't be used, or there are too few faces.
    """
    if request.out.exists() and not request.out.is_dir():
        raise BitfaceError(f"{request.out}: is a file; --out names a folder")
    network = load_network(request.model, request.preprocess)
    faces = job_faces.gather(
        request.images, network.size, request.image_list, request.calibration_faces, request.seed,
        request.allow_skipped, request.out / "skipped.csv", steps, network,
    )  # fmt: skip
    measured = faces.held_out[: request.faces]
    if len(measured) < FEWEST:
        raise BitfaceError(
            f"only {len(measured)} of {len(faces.learning) + len(faces.held_out)} usable faces are left to measure on; "
            f"give {FEWEST + request.calibration_faces} or more, or a smaller --calibration-faces"
        )
    network, notes, warnings = job_faces.settle_preprocess(network, faces.learning, request.preprocess)
    warnings += job_faces.few(len(faces.learning))
    return Subject(
        network,
        faces.learning,
        measured,
        faces.held_out[len(measured) :],
        faces.kind,
        [*network.notes, *notes],
        warnings,
    )


def probed(request: SensitivityRequest, chosen: Subject, steps: Steps = silent) -> Probe:
    """The network with the quantizers of every width that is asked about."""
    return sensitivity.prepare(
        chosen.network, chosen.learning, request.weight_bits, request.activation_bits, progress=steps("calibrating")
    )


def measured_table(
    request: SensitivityRequest, chosen: Subject, steps: Steps = silent, probe: Probe | None = None
) -> dict[str, Any]:
    """The content of `sensitivity.json`; see `measure_sensitivity`."""
    clock = Clock()
    pairs = _Pairs.of(request, chosen, steps) if request.pairs else None
    clock.lap("pairs")
    probe = probe or probed(request, chosen, steps)
    clock.lap("calibration")
    sweeps = _Sweeps(request, chosen, probe, pairs)
    turned, scores = sweeps.run(steps)
    clock.lap("sweep")
    estimated = proxies.estimate(probe, chosen.measured[:_PROXY_FACES], seed=request.seed, progress=steps("proxies"))
    clock.lap("proxies")
    exact = sensitivity.costs(probe, turned)
    rows = [
        {
            **_described(probe, unit),
            "cost": exact[unit],
            "standard_error": sensitivity.mean_and_error(turned[number])[1],
            "proxies": {name: values[unit] for name, values in estimated.items()},
            **({"accuracy": pairs.accuracy(scores[number])} if pairs else {}),
        }
        for number, unit in enumerate(probe.units)
    ]
    return {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "path": str(request.model),
            "name": chosen.network.name,
            "fingerprint": chosen.network.fingerprint(),
            "preprocess": chosen.network.preprocess.name if chosen.network.preprocess else None,
        },
        "settings": _settings(request),
        "faces": {
            "kind": chosen.kind,
            "calibration": len(chosen.learning),
            "measured": len(chosen.measured),
            "manifest": manifest_hash(chosen.measured),
        },
        "pairs": {"list": str(request.pairs), "count": len(pairs.same), "accuracy": pairs.accuracy(scores[-1])}
        if pairs
        else None,
        "units": rows,
        "correlations": _correlations(probe, exact, estimated),
        "notes": chosen.notes,
        "warnings": chosen.warnings,
        "seconds": clock.seconds,
        "machine": describe(),
    }


def _settings(request: SensitivityRequest) -> dict[str, Any]:
    return {
        "weight_bits": list(request.weight_bits),
        "activation_bits": list(request.activation_bits),
        "seed": request.seed,
    }


def _described(probe: Probe, unit: Unit) -> dict[str, Any]:
    facts: dict[str, Any] = {"part": unit.part, "name": unit.name, "bits": unit.bits}
    if unit.part == ACTIVATIONS:
        return {**facts, "read_by": probe.readers[unit.name]}
    layer = probe.student.graph.get_submodule(unit.name)
    assert isinstance(layer, ops.LAYERS)
    return {**facts, "parameters": layer.weight.numel()}


def _correlations(
    probe: Probe, exact: dict[Unit, float], estimated: dict[str, dict[Unit, float]]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """proxy → part → bits (or `all`) → Spearman's rank correlation with the sweep."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, values in estimated.items():
        found[name] = {}
        for part in (WEIGHTS, ACTIVATIONS):
            own = [unit for unit in probe.units if unit.part == part]
            widths = {str(bits): [unit for unit in own if unit.bits == bits] for bits in {one.bits: 0 for one in own}}
            found[name][part] = {
                key: sensitivity.rank_correlation(values, exact, units) for key, units in {"all": own, **widths}.items()
            }
    return found


@dataclass(frozen=True)
class _Pairs:
    """Pairs whose two images are read together: `[P, 2, H, W, 3]`."""

    images: np.ndarray
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    fold: np.ndarray

    @staticmethod
    def of(request: SensitivityRequest, chosen: Subject, steps: Steps) -> "_Pairs":
        assert request.pairs is not None
        protocol, root = listed_pairs(request.pairs, request.root, request.part)
        rows = _balanced(protocol.pairs, request.max_pairs, request.seed)
        left, right = protocol.pairs.left[rows], protocol.pairs.right[rows]
        used = np.unique(np.concatenate([left, right]))
        files = [FaceFile(root, protocol.paths[index]) for index in used]
        loaded = load_faces(files, chosen.network.size, steps("reading pairs"))
        check_skipped(loaded.skipped, 1)  # a pair needs both of its images
        return _Pairs(
            loaded.images, np.searchsorted(used, left), np.searchsorted(used, right),
            protocol.pairs.same[rows], protocol.pairs.fold[rows],
        )  # fmt: skip

    def accuracy(self, scores: torch.Tensor) -> float:
        """Ten-fold verification accuracy."""
        return fold_accuracy(scores.double().numpy(), self.same, self.fold).mean


def _balanced(pairs: PairList, most: int, seed: int) -> np.ndarray:
    """At most so many pairs, evenly from both kinds of each fold, in the order of the list."""
    kinds = [
        np.flatnonzero((pairs.fold == fold) & (pairs.same == same))
        for fold in np.unique(pairs.fold)
        for same in (True, False)
    ]
    each, generator = max(1, most // len(kinds)), np.random.default_rng(seed)
    return np.sort(np.concatenate([generator.permutation(kind)[:each] for kind in kinds]))


class _Sweeps:
    """The sweep over faces and the one over pairs, with the state that outlives an interruption."""

    def __init__(self, request: SensitivityRequest, chosen: Subject, probe: Probe, pairs: _Pairs | None) -> None:
        self.path, self.probe, self.chosen, self.pairs = request.out / STATE, probe, chosen, pairs
        listed = [str(request.pairs), len(pairs.same), manifest_hash(pairs.images)] if pairs else None
        self.identity = {**chosen.identity, "settings": repr(_settings(request)), "pairs": repr(listed)}
        rows = len(probe.units) + 1
        self.found = {"faces": torch.zeros(rows, len(chosen.measured))}
        if pairs:
            self.found["pairs"] = torch.zeros(rows, len(pairs.same))
        self.done: dict[str, int] = dict.fromkeys(self.found, 0)
        if self.path.exists():
            state = Checkpoint.read(self.path, self.identity, "sweep")
            self.found, self.done = state.groups["found"], state.numbers
        self.kept = time.monotonic()

    def run(self, steps: Steps) -> tuple[torch.Tensor, torch.Tensor]:
        """What was found on faces and on pairs; an interruption keeps what is done."""
        try:
            self._faces(steps("sweeping"))
            if self.pairs:
                self._pairs(self.pairs, steps("sweeping pairs"))
        finally:
            self._keep()
        return self.found["faces"], self.found.get("pairs", torch.zeros(0))

    def _faces(self, progress: Progress) -> None:
        size, faces = sensitivity.BATCH, self.chosen.measured
        self._sweep(
            "faces",
            lambda batch: self.probe.inputs(faces[batch * size : (batch + 1) * size]),
            [len(faces[start : start + size]) for start in range(0, len(faces), size)],
            sensitivity.turned,
            progress,
        )

    def _pairs(self, pairs: _Pairs, progress: Progress) -> None:
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

        def told(done: int, total: int) -> None:
            self.done[name] = done
            if time.monotonic() - self.kept > _KEPT_EVERY:
                self._keep()
            rate = (done - before) / max(time.monotonic() - began, 1e-9)
            progress(done, total, f"{rate:.1f} measurements/s")

        sensitivity.sweep(self.probe, batches, columns, measure, self.found[name], before, told)

    def _keep(self) -> None:
        Checkpoint(self.identity, sum(self.done.values()), {"found": self.found}, self.done).write(self.path)
        self.kept = time.monotonic()
