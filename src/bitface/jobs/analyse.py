"""`bitface analyse`: a teacher, its student and faces in; what the student lost, where, and what to try next, out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface.analysis import flipped_decisions, sections
from bitface.analysis.conditions import NAMES, conditions
from bitface.analysis.diagnosis import Angles, DiagnosedStudent, diagnose_student
from bitface.analysis.occlusion import occlusion, regions
from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.analysis.sections import Embedded
from bitface.data.face_source import FaceSource
from bitface.data.faces import FaceFile, crop_sizes, load_faces, resizing
from bitface.data.images import image_size
from bitface.data.labels import names_of
from bitface.errors import BitfaceError, UsageError, option
from bitface.evaluation import unit_rows
from bitface.evaluation.figures.health import degenerate
from bitface.files import path_fields
from bitface.graph import FreeSize
from bitface.inputs.embeddings import embed
from bitface.inputs.faces import files_of
from bitface.inputs.models import prepare
from bitface.inputs.protocols import Opened, asked_protocol
from bitface.preprocess import Size, parse
from bitface.progress import Steps, silent
from bitface.quant.plan import LayerBits
from bitface.report import analysis as report
from bitface.report.flipped_faces import pictures
from bitface.results.analysis import AnalysisRecord
from bitface.results.folder import Clock, check_free, staging, write_result
from bitface.results.locks import holding
from bitface.runtime import Embedder, Model, open_float
from bitface.runtime.machine import describe

RESULT = "analysis.json"
_RANKED = 48


@dataclass(frozen=True)
@path_fields
class AnalyseRequest:
    """What to analyse on which faces; the options of `bitface analyse`.

    Attributes:
        teacher: a float network; student: an artifact, an exported file or another float network.
        source: one folder of faces; with `pairs` and neither list nor labels, those of the pairs. Where nobody knows
            who is on them, the teacher's similarities make pseudo-classes.
        pairs: a list of pairs whose paths are below the folder; None: all pairs of labelled faces.
        protocol: any other protocol in the place of the list and of `source`, whose people are the labels where it
            knows them all; see `inputs.protocols.read_protocol`.
        faces: puts pictures of flipped pairs into the page.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        preprocess, size: of a teacher that doesn't say it itself; None: the student's. A float student that leaves its
            size free has the same.
        force: writes over an analysis that `out` holds.
    """

    teacher: Path
    student: Path
    source: FaceSource
    out: Path
    pairs: Path | None = None
    faces: bool = False
    preprocess: str | None = None
    engine: str | None = None
    threads: int | None = None
    seed: int = 0
    size: Size | None = None
    force: bool = False
    protocol: str | Opened | None = None
    output: str | None = None


def analyse_student(request: AnalyseRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes `analysis.json` and `analysis.html` into `request.out`, together.

    Returns:
        The content of `analysis.json`, which is all that the page is drawn from:

        bitface, created, title, machine, seconds, notes, warnings.
        teacher, student: {path, name, kind, preprocess, embedding_size, fingerprint, bits, method}.
        faces: {images, used, failed, classes, alone, labels, folder}; `labels` is `folder`, `file` or None, and
            the paths of faces are below `folder`.
        class_word: `class`, or `pseudo-class` where the teacher's similarities made the classes. It stands for CLASS
            below.
        errors: {"as embedded": MEANS, "rotation taken out": MEANS or None}, MEANS being degrees {face, CLASS,
            individual, individual vector}, see `analysis.angular.AngularErrors.means`.
        angles: {"errors", "errors without rotation", "inter-CLASS", "within-CLASS"}, each {name: a distribution}, see
            `analysis.distributions`; the last two of teacher and student.
        classes: the 20 with most individual error, [{name, faces, error, individual, teacher, student}], the last two
            being mean angles to the centre.
        layers: `analysis.layers.Layers.to_json`, or None.
        map: {rows, teacher, student: [[x, y]], group: [int], title: [text]}; neighbourhoods: see `analysis.maps`, or
            None.
        flips: {pairs, points: [{far, teacher, student, rejected, accepted, gained, genuine, impostor, own}], worst:
            [{left, right, same, teacher, student, damage}]} with thresholds under `teacher` and `student`, or None.
            `own`: the student's threshold is the artifact's.
        conditions: [{name, flipped, all, p, faces}], see `analysis.conditions`.
        diagnosis: {sentences, command}.

    Raises:
        BitfaceError: models that can't be compared, faces or labels that can't be used; then nothing is written.
    """
    with holding(request.out, "analyse"):
        check_free(request.out, request.force, RESULT, files=["analysis.html"])
        return _analysed(request, steps)


def _analysed(request: AnalyseRequest, steps: Steps) -> dict[str, Any]:
    clock = Clock()
    notes: list[str] = []
    files, opened = _files(request)
    notes += opened.notes if opened else ()
    names = names_of(files, request.source.labels) if request.source.labels else _people(request, opened)
    like = FreeSize(request.size, "as asked for") if request.size else None
    student = prepare(request.student, files, request.engine, request.threads, like=like)
    teacher, better, warnings = _teacher(request, student.embedder.model, files, names, notes)
    warnings += [*student.warnings, *_differences(teacher.model, student.embedder.model)]
    notes += [note for note in student.notes if note not in notes]
    clock.lap("models")
    embeddings = _embedded(files, names, teacher, student.embedder, request.source.allow_skipped, steps, notes)
    for model, rows in ((request.teacher, embeddings.teacher), (request.student, embeddings.student)):
        warnings += [f"{model.name}: {text}" for text in degenerate(rows)]
    clock.lap("embedding")
    who, word = embeddings.who, "class"
    if who is None:
        who, word = sections.pseudo(embeddings, notes), "pseudo-class"
    parts = sections.angles(embeddings, who, word, request.seed, notes)
    clock.lap("angles")
    layers = sections.layers(embeddings.files, teacher.model, student.embedder.model, request.seed, steps, notes)
    clock.lap("layers")
    parts |= sections.mapped(embeddings, who, word, request.seed, notes)
    clock.lap("maps")
    decisions = flipped_decisions.decisions(
        embeddings, opened.protocol if opened else None, student.embedder.model, notes
    )
    clock.lap("pairs")
    diagnosis = diagnose_student(
        _subject(request, teacher.model, student.embedder.model, files[0].root), _known(parts), layers, better
    )
    parts["faces"] |= {
        "images": len(files),
        "labels": _label_kind(request.source.labels) if request.source.labels or names is None else "protocol",
        "folder": str(files[0].root),
    }
    facts = {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": f"{request.student.name} beside {request.teacher.name}",
        "teacher": _facts(teacher.model),
        "student": _facts(student.embedder.model),
        "class_word": word,
        "diagnosis": asdict(diagnosis),
        **parts,
        "layers": layers.to_json() if layers else None,
        **decisions,
        "notes": notes,
        "warnings": warnings,
        "machine": describe(),
        "seconds": clock.seconds,
    }
    result = AnalysisRecord.of(facts)
    with staging(request.out, RESULT) as folder:
        crops = pictures(embeddings.files, result.flips, student.embedder.preprocess.size) if request.faces else None
        report.write(folder / "analysis.html", result, crops)
        return write_result(folder, result, RESULT)


def _label_kind(labels: str | None) -> str | None:
    return labels if labels in (None, "folder") else "file"


def _known(parts: dict[str, Any]) -> Angles:
    """The angles as the diagnosis needs them; pseudo-classes aren't known ones."""
    within, between = (
        (sides["teacher"]["mean"], sides["student"]["mean"]) if sides else None
        for sides in (parts["angles"].get(f"{kind}-class") for kind in ("within", "inter"))
    )
    plain, rotated = parts["errors"].values()
    return Angles(plain, rotated, within, between)


def _subject(request: AnalyseRequest, teacher: Model, student: Model, folder: Path) -> DiagnosedStudent:
    """What the diagnosis is about."""
    details, word = student.details, teacher.preprocess.name if teacher.preprocess else request.preprocess
    try:
        bits = str(LayerBits.parse(details.plan["bits"])) if details else None
    except (KeyError, UsageError):  # a plan is whatever the file says
        bits = None
    training = details is not None and details.card.get("method") == "qat"
    size = str(teacher.network.size) if teacher.network.free else None
    images = request.source.images[0] if request.source.images else folder
    return DiagnosedStudent(str(request.teacher), str(request.student), str(images), bits, training, word, size)


def _files(request: AnalyseRequest) -> tuple[Sequence[FaceFile], Opened | None]:
    """The faces, and the protocol where there is one."""
    if request.protocol is not None:
        if request.source.images or request.source.image_list or request.pairs:
            raise UsageError(
                f"{option('protocol')} names the faces and what is compared; leave out {option('images')} and "
                f"{option('pairs')}"
            )
        opened = asked_protocol(request.protocol, None)
        return opened.files, opened
    if not request.source.images:
        raise UsageError(f"name the faces: {option('images')}, or {option('protocol', 'FILE.yaml')}")
    if request.pairs is None:
        return files_of(request.source.images, request.source.image_list), None
    opened = asked_protocol(None, request.pairs, request.source.images[0])
    if request.source.image_list or request.source.labels:
        return files_of(request.source.images, request.source.image_list), opened
    return opened.files, opened


def _people(request: AnalyseRequest, opened: Opened | None) -> list[str] | None:
    """Whom each face shows, where a protocol says so of all of them."""
    people = opened.protocol.people() if opened and request.protocol is not None else None
    names = [one for one in people or () if one]
    return names if people and len(names) == len(people) else None


def _teacher(
    request: AnalyseRequest, student: Model, files: Sequence[FaceFile], names: list[str] | None, notes: list[str]
) -> tuple[Embedder, str | None, list[str]]:
    """The teacher, the preprocessing under which these faces say the student would do better, and warnings.

    Each model is fed by its own preprocessing. A teacher that doesn't say its own has the student's.
    """
    like = FreeSize(student.network.size, "the size of the student")
    sizes = crop_sizes(files)
    network = open_float(request.teacher, request.preprocess, request.size, lambda: like, request.output)
    notes += [*network.notes, *resizing(sizes, network.size)]
    model = Model(request.teacher, "float", network)
    if model.network.embedding_size != student.network.embedding_size:
        raise BitfaceError(
            f"{request.student}: gives embeddings of {student.network.embedding_size} numbers, {request.teacher} of "
            f"{model.network.embedding_size}; a student has its teacher's size"
        )
    assert student.preprocess is not None
    own = student.preprocess.name
    preprocess = model.preprocess.name if model.preprocess else own
    model = model.with_preprocess(parse(preprocess, model.network.size))
    scores = rank_presets(model.network, load_faces(_sample(files, names), model.network.size).images, [own])
    best, warning = best_preset(scores, own)
    better = best if warning and best != own else None
    warnings = [*model.network.warnings, *([warning] if warning else [])]
    if preprocess != own and best is not None:
        doubt = best_preset(scores, preprocess)[1]
        warnings += [f"of the teacher: {doubt}"] if doubt else []
    return Embedder(model, request.engine, request.threads), better, warnings


def _sample(files: Sequence[FaceFile], names: list[str] | None) -> list[FaceFile]:
    """Faces for the choice of a preprocessing: of different people where they are known."""
    if names:
        files = list(dict(zip(names, files, strict=True)).values())
    return list(files[:: max(1, len(files) // _RANKED)][:_RANKED])


def _differences(teacher: Model, student: Model) -> list[str]:
    """Warnings where the two aren't what they should be to each other."""
    assert teacher.preprocess is not None
    assert student.preprocess is not None
    warnings = []
    if teacher.preprocess != student.preprocess:
        warnings.append(
            f"the teacher reads {teacher.preprocess.name} images of {teacher.network.size}, the student "
            f"{student.preprocess.name} of {student.network.size}; each is given its own"
        )
    made_from = student.details.teacher.get("fingerprint") if student.details else None
    # A fingerprint holds the preprocessing; it alone doesn't make another network.
    if made_from and made_from != teacher.network.with_preprocess(student.preprocess).fingerprint():
        warnings.append(f"{student.path.name} was made from another network than {teacher.path.name}")
    return warnings


def _facts(model: Model) -> dict[str, Any]:
    details = model.details
    return {
        "path": str(model.path),
        "name": model.network.name,
        "kind": model.kind,
        "preprocess": model.preprocess.name if model.preprocess else None,
        "embedding_size": model.network.embedding_size,
        "fingerprint": model.network.fingerprint(),
        "bits": details.plan.get("bits") if details else None,
        "method": details.card.get("method") if details else None,
    }


def _embedded(
    files: Sequence[FaceFile],
    names: list[str] | None,
    teacher: Embedder,
    student: Embedder,
    allow_skipped: bool,
    steps: Steps,
    notes: list[str],
) -> Embedded:
    """Every face through both models, and its conditions.

    Args:
        names: of the identity of each file; None: nobody knows.

    Raises:
        BitfaceError: more than 1 % of the faces can't be used (unless `allow_skipped`), or fewer than two can.
    """
    blocks: list[np.ndarray] = []
    seen_regions: list[np.ndarray] = []

    def look(images: np.ndarray) -> None:
        blocks.append(conditions(images))
        seen_regions.append(regions(images))

    first, _ = embed(teacher, files, False, allow_skipped, steps("embedding with the teacher"))
    second, _ = embed(student, files, False, allow_skipped, steps("embedding with the student"), look)
    (before, usable), (after, too) = unit_rows(first.values, first.valid), unit_rows(second.values, second.valid)
    good = usable & too
    if good.sum() < 2:
        raise BitfaceError(f"{int(good.sum())} of {len(files)} faces are embedded by both models; give at least two")
    if not good.all():
        notes.append(f"{int((~good).sum())} of {len(files)} faces aren't embedded by both models and are left out")
    usable_files = [file for file, one in zip(files, good, strict=True) if one]
    people, who = np.unique(np.array(names)[good], return_inverse=True) if names else (np.array([]), None)
    columns = dict(zip(NAMES, np.concatenate(blocks)[good].T, strict=True))
    if (covered := occlusion(np.concatenate(seen_regions)[good])) is not None:
        columns["occlusion"] = covered
    columns["pixels"] = np.array([_pixels(file) for file in usable_files], np.float64)
    return Embedded(
        usable_files, first.values[good], second.values[good], (before[good], after[good]),
        None if who is None else who.astype(np.int64), [str(name) for name in people], columns,
    )  # fmt: skip


def _pixels(file: FaceFile) -> int:
    """How many pixels an image file has, by its header."""
    size = image_size(file.encoded)
    return size.height * size.width
