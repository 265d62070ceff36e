"""The steps of `bitface compare`'s candidates: from options in YAML to the request of a command."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bitface.errors import UsageError
from bitface.inputs.training import settings
from bitface.jobs.distill import SCHOOLING, DistillRequest
from bitface.jobs.float_student import Lesson
from bitface.jobs.prune import RECOVERY, PruneRequest
from bitface.jobs.quantize import QuantizeRequest, by_recipe
from bitface.prune import Pruning
from bitface.quant import BitPlan, Calibration
from bitface.quant.observers import OBSERVERS
from bitface.quant.reconstruct import effort
from bitface.train import Training

Request = PruneRequest | DistillRequest | QuantizeRequest


def _trained(base: Training, options: Mapping[str, Any], seed: int) -> Training:
    """The training of a step: a base, what `training` changes of it, and the short options."""
    given = dict(options.get("training", {}))
    loss = options.get("loss")
    if isinstance(loss, dict):
        given["loss"], loss = loss, None
    return settings(Training.from_json({**vars(base), **given}), loss, options.get("epochs"), seed)


def _lesson(common: Mapping[str, Any]) -> dict[str, Any]:
    return {key: common[key] for key in (item.name for item in fields(Lesson)) if key in common}


def _prune(options: dict[str, Any], common: dict[str, Any], base: Path) -> Request:
    if "ratio" not in options:
        raise UsageError("'prune' needs 'ratio', the share of the parameters to remove")
    chosen = {key: options[key] for key in ("ratio", "importance", "scope", "round_to") if key in options}
    pruning = Pruning(**chosen, seed=common["seed"])
    return PruneRequest(pruning=pruning, **{**_lesson(common), "training": _trained(RECOVERY, options, common["seed"])})


def _distill(options: dict[str, Any], common: dict[str, Any], base: Path) -> Request:
    if "student" not in options:
        raise UsageError("'distill' needs 'student', the name of a network")
    chosen = {key: options[key] for key in ("student", "embedding_size", "from_teacher") if key in options}
    return DistillRequest(**chosen, **{**_lesson(common), "training": _trained(SCHOOLING, options, common["seed"])})


def _quantize(options: dict[str, Any], common: dict[str, Any], base: Path) -> Request:
    method, bits = options.get("method", "ptq"), options.get("bits", "w8a8")
    if method not in ("ptq", "qat"):
        raise UsageError(f"unknown method '{method}': use ptq or qat")
    if isinstance(bits, str) and bits.lower().endswith((".yaml", ".yml")):
        bits = str(base / bits)
    plan = BitPlan.from_json(bits) if isinstance(bits, Mapping) else BitPlan.parse(bits)
    kept = {key: options[key] for key in ("observer", "equalization", "bias_correction") if key in options}
    if kept.get("observer", "mse") not in OBSERVERS:
        raise UsageError(f"unknown observer '{kept['observer']}': use one of {', '.join(OBSERVERS)}")
    rebuilt = effort(options.get("effort", "fast"), common["seed"])
    request = QuantizeRequest(**common, plan=plan, calibration=Calibration(**kept, reconstruction=rebuilt))
    if method == "qat":
        if rebuilt:
            raise UsageError("'effort' of 'quantize' is for 'method: ptq'")
        if kept:
            raise UsageError(f"'{next(iter(kept))}' of 'quantize' is for 'method: ptq'; a recipe has a 'calibration'")
        unsaid = () if "bits" in options else ("bits",)  # the seed is the comparison's
        request = by_recipe(request, _recipe(options.get("recipe"), base), options.get("epochs"), unsaid)
        return replace(request, plan=request.plan.with_edges(options.get("first"), options.get("last")))
    for key in ("recipe", "epochs", "minutes"):
        if key in options:
            raise UsageError(f"'{key}' of 'quantize' is for 'method: qat'")
    # All faces are for trainings; ranges need few.
    plan = plan.with_edges(options.get("first"), options.get("last"))
    return replace(request, plan=plan, labels=None, resume=False, max_images=options.get("max_images"))


def _recipe(name: str | None, base: Path) -> str | None:
    return str(base / name) if name and name.lower().endswith((".yaml", ".yml")) else name


_NUMBER = (int, float)
_LEARNING: dict[str, Any] = {
    "loss": (str, dict), "epochs": _NUMBER, "minutes": _NUMBER, "max_images": int, "training": dict,
}  # fmt: skip
# A step's name → its options with their kinds, and what makes its request of them.
STEPS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any], dict[str, Any], Path], Request]]] = {
    "prune": ({"ratio": _NUMBER, "importance": str, "scope": str, "round_to": int, **_LEARNING}, _prune),
    "distill": ({"student": str, "embedding_size": int, "from_teacher": bool, **_LEARNING}, _distill),
    "quantize": (
        {
            "bits": (str, dict), "first": str, "last": str, "method": str, "recipe": str, "epochs": _NUMBER,
            "minutes": _NUMBER, "max_images": int, "effort": str, "observer": str, "equalization": bool,
            "bias_correction": bool,
        },
        _quantize,
    ),
}  # fmt: skip
