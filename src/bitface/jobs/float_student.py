"""What `prune` and `distill` share: faces and a teacher in, a trained float network with its result out."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

import bitface
from bitface import ranks
from bitface.data.face_source import FaceSource
from bitface.data.faces import manifest_hash
from bitface.evaluation import agreement
from bitface.files import path_fields
from bitface.graph import Network, load_network, passes, to_onnx
from bitface.graph.network import METADATA_KEY
from bitface.graph.summary import summarise
from bitface.inputs import faces as job_faces
from bitface.inputs.training import account, needs_labels
from bitface.losses import Loss, build_sum
from bitface.losses.projected import Projected
from bitface.preprocess import Size
from bitface.progress import Steps
from bitface.results.float_students import DistillationRecord, PruningRecord
from bitface.results.folder import CHECKPOINT, Clock, check_free, staging, write_result
from bitface.runtime import Embedder, Model
from bitface.runtime.machine import describe
from bitface.runtime.teacher import teacher_of
from bitface.targets.registry import FASTEST
from bitface.training import History, Learner, Session, Training, TrainingFaces, Watch, digest, distil
from bitface.training.distil import likeness
from bitface.training.progress import training_line

# The state of a training while it runs.


@dataclass(frozen=True, kw_only=True)
@path_fields
class FloatStudentRequest:
    """A teacher, faces, and how a float student learns from them.

    Attributes:
        model: the teacher's file.
        source: the faces.
        minutes: as many epochs as fit.
        resume: goes on from the checkpoint in `out`.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        size: of the image, for a teacher that leaves it free; None: see `inputs.faces.load_teacher`.
        force: writes over what `out` holds.
    """

    model: Path
    source: FaceSource
    out: Path
    preprocess: str | None = None
    seed: int = 0
    training: Training = field(default_factory=Training)
    minutes: float | None = None
    resume: bool = False
    size: Size | None = None
    force: bool = field(default=False, repr=False)
    output: str | None = None


@dataclass(frozen=True)
class PreparedTeacher:
    """The teacher with its preprocessing, the faces, and what there is to say of them."""

    network: Network
    learning: TrainingFaces
    faces: job_faces.Faces
    notes: list[str]
    warnings: list[str]
    clock: Clock


def prepare(request: FloatStudentRequest, steps: Steps) -> PreparedTeacher:
    """Opens the teacher and gathers the faces.

    Raises:
        BitfaceError: `out` isn't free (see `check_free`), or the teacher or the faces can't be used.
    """
    check_free(
        request.out, request.force, checkpoint=request.out / CHECKPOINT, resume=request.resume, files=["model.onnx"],
        reads=[request.model],
    )  # fmt: skip
    clock = Clock()
    network = job_faces.load_teacher(
        request.model, request.source, request.preprocess, request.size, output=request.output
    )
    clock.lap("import")
    faces = job_faces.gather(
        request.source,
        network.size,
        request.seed,
        request.out / "skipped.csv",
        steps,
        network,
        request.training.device,
    )
    network, notes, warnings = job_faces.settle_preprocess(network, faces.learning, request.preprocess)
    needed = needs_labels(request.training)
    labels = job_faces.labels_of(faces, len(faces.files), request.source.labels, needed)
    notes = [*network.notes, *notes, *faces.notes, *job_faces.unseen(faces.kind, network), *job_faces.lonely(labels)]
    clock.lap("faces")
    return PreparedTeacher(
        network,
        TrainingFaces(faces.learning, labels, faces.workers),
        faces,
        notes,
        [*network.warnings, *warnings],
        clock,
    )


def loss_of(training: Training, size: int, teacher_size: int, classes: int) -> Loss:
    """The losses of a training, for embeddings of a student and of its teacher that may differ in size."""
    loss = build_sum(training.loss, max(size, teacher_size), classes)
    return loss if size == teacher_size else Projected(loss, size, teacher_size)


def learn(
    request: FloatStudentRequest,
    ready: PreparedTeacher,
    student: nn.Module,
    size: int,
    about: dict[str, str],
    steps: Steps,
    train_statistics: bool = False,
) -> History:
    """Trains a student in place.

    Args:
        size: of its embeddings.
        about: names what it is, so that a checkpoint of another isn't taken for its own.
    """
    network, training = ready.network, request.training
    assert network.preprocess is not None
    torch.manual_seed(request.seed)
    loss = loss_of(training, size, network.embedding_size, ready.learning.classes)
    identity = {
        "network": network.fingerprint(), **about, "settings": repr(training), "faces": digest(ready.learning),
        "minutes": repr(request.minutes),
        # BatchNorms take the statistics of a part, and each part draws its own dropout.
        **({"accumulate": str(training.accumulate)} if train_statistics else {}),
    }  # fmt: skip
    watch = Watch(embedding=steps("embedding with the teacher"), training=training_line(steps))
    history = distil(
        Learner(student, network.preprocess, train_statistics=train_statistics), loss, ready.learning,
        ready.faces.held_out, teacher_of(request.model, network, training), training, identity,
        Session(request.out / CHECKPOINT, request.resume, request.minutes, watch),
    )  # fmt: skip
    ready.clock.lap("training")
    return history


def finish(
    kind: type[PruningRecord] | type[DistillationRecord],
    request: FloatStudentRequest,
    ready: PreparedTeacher,
    student: Network,
    history: History,
    **facts: Any,
) -> dict[str, Any]:
    """Writes `model.onnx` and `result.json` to `request.out`, and removes the checkpoint; gives the result, or
    nothing in a rank that isn't the first.

    Args:
        kind: of result; facts: what it says besides.
    """
    if not ranks.is_first():
        return {}
    teacher = ready.network
    before, after = counted(teacher), counted(student)
    compared = _compared(ready, student)
    ready.clock.lap("agreement")
    with staging(request.out) as folder:
        size = write_network(folder / "model.onnx", student)
        result = {
            "bitface": bitface.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {"name": teacher.name, "path": str(request.model), "fingerprint": teacher.fingerprint()},
            # Of the file: what a graph loses when it is written, folded BatchNorm say, changes it.
            "fingerprint": load_network(folder / "model.onnx").fingerprint(),
            "embedding_size": student.embedding_size,
            "preprocess": student.preprocess.name if student.preprocess else None,
            **facts,
            "before": {**before, "bytes": teacher.source_bytes},
            "after": {**after, "bytes": size},
            "agreement": compared,
            "faces": {
                "kind": ready.faces.kind,
                "given": ready.faces.total,
                "learning": len(ready.learning.images),
                "identities": ready.learning.classes or None,
                "held_out": len(ready.faces.held_out),
                "skipped": ready.faces.skipped,
                "duplicates": ready.faces.duplicates,
                "manifest": manifest_hash(ready.learning.images),
            },
            "training": account(request.training, history),
            "seed": request.seed,
            "notes": ready.notes,
            "warnings": ready.warnings,
            "seconds": ready.clock.seconds,
            "machine": describe(),
        }
        content = write_result(folder, kind.of(result))
    (request.out / CHECKPOINT).unlink(missing_ok=True)
    return content


def counted(network: Network) -> dict[str, int]:
    """Parameters and multiply-adds of a network with its BatchNorm folded."""
    summary = summarise(replace(network, graph=passes.fold(network.graph)))
    return {"parameters": summary.parameters, "macs": summary.macs}


def write_network(path: Path, network: Network) -> int:
    """Writes a float network with its preprocessing as an ONNX file; gives its bytes."""
    metadata = {METADATA_KEY: network.preprocess.name} if network.preprocess else {}
    onnx.save(to_onnx(network.graph, metadata=metadata), path)
    return path.stat().st_size


def _compared(ready: PreparedTeacher, student: Network) -> dict[str, Any]:
    """Teacher and student on the held-out faces: cosines where their embeddings have one size, and `likeness`."""
    embeddings, expected = (
        Embedder(Model(Path(network.name), "float", network), FASTEST).embed(ready.faces.held_out)
        for network in (student, ready.network)
    )
    cosines = agreement(expected, embeddings).to_json() if embeddings.shape == expected.shape else None
    return {"cosine": cosines, "likeness": likeness(torch.from_numpy(embeddings), torch.from_numpy(expected))}
