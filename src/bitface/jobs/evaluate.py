"""`bitface evaluate`: a model and a protocol in, figures and operating points out; beside another model, too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bitface
from bitface.errors import BitfaceError, flag
from bitface.evaluation import FARS
from bitface.evaluation.evaluate import Evaluation, Questions
from bitface.evaluation.evaluate import evaluate as evaluate_embeddings
from bitface.evaluation.figures.health import degenerate
from bitface.evaluation.figures.results import Result
from bitface.evaluation.figures.thresholds import about_extrapolation
from bitface.evaluation.groups import read_groups
from bitface.evaluation.protocols.base import Embeddings
from bitface.files import path_fields, sha256_of
from bitface.graph import FreeSize
from bitface.inputs.embeddings import embed
from bitface.inputs.models import Prepared, prepare
from bitface.inputs.overlap import Codes, shared_faces, used_faces
from bitface.inputs.protocols import Opened, asked_protocol
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.results.evaluation import EvaluationRecord
from bitface.runtime.engine_differences import other_engine
from bitface.runtime.machine import describe


@dataclass(frozen=True)
class EvaluateOptions:
    """What is asked of a model on a protocol.

    Attributes:
        used: folders of the faces that the model was made with, to flag what the test shares with them; see
            `inputs.overlap.used_faces`.
        groups: a CSV of attributes; every figure for each group, of the baseline too.
        anyway: gives figures of a model whose embeddings are degenerate, too, and the reason as a warning.
    """

    fars: Sequence[float] = FARS
    seed: int = 0
    flip: bool = False
    allow_skipped: bool = False
    used: Sequence[Path] = ()
    groups: Path | None = None
    anyway: bool = False


@dataclass(frozen=True)
@path_fields
class EvaluateRequest:
    """What to evaluate on what; the options of `bitface evaluate`.

    Attributes:
        pairs, root, part: a list in any form, see `evaluation.protocols.pairs.listed_pairs`.
        all_pairs: TAR, AUC and EER over all pairs of the list's images.
        used, groups, anyway: see `EvaluateOptions`.
        against: another model on the same protocol, the baseline: paired tests, what its thresholds do on the model,
            and mixed galleries.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        size: of the image, for networks that leave it free; None: the crops' own, and the model's for the baseline.
        protocol: any other protocol in the place of the list; see `inputs.protocols.read_protocol`.
    """

    model: Path
    pairs: Path | None = None
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
    protocol: str | Opened | None = None
    output: str | None = None

    @property
    def options(self) -> EvaluateOptions:
        """What is asked, apart from models and protocol."""
        return EvaluateOptions(self.fars, self.seed, self.flip, self.allow_skipped, self.used, self.groups, self.anyway)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model on a protocol: figures, and what is to be said of the faces.

    Attributes:
        overlap: what the test shares with the faces that the model was made with; None where nothing is known of them.
        skipped: (path, reason) of images that can't be used.
        seconds: of `embedding` and `scoring`.
    """

    evaluation: Evaluation
    overlap: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def evaluate(
    opened: Opened,
    model: Prepared,
    baseline: Prepared | None = None,
    options: EvaluateOptions | None = None,
    steps: Steps = silent,
) -> Evaluated:
    """A model on any protocol: its figures, both error rates at the thresholds in its artifact, groups, the faces that
    it has seen before, and all of it beside a baseline.

    What a protocol has no notion of is said in a note.

    Raises:
        BitfaceError: the images or the groups can't be used, or a model's embeddings are degenerate (see
            `evaluation.figures.health.degenerate`) and nobody said `anyway`.
    """
    options, protocol = options or EvaluateOptions(), opened.protocol
    groups = read_groups(options.groups, protocol.paths, protocol.people()) if options.groups else None
    used = used_faces(model.embedder.model, options.used, model.embedder)
    codes = Codes() if used else None
    watch = codes.look if codes else None
    started = time.perf_counter()
    embeddings, skipped = embed(
        model.embedder, opened.files, options.flip, options.allow_skipped, steps("embedding"), watch
    )  # fmt: skip
    expected: Embeddings | None = None
    if baseline:
        expected, _ = embed(
            baseline.embedder, opened.files, options.flip, options.allow_skipped, steps("embedding with the baseline")
        )
    embedded = time.perf_counter()
    warnings = _alarms(options, (model, embeddings), (baseline, expected))
    questions = Questions(options.fars, options.seed, model.thresholds, groups)
    evaluation = evaluate_embeddings(protocol, embeddings, expected, questions)
    if groups and groups.unknown:
        count = len(opened.files)
        warnings.append(f"{groups.unknown} of {count} images are in no group: their attributes aren't known")
    seen = codes.of(len(opened.files)) if codes else None
    shared, flagged = shared_faces(used, seen, protocol.paths, embeddings, evaluation.result)
    origins = [
        other_engine(one.get("engine"), model.embedder.engine, one.get("engines", {}), "a threshold of the artifact")
        for one in model.embedder.model.thresholds or ()
    ]
    origins += _of_mirrored(model.embedder.model.thresholds or (), options.flip)
    origins += [note for one in model.embedder.model.thresholds or () for note in about_extrapolation(one)]
    notes = [*(used.notes if used else ()), *opened.notes, *evaluation.notes, *filter(None, origins)]
    seconds = {
        "embedding": round(embedded - started, 2),
        "scoring": round(time.perf_counter() - embedded, 2),
    }
    return Evaluated(evaluation, shared, notes, [*warnings, *flagged], skipped, seconds)


def evaluate_model(request: EvaluateRequest, steps: Steps = silent) -> tuple[dict[str, Any], Result]:
    """Evaluates a model file on a protocol (see `evaluate`).

    Returns:
        The content of the JSON file, and the result itself.

    Raises:
        BitfaceError: the models, the protocol, the groups or the images can't be used, or a model's embeddings are
            degenerate and nobody said `anyway`.
    """
    opened = asked_protocol(request.protocol, request.pairs, request.root, request.part, request.all_pairs)
    ready = prepare(
        request.model, opened.files, request.engine, request.threads, request.preprocess, request.size,
        output=request.output,
    )  # fmt: skip
    sha256 = sha256_of(request.model)
    base = _baseline(request, opened, ready.embedder.model.network.size)
    report = evaluate(opened, ready, base, request.options, steps)
    evaluation, result = report.evaluation, report.evaluation.result
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
        "pairs": str(request.pairs or opened.protocol.name),
        "test": opened.protocol.name,
        **result.to_json(curve=True),
        "figures": [figure.to_json() for figure in result.figures()],
        "stored_thresholds": ready.at_thresholds(evaluation.stored),
        "baseline": _beside(request.against, base, evaluation) if base else None,
        "groups": evaluation.groups_json(),
        "overlap": report.overlap,
        "notes": list(dict.fromkeys([*ready.notes, *(base.notes if base else ()), *report.notes])),
        "warnings": [*ready.warnings, *report.warnings, *(base.warnings if base else ()), *result.warnings],
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "seconds": report.seconds,
        "machine": describe(),
    }
    return EvaluationRecord.of(facts).to_json(), result


def _baseline(request: EvaluateRequest, opened: Opened, size: Size) -> Prepared | None:
    if request.against is None:
        return None
    like = FreeSize(size, "the size of the model beside it")
    return prepare(
        request.against,
        opened.files,
        request.engine,
        request.threads,
        request.preprocess,
        request.size,
        like,
        request.output,
    )


def _of_mirrored(stored: Sequence[dict[str, Any]], flip: bool) -> list[str]:
    """A note where thresholds of an artifact are tried on other embeddings than they were found on."""
    if all(bool(one.get("flip", False)) == flip for one in stored):
        return []
    found, tried = ("without", "with") if flip else ("with", "without")
    more = "leave" if flip else "add"
    return [
        f"thresholds of the artifact were found {found} mirrored images added and are tried {tried}, which isn't what "
        f"bitface verify does with them: {more} {flag('flip')}{' out' if flip else ''} to see that"
    ]


def _alarms(options: EvaluateOptions, *sides: tuple[Prepared | None, Embeddings | None]) -> list[str]:
    """Why figures of a model mean nothing, as warnings where they are wanted all the same; else that is an error."""
    alarms = [
        f"{ready.embedder.model.path}: no figure means anything: {'; '.join(problems)}"
        for ready, side in sides
        if ready and side and (problems := degenerate(side.values, side.valid))
    ]
    if alarms and not options.anyway:
        raise BitfaceError(f"{alarms[0]} (evaluate with {flag('anyway')} gives them all the same)")
    return alarms


def _beside(path: Path | None, base: Prepared, evaluation: Evaluation) -> dict[str, Any]:
    """The baseline's figures, paired tests, and mixed galleries."""
    beside = evaluation.baseline
    assert beside is not None
    return {
        "model": str(path),
        "fingerprint": base.embedder.fingerprint,
        **beside.result.to_json(curve=True),
        "figures": [figure.to_json() for figure in beside.result.figures()],
        "comparison": beside.compared(),
        "mixed": [cell.to_json() for cell in beside.mixed],
    }
