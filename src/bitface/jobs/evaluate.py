"""`bitface evaluate`: a model and a list of pairs in, accuracy and operating points out; beside another model, too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface.data.duplicates import codes_of
from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError
from bitface.evaluation import FARS, VerificationResult
from bitface.evaluation.figures.compare import compare
from bitface.evaluation.figures.health import degenerate
from bitface.evaluation.groups import Groups, by_group, group_changes, read_groups
from bitface.evaluation.mixed import matrix
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.files import sha256_of
from bitface.graph import FreeSize
from bitface.inputs.embeddings import Prepared, embed, prepare
from bitface.inputs.overlap import Used, overlap, used_faces
from bitface.inputs.protocols import listed_pairs
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.results.evaluation import EvaluationRecord
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.machine import describe


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate on what; the options of `bitface evaluate`.

    Attributes:
        pairs, root, part: a list in any form, see `inputs.protocols.listed_pairs`.
        all_pairs: TAR, AUC and EER over all pairs of the list's images.
        used: folders of the faces that the model was made with, to flag what the test shares with them; see
            `inputs.overlap.used_faces`.
        against: another model on the same pairs, the baseline: paired tests, what its thresholds do on the model, and
            mixed galleries.
        groups: a CSV of attributes; every figure for each group, of the baseline too.
        anyway: gives figures of a model whose embeddings are degenerate, too, and the reason as a warning.
        size: of the image, for networks that leave it free; None: the crops' own, and the model's for the baseline.
    """

    model: Path
    pairs: Path
    root: Path | None = None
    part: str | None = None
    all_pairs: bool = False
    flip: bool = False
    engine: str | None = None
    fars: Sequence[float] = FARS
    preprocess: str | None = None
    threads: int | None = None
    seed: int = 0
    allow_skipped: bool = False
    used: Sequence[Path] = ()
    against: Path | None = None
    groups: Path | None = None
    anyway: bool = False
    size: Size | None = None


@dataclass(frozen=True)
class _Baseline:
    """The other model on the same pairs."""

    ready: Prepared
    found: Embeddings
    result: VerificationResult


def evaluate_model(request: EvaluateRequest, steps: Steps = silent) -> tuple[dict[str, Any], VerificationResult]:
    """Verification over a list of pairs (see `evaluation.verify`).

    Returns:
        The content of the JSON file, and the result itself.

    Raises:
        BitfaceError: the models, the list, the groups or the images can't be used, or a model's embeddings are
            degenerate (see `evaluation.figures.health.degenerate`) and nobody said `anyway`.
    """
    protocol, root = listed_pairs(request.pairs, request.root, request.part, request.all_pairs)
    groups = read_groups(request.groups, protocol.paths, protocol.pairs.identities) if request.groups else None
    files = [FaceFile(root, path) for path in protocol.paths]
    ready = prepare(request.model, files, request.engine, request.threads, request.preprocess, request.size)
    sha256 = sha256_of(request.model)
    base = _baseline(request, files, ready.embedder.model.network.size)
    warnings = list(ready.warnings)
    known = used_faces(ready.embedder.model, request.used, ready.embedder)
    notes = [*ready.notes, *(base.notes if base else ()), *(known.notes if known else ()), *protocol.pairs.notes]
    codes: list[np.ndarray] = []
    watch = (lambda images: codes.append(codes_of(images))) if known else None
    started = time.perf_counter()
    found, skipped = embed(
        ready.embedder, files, request.flip, request.allow_skipped, steps("embedding"), watch
    )  # fmt: skip
    expected: Embeddings | None = None
    if base:
        expected, _ = embed(
            base.embedder, files, request.flip, request.allow_skipped, steps("embedding with the baseline")
        )
    embedded = time.perf_counter()
    warnings += _alarms(request, found, expected)
    details = ready.embedder.model.details
    stored = details.thresholds if details else []
    origins = [
        other_engine(one.get("engine"), ready.embedder.engine, one.get("engines", {}), "a threshold of the artifact")
        for one in stored
    ]
    other = None
    if base and expected:
        other = _Baseline(base, expected, protocol.score(expected, fars=request.fars, seed=request.seed))
    reused = [float(point.threshold or 0) for point in other.result.tar if point.supported] if other else []
    result = protocol.score(
        found, fars=request.fars, seed=request.seed, at=[*reused, *(float(one["threshold"]) for one in stored)]
    )
    fixed = result.summary.fixed
    tables = _by_group(protocol, found, groups, result, other, request.seed) if groups else None
    if groups and groups.unknown:
        warnings.append(f"{groups.unknown} of {len(files)} images are in no group: their attributes aren't known")
    shared, flagged = _shared(known, codes, protocol, found, result)
    warnings += flagged
    facts = {
        "bitface": bitface.__version__,
        "model": str(request.model),
        "model_kind": ready.embedder.model.kind,
        "fingerprint": ready.embedder.fingerprint,
        "sha256": sha256,
        "engine": ready.embedder.engine,
        "precision": "integer" if ready.embedder.model.integer else "f32",
        "preprocess": ready.embedder.preprocess.name,
        "flip": request.flip,
        "pairs": str(request.pairs),
        **result.to_json(curve=True),
        "stored_thresholds": [
            {"target": one["far"], **rates.to_json()} for one, rates in zip(stored, fixed[len(reused) :], strict=True)
        ],
        "baseline": _beside(request, protocol, found, result, other, len(reused)) if other else None,
        "groups": tables,
        "overlap": shared,
        "notes": list(dict.fromkeys([*notes, *filter(None, origins)])),
        "warnings": [*warnings, *(base.warnings if base else ()), *result.warnings],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "seconds": {
            "embedding": round(embedded - started, 2),
            "scoring": round(time.perf_counter() - embedded, 2),
        },
        "machine": describe(),
    }
    return EvaluationRecord.of(facts).to_json(), result


def _baseline(request: EvaluateRequest, files: Sequence[FaceFile], size: Size) -> Prepared | None:
    if request.against is None:
        return None
    like = FreeSize(size, "the size of the model beside it")
    return prepare(request.against, files, request.engine, request.threads, request.preprocess, request.size, like)


def _alarms(request: EvaluateRequest, found: Embeddings, expected: Embeddings | None) -> list[str]:
    """Why figures of a model mean nothing, as warnings where they are wanted all the same; else that is an error."""
    alarms = [
        f"{path}: no figure means anything: {'; '.join(broken)}"
        for path, side in ((request.model, found), (request.against, expected))
        if side and (broken := degenerate(side.values, side.valid))
    ]
    if alarms and not request.anyway:
        raise BitfaceError(f"{alarms[0]} (--anyway gives them all the same)")
    return alarms


def _beside(
    request: EvaluateRequest,
    protocol: PairProtocol,
    found: Embeddings,
    result: VerificationResult,
    other: _Baseline,
    reused: int,
) -> dict[str, Any]:
    """The baseline's figures, paired tests, and mixed galleries; the first `reused` fixed thresholds are its own."""
    fixed = result.summary.fixed[:reused]
    return {
        "model": str(request.against),
        "fingerprint": other.ready.embedder.fingerprint,
        **other.result.to_json(curve=True),
        "comparison": compare(other.result, result, fixed, seed=request.seed).to_json(),
        "mixed": [cell.to_json() for cell in matrix(protocol, other.found, found, request.fars, request.seed)],
    }


def _by_group(
    protocol: PairProtocol,
    found: Embeddings,
    groups: Groups,
    result: VerificationResult,
    other: _Baseline | None,
    seed: int,
) -> dict[str, Any]:
    """Each group's figures with the model, with the baseline, and what changes between them."""
    rows = by_group(protocol, found, groups, result, seed)
    tables: dict[str, Any] = {"model": [row.to_json() for row in rows]}
    if other:
        before = by_group(protocol, other.found, groups, other.result, seed)
        tables |= {"baseline": [row.to_json() for row in before], "changes": group_changes(before, rows)}
    return tables


def _shared(
    known: Used | None, codes: list[np.ndarray], protocol: PairProtocol, found: Embeddings, result: VerificationResult
) -> tuple[dict[str, Any] | None, list[str]]:
    """What the test shares with the faces that the model was made with, and warnings of it."""
    if known is None:
        return None, []
    strictest = [point.threshold for point in result.tar if point.threshold is not None]
    good = np.ones(len(found), bool) if found.valid is None else found.valid
    # An image that can't be read shows nobody.
    names = [path for path, usable in zip(protocol.paths, good, strict=True) if usable]
    return overlap(known, np.concatenate(codes)[good], names, found.values[good], max(strictest, default=None))
