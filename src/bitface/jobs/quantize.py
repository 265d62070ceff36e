"""`bitface quantize`: a network and faces in; artifact, exports, result and report out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitface import artifact, ranks, report
from bitface.analysis.readiness import check_writable
from bitface.data.crops import FaceImages
from bitface.data.duplicates import codes_of, write_codes
from bitface.data.face_source import FaceSource
from bitface.data.faces import manifest_hash
from bitface.files import path_fields
from bitface.graph import Network
from bitface.inputs import faces as job_faces
from bitface.inputs import recipes
from bitface.inputs.overlap import CODES
from bitface.inputs.training import account, kernels, needs_labels, slow
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.quant import BitPlan, Calibration, quantize
from bitface.quant.plan import PlannedLayer
from bitface.report.next_steps import after_quantization
from bitface.report.quantization import report_of
from bitface.results.folder import CHECKPOINT, Clock, check_free, staging, write_result
from bitface.results.locks import holding
from bitface.results.quantization import QuantizationRecord, describe_student, heavy_edges, measure_agreement
from bitface.runtime import Model
from bitface.runtime.quantized import artifact_of
from bitface.runtime.teacher import teacher_of
from bitface.targets.guide import guide
from bitface.targets.plans import for_targets
from bitface.targets.registry import TARGETS
from bitface.targets.write import GUIDE
from bitface.training import History, Method, Session, TrainingFaces, Watch, train
from bitface.training.progress import both, training_line
from bitface.training.trackers import tracked

# The state of a training when it is done: the best and the last weights.
FINISHED = "training.safetensors"


@dataclass(frozen=True)
@path_fields
class QuantizeRequest:
    """What to quantize, with what, and how; the options of `bitface quantize`.

    Attributes:
        source: the faces.
        data_kind: what the report calls the faces; None: what is known of their sources.
        method: None: post-training quantization with `calibration`; otherwise training.
        share: of the images that are learned from, the first so much.
        minutes: as many epochs as fit.
        resume: goes on from the checkpoint in `out`.
        output: of a network that has several: the name of the embedding; None: the one that looks like it.
        size: of the image, for a network that leaves it free; None: see `inputs.faces.load_teacher`.
        targets: what is written beside the artifact, and what the plan has to keep to; none: the default ones (openvino
            and onnxruntime).
        force: writes over what `out` holds.
        log: where the training's progress is kept, a name of `trackers.TRACKERS`; None: nowhere.
    """

    model: Path
    source: FaceSource
    out: Path
    plan: BitPlan = field(default_factory=BitPlan)
    preprocess: str | None = None
    seed: int = 0
    data_kind: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    method: Method | None = None
    share: float = 1.0
    minutes: float | None = None
    resume: bool = False
    size: Size | None = None
    targets: tuple[str, ...] = ()
    force: bool = field(default=False, repr=False)
    output: str | None = None
    log: str | None = field(default=None, repr=False)


def request_of(
    recipe: recipes.Recipe, resume: bool = False, force: bool = False, log: str | None = None
) -> QuantizeRequest:
    """The quantization that a recipe describes; see `inputs.recipes.merged` for what a command says besides.

    Raises:
        UsageError: nobody says the model, the faces or the folder.
    """
    recipes.check_said({"images": recipe.source.images, "out": recipe.out, "model": recipe.model})
    return QuantizeRequest(**recipes.common_fields(recipe, QuantizeRequest), resume=resume, force=force, log=log)


def quantize_model(request: QuantizeRequest, steps: Steps = silent) -> dict[str, Any]:
    """Makes `model.bitface`, the files of each target (`model.openvino.onnx`, say), `README.md`, which says how
    they are run, `faces.safetensors`, `result.json` and `report.html` in `request.out`.

    The files appear together, after everything has been computed and measured. A training keeps its state in
    `checkpoint.safetensors` beside them, which is `training.safetensors` when it is done.

    Returns:
        The content of `result.json`; nothing in a rank that isn't the first.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out; then `out` holds no new file, except
            `skipped.csv`, which lists images that can't be used, and a training's checkpoint.
    """
    plan, targets, notes = for_targets(request.plan, request.targets)
    request = replace(request, plan=plan, targets=targets)
    with holding(request.out, "quantize"):
        check_free(
            request.out, request.force, checkpoint=request.out / CHECKPOINT, resume=request.resume,
            files=["model.bitface", CODES, "report.html", GUIDE, *map(_file_of, targets)], reads=[request.model],
        )  # fmt: skip
        return _quantized(request, notes, steps)


def _quantized(request: QuantizeRequest, plan_notes: list[str], steps: Steps) -> dict[str, Any]:
    clock = Clock()
    network = job_faces.load_teacher(
        request.model, request.source, request.preprocess, request.size, output=request.output
    )
    check_writable(network, request.plan, request.targets)
    clock.lap("import")
    faces = job_faces.gather(
        request.source.up_to(_enough(request)),
        network.size,
        request.seed,
        request.out / "skipped.csv",
        steps,
        network,
        (request.method.training if request.method else request.calibration).device,
    )
    learning = faces.learning[: max(1, round(request.share * len(faces.learning)))]
    clock.lap("faces")
    network, notes, warnings = job_faces.settle_preprocess(network, learning, request.preprocess)
    notes += [*faces.notes, *job_faces.unseen(faces.kind, network)]
    warnings += job_faces.few(len(learning))
    clock.lap("preprocessing")
    labels = (
        job_faces.labels_of(faces, len(learning), request.source.labels, needs_labels(request.method.training))
        if request.method
        else None
    )
    notes += job_faces.lonely(labels)
    way = request.method or request.calibration
    with tracked(request.log, request.out, request.method.to_json() if request.method else {}) as listener:
        session = Session(request.out / CHECKPOINT, request.resume, request.minutes, Watch(training=listener))
        student, layers, history = learned(
            network, TrainingFaces(learning, labels, faces.workers), faces.held_out, request.plan, way, session,
            request.model, steps,
        )  # fmt: skip
    clock.lap("quantize")
    if not ranks.is_first():
        return {}
    details = _artifact(request, network, student, learning, faces)
    engine, agreement, engine_notes, alarms = measure_agreement(
        network, details, faces.held_out, request.targets, steps("checking held-out faces")
    )
    clock.lap("agreement")
    with staging(request.out) as folder:
        sizes = _write_models(folder, details, request.targets)
        write_codes(folder / CODES, codes_of(learning, faces.workers), details.data["manifest"])
        clock.lap("export")
        facts = {
            **describe_student(network, details, request.plan, layers, sizes),
            **_account(request, details, agreement, faces, history),
            "engine": engine,
            "notes": [
                *network.notes,
                *notes,
                *plan_notes,
                *engine_notes,
                *heavy_edges(layers, student),
            ],
            "warnings": [*beforehand(request), *network.warnings, *warnings, *alarms],
            "seconds": clock.seconds,
        }
        facts["model"]["path"] = str(request.model)
        result = QuantizationRecord.of(facts)
        page = report_of(
            [result],
            title=f"{network.name} {request.plan.word}",
            cosines=agreement,
            next=after_quantization(str(request.model), request.out / "model.bitface"),
        )
        report.write(folder / "report.html", page)
        content = write_result(folder, result)
    if request.method:
        (request.out / CHECKPOINT).replace(request.out / FINISHED)
    else:  # of a training that this result was written over
        for name in (CHECKPOINT, FINISHED):
            (request.out / name).unlink(missing_ok=True)
    return content


def beforehand(request: QuantizeRequest) -> list[str]:
    """What there is to warn of before a quantization begins: that it will take much longer than elsewhere."""
    return slow(request.calibration, request.method)


def learned(
    network: Network,
    faces: TrainingFaces,
    held_out: np.ndarray,
    plan: BitPlan,
    way: Calibration | Method,
    session: Session = Session(),
    path: Path | None = None,
    steps: Steps = silent,
) -> tuple[Network, list[PlannedLayer], History | None]:
    """The student by calibration or by training, its layers, and the account of a training.

    Args:
        network: with its preprocessing.
        session: of a training; of who is told of what, `watch.training` counts, beside what is shown.
        path: of the network's file, for messages.

    Raises:
        BitfaceError, UsageError: see `quant.quantize` and `training.train`.
    """
    calibration = way.calibration if isinstance(way, Method) else way
    progress = steps("calibrating"), steps("reconstructing") if calibration.reconstruction else None
    if isinstance(way, Calibration):
        return *quantize(network, np.asarray(faces.images), plan, way, *progress), None
    teacher = teacher_of(path or Path(network.name), network, way.training)
    told = both(training_line(steps), session.watch.training)
    watch = Watch(*progress, steps("embedding with the teacher"), told)
    return train(network, faces, held_out, plan, way, teacher, replace(session, watch=watch))


def _artifact(
    request: QuantizeRequest, network: Network, student: Network, learning: FaceImages, faces: job_faces.Faces
) -> artifact.Artifact:
    data = {"kind": request.data_kind or faces.kind, "images": len(learning), "manifest": manifest_hash(learning)}
    card = {"method": "qat" if request.method else "ptq", "seed": request.seed}
    return artifact_of(network, student, request.plan, data, card)


def _account(
    request: QuantizeRequest,
    details: artifact.Artifact,
    agreement: dict[str, Any],
    faces: job_faces.Faces,
    history: History | None,
) -> dict[str, Any]:
    """What `result.json` says of how the student was made and how well it agrees."""
    method = request.method
    return {
        "method": details.card["method"],
        "seed": request.seed,
        "agreement": {engine: values["summary"] for engine, values in agreement.items()},
        "faces": {
            "kind": details.data["kind"],
            "given": faces.total,
            "calibration": details.data["images"],
            "held_out": len(faces.held_out),
            "skipped": faces.skipped,
            "resized": faces.resized,
            "duplicates": faces.duplicates,
            "manifest": details.data["manifest"],
        },
        "calibration": asdict(method.calibration if method else request.calibration),
        "kernels": kernels(request.calibration, method),
        "training": account(method.training, history, method.to_json()) if method and history else None,
    }


def _enough(request: QuantizeRequest) -> int | None:
    """How many images are used where nobody says; None: all."""
    if request.method:
        return None
    return job_faces.DEFAULT_RECONSTRUCTION if request.calibration.reconstruction else job_faces.DEFAULT_CALIBRATION


def _file_of(target: str) -> str:
    """What a target's file, or folder, is called."""
    return f"model.{target}{TARGETS[target].suffix}"


def _write_models(folder: Path, details: artifact.Artifact, targets: Sequence[str]) -> dict[str, int]:
    """Artifact and exports; gives the bytes of each file (of a target's folder, those in it)."""
    path = folder / "model.bitface"
    sizes = {path.name: artifact.write(path, details)}
    model = Model(path, "artifact", details.network, details=details)
    guides = []
    for name in targets:
        file = _file_of(name)
        sizes[file] = model.export(name, folder / file)
        own = f"# {model.network.name} for {TARGETS[name].title}\n\nSee `{file}/{GUIDE}`.\n"
        guides.append(guide(name, model.network, file) if TARGETS[name].suffix else own)
    (folder / GUIDE).write_text("\n".join(guides), encoding="utf-8")
    return sizes
