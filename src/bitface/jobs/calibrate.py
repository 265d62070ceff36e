"""`bitface calibrate`: an artifact and labelled faces in, decision thresholds out, into the artifact itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitface import artifact
from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile
from bitface.data.labels import ambiguous_names, identities
from bitface.data.sources import DISTILLED, REAL, SPREAD, kind_of
from bitface.errors import BitfaceError, UsageError, option
from bitface.evaluation import all_pairs
from bitface.evaluation.figures.health import degenerate
from bitface.evaluation.figures.operating import ErrorRates, ImpostorRates, needed
from bitface.evaluation.figures.results import ALL_PAIRS, LIST, PROBES, ImpostorSummary, ScoreSummary
from bitface.evaluation.figures.thresholds import thresholds, unsupported_fars
from bitface.evaluation.protocols.all_pairs import strangers
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol
from bitface.files import path_fields
from bitface.graph import FreeSize
from bitface.inputs.embeddings import embed
from bitface.inputs.faces import files_of
from bitface.inputs.models import Prepared, differences, prepare
from bitface.inputs.protocols import Opened, asked_protocol
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.results.calibration import CalibrationRecord
from bitface.results.locks import Replacement
from bitface.runtime import open_float
from bitface.runtime.machine import describe

# What some hundred images support (of different people 1e-2 needs about 45, 1e-3 140 and 1e-4 450), and one more.
DEFAULT_FARS = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
@path_fields
class CalibrateRequest:
    """What to find thresholds for, and on which faces; the options of `bitface calibrate`.

    Attributes:
        model: the artifact.
        pairs, root: a list of pairs (see `evaluation.read_pairs`) and its images; or
        source: folders of faces, and who is on them (by the folders where it doesn't say): all pairs are formed. Of a
            list or a protocol only what it accepts counts. Generated faces are of somebody else each; without a second
            image of anybody thresholds are found on impostors alone, and there is no TAR.
        all_pairs: forms all pairs of a list's images too.
        teacher: the float network, to say what its thresholds would do here.
        fars: all that the artifact shall have a threshold for.
        data: how the faces are described in the artifact; None: by the list's or the folder's name.
        out: where the artifact is written with its thresholds; None: over itself.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        size: of the image, for a teacher that leaves it free; None: the artifact's.
        protocol: any other protocol in the place of the list; see `inputs.protocols.read_protocol`.
        extrapolate: finds the threshold of a FAR that too few impostor pairs would decide by the tail of their scores,
            and marks it (see `evaluation.figures.extrapolate`).
    """

    model: Path
    pairs: Path | None = None
    root: Path | None = None
    source: FaceSource = field(default_factory=FaceSource)
    all_pairs: bool = False
    fars: tuple[float, ...] = DEFAULT_FARS
    teacher: Path | None = None
    preprocess: str | None = None
    data: str | None = None
    engine: str | None = None
    threads: int | None = None
    flip: bool = False
    seed: int = 0
    out: Path | None = None
    size: Size | None = None
    protocol: str | Opened | None = None
    output: str | None = None
    extrapolate: bool = False


@dataclass(frozen=True)
class _Faces:
    """Faces with what is known of them: a protocol, or who each one is."""

    files: Sequence[FaceFile]
    name: str
    protocol: FaceProtocol | None = None
    people: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def summary(
        self, embeddings: Embeddings, fars: Sequence[float], seed: int, at: Sequence[float] = ()
    ) -> ScoreSummary | ImpostorSummary:
        if self.people is not None and len(np.unique(self.people)) == len(self.people):
            return strangers(embeddings, fars, at=at)
        if self.people is not None:
            return all_pairs(embeddings, self.people, fars, seed=seed, at=at)
        assert self.protocol is not None
        summary = self.protocol.score(embeddings, fars=fars, seed=seed, at=at).verification()
        if summary is None:
            raise BitfaceError(
                f"{self.protocol.name}: no single threshold decides in this protocol; find thresholds on pairs, "
                "videos, templates, or galleries with strangers among the probes"
            )
        return summary


def calibrate_model(request: CalibrateRequest, steps: Steps = silent) -> dict[str, Any]:
    """Finds a threshold for each FAR and writes them into the artifact, in the place of those it had.

    Returns:
        The thresholds; under `unsupported` the FARs that the faces don't support, and what each would need; and, with a
        teacher, what its thresholds do on the integer model: both error rates.

    Raises:
        BitfaceError: no artifact, faces that can't be used or support none of the FARs, or a degenerate model; the
            artifact stays as it was. Or another command wrote over the artifact meanwhile: that one stays.
    """
    replacement = _replacement(request)
    faces = _faces(request)
    ready = prepare(request.model, faces.files, request.engine, request.threads)
    details = ready.embedder.model.details
    if details is None:
        raise BitfaceError(f"{request.model}: no .bitface file; thresholds are kept in those")
    teacher = _teacher(request, faces, details.network.size)
    embeddings, skipped = embed(
        ready.embedder, faces.files, request.flip, request.source.allow_skipped, steps("embedding"),
    )  # fmt: skip
    problems = degenerate(embeddings.values, embeddings.valid)
    if problems:
        raise BitfaceError(f"{request.model}: no threshold can be trusted: {problems[0]}")
    reused, old = _of_teacher(request, teacher, faces, steps) if teacher else ([], [])
    summary = faces.summary(embeddings, request.fars, request.seed, old)
    rates: Sequence[ErrorRates | ImpostorRates] = summary.fixed
    facts = {
        "protocol": summary.protocol,
        "data": request.data or faces.name,
        "images": summary.counts.images,
        "people": summary.counts.identities,
        "failed": summary.counts.failed_images,
        "engine": ready.embedder.engine,
        "engines": differences(ready.embedder, faces.files),
        "flip": request.flip,
        "seed": request.seed,
    }
    stored = [
        {**one.to_json(), **facts} for one in thresholds(summary, seed=request.seed, extrapolate=request.extrapolate)
    ]
    with replacement.writing():
        artifact.write(replacement.path, replace(details, thresholds=stored))
    facts = {
        "model": str(replacement.path),
        "engine": ready.embedder.engine,
        "thresholds": stored,
        "unsupported": [
            one.to_json() for one in unsupported_fars(summary) if one.far not in {found["far"] for found in stored}
        ],
        "teacher": [
            {**one.to_json(), "target": far} for far, one in zip(reused, rates, strict=True)
        ],
        "skipped": [{"path": name, "reason": reason} for name, reason in skipped],
        "notes": list(
            dict.fromkeys(
                [*ready.notes, *faces.notes, *(teacher.notes if teacher else ()), *_of_what(summary), *_beyond(stored)]
            )
        ),
        "warnings": [
            *ready.warnings,
            *_gone(details.thresholds, stored),
            *(f"of the teacher: {text}" for text in (teacher.warnings if teacher else ())),
        ],
        "machine": describe(),
    }  # fmt: skip
    return CalibrationRecord.of(facts).to_json()


def _replacement(request: CalibrateRequest) -> Replacement:
    """Where the artifact goes: perhaps over itself."""
    path = request.out or request.model
    if request.model.is_file() and path.exists() and path.samefile(request.model):
        return Replacement.of_read(path, "calibrate")
    return Replacement(path, "calibrate")


def _faces(request: CalibrateRequest) -> _Faces:
    folders = request.source.images
    if bool(folders) == bool(request.pairs or request.protocol):
        raise UsageError(
            f"give either {option('pairs')} with {option('root')}, or {option('images')} with {option('labels')}, or "
            f"{option('protocol')}"
        )
    if folders:
        files = files_of(folders, request.source.image_list)
        name = ", ".join(path.name for path in folders)
        labels = request.source.labels or "folder"
        names = [file.person or file.relative for file in files]
        notes = ambiguous_names(files, names) if labels == "folder" else ()
        return _Faces(files, name, people=_people(files, labels), notes=tuple(notes))
    opened = asked_protocol(request.protocol, request.pairs, request.root, all_pairs=request.all_pairs)
    return _Faces(opened.files, request.pairs.name if request.pairs else opened.protocol.name, opened.protocol)


def _people(files: Sequence[FaceFile], labels: str) -> np.ndarray:
    """Who is on each image. A generator's folder has no folders of people: each of its images shows somebody else."""
    if labels == "folder" and not any(file.person for file in files):
        folders = [file.root for file in files]
        kinds = {kind_of(folder, folders.count(folder)) for folder in set(folders)}
        if not kinds & {REAL, DISTILLED, SPREAD}:  # apart by the network's own measure, which would flatter it
            return np.arange(len(files))
    return identities(files, labels)


def _of_what(summary: ScoreSummary | ImpostorSummary) -> list[str]:
    """A note where the thresholds aren't those of two images, as `verify` and `identify` compare them, or where
    nothing is known of genuine pairs.
    """
    if isinstance(summary, ImpostorSummary):
        return [
            f"no two of the {summary.counts.images:,} images show one person, so that thresholds are found on impostor "
            "pairs alone, and how many genuine pairs pass (TAR) isn't known: two images each of some people say it"
        ]
    if summary.protocol in (LIST, ALL_PAIRS, PROBES):
        return []
    return [f"the thresholds are of {summary.protocol}: for two single images, find them on pairs of images"]


def _gone(before: Sequence[dict[str, Any]], stored: Sequence[dict[str, Any]]) -> list[str]:
    """A warning where the artifact had thresholds for FARs that it has none for any more."""
    fars = [f"{one['far']:g}" for one in before if one["far"] not in {found["far"] for found in stored}]
    if not fars:
        return []
    together = ",".join(f"{far:g}" for far in sorted({one["far"] for one in (*before, *stored)}, reverse=True))
    return [
        f"the thresholds that it had for FAR {', '.join(fars)} are gone, as all are of one calibration: to have them "
        f"too, name them together ({option('far', together)})"
    ]


def _beyond(stored: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"the threshold for FAR {one['far']:g} is extrapolated from the {one['extrapolated']['scores']:,} highest "
        f"scores of {one['impostor']:,} impostor pairs; {needed(one['far']):,} would decide it"
        for one in stored
        if "extrapolated" in one
    ]


def _teacher(request: CalibrateRequest, faces: _Faces, size: Size) -> Prepared | None:
    if request.teacher is None:
        return None
    like = FreeSize(size, "the size of the artifact")
    # Refuses an integer network, which isn't the teacher.
    open_float(request.teacher, request.preprocess, request.size, lambda: like, request.output)
    return prepare(
        request.teacher,
        faces.files,
        request.engine,
        request.threads,
        request.preprocess,
        request.size,
        like,
        request.output,
    )


def _of_teacher(
    request: CalibrateRequest, teacher: Prepared, faces: _Faces, steps: Steps
) -> tuple[list[float], list[float]]:
    """The FARs and thresholds of the float network on the same faces."""
    expected, _ = embed(
        teacher.embedder, faces.files, request.flip, request.source.allow_skipped, steps("embedding with the teacher")
    )
    points = [one for one in faces.summary(expected, request.fars, request.seed).tar if one.threshold is not None]
    return [point.far for point in points], [float(point.threshold or 0) for point in points]
