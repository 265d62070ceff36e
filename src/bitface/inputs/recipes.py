"""Recipes: a training as a YAML file, with the bits, the quantizers, the loss and the settings that belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

import bitface
from bitface import backbones
from bitface.errors import UsageError, nearest
from bitface.files import read_yaml
from bitface.graph import ASSUMED
from bitface.losses import LOSSES, build_sum
from bitface.losses.softmax import Softmax
from bitface.preprocess import Size
from bitface.quant import BitPlan, Calibration
from bitface.quant.learn import check_method
from bitface.quant.observers import OBSERVERS
from bitface.quant.plan import FLOAT
from bitface.quant.reconstruct import effort
from bitface.train import Method, Training

FOLDER = Path(bitface.__file__).with_name("recipes")


@dataclass(frozen=True)
class Recipe:
    """A training, and, where a recipe says it, what to train on what.

    Attributes:
        about: where it is from, and what it departs in.
        bits: a bit plan, as a word or in the keys of its YAML form.
        method: quantizers, losses, settings; None: post-training quantization with `calibration`.
        share: of the images, the first so much.
        labels: `folder`, a CSV file, or None.
        minutes: as many epochs as fit; None: `epochs` of the training.
        model, images, image_list, max_images, preprocess, size, out: as the options of `bitface quantize`.
    """

    name: str
    about: str = ""
    bits: BitPlan = field(default_factory=BitPlan)
    method: Method | None = field(default_factory=Method)
    calibration: Calibration = field(default_factory=Calibration)
    share: float = 1.0
    labels: str | None = None
    minutes: float | None = None
    model: Path | None = None
    images: tuple[Path, ...] = ()
    image_list: Path | None = None
    max_images: int | None = None
    preprocess: str | None = None
    size: Size | None = None
    out: Path | None = None

    def seeded(self, seed: int) -> "Recipe":
        """The same with another seed, of the training and of the reconstruction it begins with."""
        method = self.method
        if method:
            training = replace(method.training, seed=seed)
            method = replace(method, training=training, calibration=method.calibration.seeded(seed))
        return replace(self, method=method, calibration=self.calibration.seeded(seed))

    def for_epochs(self, epochs: float) -> "Recipe":
        """The same with exactly this number of epochs. Raises UsageError out of range."""
        if self.method is None:
            return self
        training = replace(self.method.training, epochs=epochs, min_steps=0)
        return replace(self, method=replace(self.method, training=training))


@dataclass(frozen=True)
class Pretraining:
    """A recipe that makes a teacher from scratch: see `jobs.pretrain.PretrainRequest`."""

    name: str
    backbone: str
    stages: tuple[Training, ...]
    about: str = ""
    embedding_size: int | None = None
    share: float = 1.0
    labels: str = "folder"
    images: tuple[Path, ...] = ()
    image_list: Path | None = None
    max_images: int | None = None
    preprocess: str = "rgb-127.5-128"
    size: Size = ASSUMED.size
    out: Path | None = None


def names() -> list[str]:
    """The recipes that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def best_for(plan: BitPlan) -> str:
    """The name of our best recipe for the bits of a plan; for mixed ones, by most of its layers.

    A plan of `bitface search` has the mean bits of its weights as its own. Weights of one bit need their own recipe.
    """
    listed = sorted(min(bits.weight, bits.activation) for bits in (plan.bits, *(bits for _, bits in plan.layers)))
    narrowest = min(plan.bits.weight, plan.bits.activation, listed[(len(listed) - 1) // 2])
    narrowest = 1 if any(bits.weight == 1 for _, bits in plan.layers) else narrowest
    by_bits = {1: "best-w1a4", 2: "best-w2a4", 3: "best-w3a3", 4: "best-w4a4", 8: "best-w8a8", FLOAT: "best-w8a8"}
    return by_bits.get(narrowest, "best-w6a6")


def read(word: str | Path) -> Recipe | Pretraining:
    """A recipe by name or from a file; one that names a `backbone` trains it from scratch.

    Raises:
        UsageError: no such recipe, an unreadable file, an unknown key (the nearest known one is named), or a value
            out of range.
    """
    path = Path(word)
    if path.suffix.lower() not in (".yaml", ".yml"):
        path = FOLDER / f"{word}.yaml"
        if not path.is_file():
            raise UsageError(f"unknown recipe '{word}'{nearest(word, names())} (there are {', '.join(names())})")
    content = read_yaml(path, "recipe")
    try:
        scratch = isinstance(content, Mapping) and "backbone" in content
        return _pretraining(path.stem, content) if scratch else _recipe(path.stem, content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _recipe(name: str, content: Any) -> Recipe:
    known = [item.name for item in fields(Recipe) if item.name not in ("name", "method")]
    values = _mapping(content, "the recipe", [*known, "weights", "activations", "training", "post_training"])
    plan = values.get("bits", "w8a8")
    made: dict[str, Any] = {
        "bits": BitPlan.from_json(plan) if isinstance(plan, Mapping) else BitPlan.parse(str(plan)),
        "calibration": _calibration(values.get("calibration", {})),
    }
    training = Training.from_json(_mapping(values.get("training") or {}, "'training'", None))
    # Unknown losses and options show here, not after the faces have been read.
    build_sum(training.loss, 8, 2)
    for key in ("weights", "activations"):
        if not isinstance(values.get(key, ""), str):
            raise UsageError(f"'{key}' of the recipe can't be {values[key]!r}: use the name of a quantizer")
    method = Method(training, values.get("weights", "lsq"), values.get("activations", "lsq"), made["calibration"])
    check_method(method.weights, method.activations)
    if not isinstance(values.get("post_training", False), bool):
        raise UsageError(f"'post_training' of the recipe can't be {values['post_training']!r}: use true or false")
    made["method"] = None if values.get("post_training") else method
    return Recipe(name, **made, **_simple(values))


def _pretraining(name: str, content: Mapping[str, Any]) -> Pretraining:
    values = _mapping(content, "the recipe", [item.name for item in fields(Pretraining) if item.name != "name"])
    stages = values.get("stages")
    if not isinstance(stages, list) or not stages:
        raise UsageError("'stages' of the recipe must be a list of trainings, one after the other")
    trainings = tuple(Training.from_json(_mapping(stage, "a stage", None)) for stage in stages)
    for training in trainings:
        build_sum(training.loss, 8, 2)
        for loss in training.loss:
            if not issubclass(LOSSES[loss], Softmax):
                apt = ", ".join(name for name, one in LOSSES.items() if issubclass(one, Softmax))
                raise UsageError(f"a stage can't learn from '{loss}', which needs a teacher: use one of {apt}")
    made = _simple(values)
    if "backbone" not in made:
        raise UsageError("'backbone' of the recipe names no network")
    with torch.device("meta"):  # an unknown backbone shows here
        backbones.create(made["backbone"], made.get("embedding_size"))
    return Pretraining(name, stages=trainings, **made)


def _simple(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are words, numbers and paths, checked."""
    made: dict[str, Any] = {}
    for key, kind in _KINDS.items():
        if values.get(key) is None:
            continue
        if isinstance(values[key], bool) or not isinstance(values[key], kind):
            raise UsageError(f"'{key}' of the recipe can't be {values[key]!r}")
        made[key] = values[key]
    for key in ("model", "image_list", "out"):
        if key in made:
            made[key] = Path(made[key])
    if "size" in made:
        made["size"] = Size.parse(made["size"])
    if "images" in made:
        listed = [made["images"]] if isinstance(made["images"], str) else made["images"]
        if not all(isinstance(one, str) for one in listed):
            raise UsageError(f"'images' of the recipe can't be {listed!r}: use folders or sources")
        made["images"] = tuple(map(Path, listed))
    for key, low, high in _RANGES:
        if key in made and not low <= made[key] <= high:
            raise UsageError(f"'{key}' of the recipe is {made[key]}: use {low:g} to {high:g}")
    return made


_KINDS: dict[str, Any] = {
    "about": str,
    "share": (int, float),
    "labels": str,
    "minutes": (int, float),
    "model": str,
    "images": (str, list),
    "image_list": str,
    "max_images": int,
    "preprocess": str,
    "size": (int, str),
    "out": str,
    "backbone": str,
    "embedding_size": int,
}
_RANGES = (("share", 1e-6, 1), ("minutes", 1e-3, 1e6), ("max_images", 1, 10**9), ("embedding_size", 2, 65_536))


def _calibration(value: Any) -> Calibration:
    known = [item.name for item in fields(Calibration) if item.name != "reconstruction"]
    values = _mapping(value or {}, "'calibration'", [*known, "effort"])
    if values.get("observer", "mse") not in tuple(OBSERVERS):  # whatever it is: a list has no hash
        raise UsageError(f"unknown observer '{values['observer']}': use one of {', '.join(OBSERVERS)}")
    for key, kind in (("equalization", bool), ("bias_correction", bool), ("bias_images", int), ("batch", int)):
        if key in values and (type(values[key]) is not kind or (kind is int and values[key] < 1)):
            raise UsageError(f"'{key}' of the calibration can't be {values[key]!r}")
    reconstruction = effort(str(values.pop("effort", "fast")))
    return Calibration(**values, reconstruction=reconstruction)


def _mapping(value: Any, where: str, known: list[str] | None) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a mapping of keys to values")
    for key in value:
        if not isinstance(key, str) or (known is not None and key not in known):
            raise UsageError(f"{where} has an unknown key '{key}'{nearest(key, known or [])}")
    return dict(value)
