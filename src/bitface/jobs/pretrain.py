"""A teacher from scratch: a backbone trained in full precision on labelled faces, in stages (softmax, then ArcFace)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import bitface
from bitface import backbones, ranks
from bitface.data.face_source import FaceSource
from bitface.errors import UsageError
from bitface.files import atomic_path, path_fields
from bitface.graph import ASSUMED, from_module
from bitface.inputs import faces as job_faces
from bitface.inputs.recipes import Pretraining, check_said, common_fields
from bitface.inputs.training import account
from bitface.jobs.float_student import write_network
from bitface.losses import build_sum, by_name
from bitface.preprocess import Size, parse
from bitface.progress import Steps, silent
from bitface.results.folder import Clock, check_free, staging, write_result
from bitface.results.locks import holding
from bitface.results.pretraining import PretrainingRecord
from bitface.runtime.machine import describe
from bitface.training import Trainee, Training, TrainingFaces, digest, fit
from bitface.training.progress import both, training_line
from bitface.training.trackers import tracked


@dataclass(frozen=True)
@path_fields
class PretrainRequest:
    """What to train on what.

    Attributes:
        backbone: a name of `backbones.names()`.
        stages: trainings one after the other, each from the weights of the one before (QMobileFaceNet: softmax
            first, then ArcFace).
        source: the faces, with labels.
        size: height and width of the image.
        force: writes over what `out` holds.
        log: see `QuantizeRequest`.
    """

    backbone: str
    stages: tuple[Training, ...]
    source: FaceSource
    out: Path
    embedding_size: int | None = None
    preprocess: str = "rgb-127.5-128"
    share: float = 1.0
    seed: int = 0
    resume: bool = False
    size: Size = ASSUMED.size
    force: bool = field(default=False, repr=False)
    log: str | None = field(default=None, repr=False)


def training_of(
    recipe: Pretraining, resume: bool = False, force: bool = False, log: str | None = None
) -> PretrainRequest:
    """The training that a recipe describes; see `inputs.recipes.merged` for what a command says besides.

    Raises:
        UsageError: nobody says the faces or the folder.
    """
    check_said({"images": recipe.source.images, "out": recipe.out})
    return PretrainRequest(**common_fields(recipe, PretrainRequest), resume=resume, force=force, log=log)


def pretrain(request: PretrainRequest, steps: Steps = silent) -> dict[str, Any]:
    """Makes `model.onnx`, `model.safetensors` and `result.json` in `request.out`.

    The state of each stage is kept in `checkpoint-STAGE.safetensors` until the end.

    Returns:
        The content of `result.json`; nothing in a rank that isn't the first.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out; then `out` holds checkpoints only.
    """
    with holding(request.out, "run"):
        checkpoints = [request.out / f"checkpoint-{stage}.safetensors" for stage in range(1, len(request.stages) + 1)]
        check_free(
            request.out, request.force, checkpoint=checkpoints[0], resume=request.resume,
            files=["model.onnx", "model.safetensors"],
        )  # fmt: skip
        return _trained(request, checkpoints, steps)


def _trained(request: PretrainRequest, checkpoints: list[Path], steps: Steps) -> dict[str, Any]:
    if any(training.mix for training in request.stages):
        raise UsageError("'mix' blends people, which no classifier can learn from; set it to 0")
    clock = Clock()
    torch.manual_seed(request.seed)
    model = backbones.create(request.backbone, request.embedding_size, input_size=request.size)
    preprocess = parse(request.preprocess, request.size)
    gathered = job_faces.gather(
        request.source,
        preprocess.size,
        request.seed,
        request.out / "skipped.csv",
        steps,
    )
    images = gathered.learning[: max(2, round(request.share * len(gathered.learning)))]
    labels = job_faces.labels_of(gathered, len(images), request.source.labels or "folder")
    faces = TrainingFaces(images, labels, gathered.workers)
    clock.lap("faces")
    with torch.no_grad():
        size = model.eval()(torch.zeros(1, 3, *preprocess.size)).shape[1]
    stages = []
    for number, (training, checkpoint) in enumerate(zip(request.stages, checkpoints, strict=True), 1):
        # Its own draw: a resumed stage must not depend on what the stages before it drew.
        generator = torch.Generator().manual_seed(request.seed * 1000 + number)
        loss = build_sum(training.loss, size, faces.classes, generator=generator)
        trainee = Trainee(model, loss, faces, preprocess, train_statistics=True)
        identity = {
            "network": f"{request.backbone} {size}",
            "stage": str(number),
            "settings": repr(request.stages[:number]),
            "faces": digest(faces),
            "accumulate": str([stage.accumulate for stage in request.stages[:number]]),  # of BatchNorms' statistics
        }
        name = f"stage {number} of {len(request.stages)}: {', '.join(by_name(training.loss))}"
        with tracked(request.log, request.out, training.to_json()) as listener:
            watch = both(training_line(steps, name), listener)
            history = fit(trainee, training, identity, checkpoint, request.resume, watch=watch)
        stages.append(account(training, history))
    clock.lap("training")
    if not ranks.is_first():
        return {}
    facts = {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "backbone": request.backbone,
        "embedding_size": size,
        "preprocess": preprocess.name,
        "faces": {"images": len(images), "identities": faces.classes, "skipped": gathered.skipped},
        "notes": [*gathered.notes, *job_faces.lonely(faces.labels)],
        "stages": stages,
        "seed": request.seed,
        "seconds": clock.seconds,
        "machine": describe(),
    }
    with staging(request.out) as folder:
        module = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        network = from_module(module, preprocess.name, request.backbone, request.size)
        write_network(folder / "model.onnx", network)
        with atomic_path(folder / "model.safetensors") as temporary:
            safetensors.torch.save_file(model.state_dict(), temporary)
        content = write_result(folder, PretrainingRecord.of(facts))
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return content
