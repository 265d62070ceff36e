"""What a candidate of `bitface compare` asks for: from the options of a step to the request of a command."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import bitface
from bitface.data.faces import FaceFile, find_images
from bitface.data.sources import PackedFaces, Source, opened
from bitface.errors import UsageError
from bitface.files import sha256_of
from bitface.inputs import recipes
from bitface.inputs.comparisons import Comparison, DistillStep, Learning, PruneStep, QuantizeStep, step_of, values_of
from bitface.inputs.training import check_length, settings
from bitface.jobs.distill import SCHOOLING, DistillRequest
from bitface.jobs.float_student import FloatStudentRequest
from bitface.jobs.prune import RECOVERY, PruneRequest
from bitface.jobs.quantize import QuantizeRequest, request_of
from bitface.prune import Pruning
from bitface.quant import BitPlan, Calibration
from bitface.quant.reconstruct import effort
from bitface.store import key_of
from bitface.training import Training

Request = PruneRequest | DistillRequest | QuantizeRequest


def request_for(
    comparison: Comparison, step: str, options: Mapping[str, Any], model: Path, out: Path, first: bool
) -> Request:
    """The request of a step on a model; `first`: on the original, which may not say its preprocessing.

    Raises:
        UsageError: an unknown step or option (the nearest known one is named), or a value that can't be.
    """
    settings = step_of(step, options)
    source = replace(comparison.source, max_images=options.get("max_images", comparison.source.max_images))
    common = recipes.Options(
        model,
        source,
        out,
        preprocess=comparison.preprocess if first else None,
        size=comparison.size if first else None,
        output=comparison.output if first else None,
        seed=comparison.seed,
        minutes=options.get("minutes"),
    )
    if isinstance(settings, QuantizeStep):
        return _quantize(settings, common, comparison.base)
    values = values_of(settings)
    names = {item.name for item in fields(FloatStudentRequest)}
    training_options = {key: value for key, value in vars(common).items() if key in names}
    if isinstance(settings, PruneStep):
        pruning = {key: values[key] for key in ("ratio", "importance", "scope", "round_to") if key in values}
        training = _trained(RECOVERY, settings, comparison.seed)
        return PruneRequest(
            **training_options, training=training, resume=True, pruning=Pruning(**pruning, seed=comparison.seed)
        )
    assert isinstance(settings, DistillStep)
    student = {key: values[key] for key in ("student", "embedding_size", "from_teacher") if key in values}
    return DistillRequest(
        **training_options, training=_trained(SCHOOLING, settings, comparison.seed), resume=True, **student
    )


def step_key(request: Request, before: str) -> str:
    """Names what a step gives: changed by anything that it depends on.

    Args:
        before: names the model it begins with.
    """
    plain = replace(request, model=Path(before), out=Path(), resume=False)
    source = request.source
    paths = [Path(path) for path in (source.image_list, source.labels) if path]
    lists = [sha256_of(path) for path in paths if path.is_file()]
    # Alike whatever the parts of a batch, unless BatchNorms learn.
    parts = request.training.accumulate if isinstance(request, DistillRequest) else 1
    facts = (bitface.__version__, plain, lists, parts, _facts_of(source.images))
    return key_of(facts)[:16]


def requests_of(comparison: Comparison) -> list[Request]:
    """Every step's request, before anything is computed.

    Raises:
        UsageError: a step can't be carried out as it is asked for; the candidate is named.
    """
    requests = []
    for candidate in comparison.candidates:
        try:
            for place, (step, options) in enumerate(candidate.steps):
                requests.append(request_for(comparison, step, options, comparison.model, Path(), place == 0))
        except UsageError as error:
            raise UsageError(f"candidate '{candidate.name}': {error}") from error
    return requests


def _facts_of(images: Sequence[Path]) -> list[object]:
    """Path, size and time of every image in the folders, of every file of images and of a generator of them, and packed
    sets: from other images comes another student.
    """
    sources = [Source.parse(word) for word in images]
    packed = [one for one in sources if isinstance(one.data_set, PackedFaces)]
    files = find_images([folder for folder in images if folder.is_dir()])
    files += [
        FaceFile(one.path.parent, one.path.name)
        for one in sources
        if one not in packed and one.path and one.path.is_file()
    ]
    return [*(file.facts() for file in files), *(opened(one).content for one in packed)]


def _trained(base: Training, step: Learning, seed: int) -> Training:
    """The training of a step: a base, what `training` changes of it, and the short options."""
    check_length(step.epochs, step.minutes)
    changes, loss = dict(step.training), step.loss
    if isinstance(loss, dict):
        changes["loss"], loss = loss, None
    return settings(Training.from_json({**vars(base), **changes}), loss, step.epochs, seed)


def _quantize(step: QuantizeStep, common: recipes.Options, base: Path) -> Request:
    if step.method not in ("ptq", "qat"):
        raise UsageError(f"unknown method '{step.method}': use ptq or qat")
    plan = None if step.bits is None else _plan(step.bits, base)
    values = values_of(step)
    overrides = {key: values[key] for key in ("observer", "equalization", "rotate", "bias_correction") if key in values}
    rebuilt = effort(step.effort or "fast")
    if step.method == "qat":
        if rebuilt:
            raise UsageError("'effort' of 'quantize' is for 'method: ptq'")
        if overrides:
            raise UsageError(
                f"'{next(iter(overrides))}' of 'quantize' is for 'method: ptq'; a recipe has a 'calibration'"
            )
        recipe = recipes.for_training(_recipe(step.recipe, base), plan or BitPlan())
        request = request_of(recipes.merged(recipe, replace(common, plan=plan, epochs=step.epochs)), resume=True)
    else:
        for key in ("recipe", "epochs", "minutes"):
            if key in values:
                raise UsageError(f"'{key}' of 'quantize' is for 'method: qat'")
        recipe = recipes.Recipe("ptq", method=None, calibration=Calibration(**overrides, reconstruction=rebuilt))
        # All faces are for trainings; ranges need few.
        source = replace(common.source, labels=None, max_images=step.max_images)
        request = request_of(recipes.merged(recipe, replace(common, plan=plan, source=source)))
    return replace(request, plan=request.plan.with_edges(step.first, step.last))


def _plan(bits: str | dict[str, Any], base: Path) -> BitPlan:
    if isinstance(bits, str):
        return BitPlan.parse(base / bits if bits.lower().endswith((".yaml", ".yml")) else bits)
    return BitPlan.from_json(bits)


def _recipe(name: str | None, base: Path) -> str | None:
    return str(base / name) if name and name.lower().endswith((".yaml", ".yml")) else name
