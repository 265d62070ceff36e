"""Recipes: a training as a YAML file, with the bits, the quantizers, the loss and the settings that belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

import bitface
from bitface import backbones
from bitface.config import Count, File, FilePath, ImageSize, Many, Preprocessing, Words, check, named
from bitface.data.face_source import FaceSource
from bitface.device import device_of
from bitface.errors import UsageError, nearest, option
from bitface.files import read_yaml
from bitface.graph import ASSUMED
from bitface.inputs.training import check_length
from bitface.losses import LOSSES, build_sum, by_name
from bitface.losses.softmax import Softmax
from bitface.preprocess import Size
from bitface.quant import BitPlan, Calibration
from bitface.quant.learn import check_method
from bitface.quant.observers import OBSERVERS
from bitface.quant.plan import FLOAT, PlanFile
from bitface.quant.reconstruct import EFFORTS, effort
from bitface.quant.rotate import AUTO, OFF, ROTATIONS
from bitface.training import Method, Training
from bitface.training.settings import TrainingFile

LABELLED = FaceSource(labels="folder")
FOLDER = Path(bitface.__file__).with_name("recipes")


@dataclass(frozen=True)
class Recipe:
    """A training, and, where a recipe says it, what to train on what.

    Attributes:
        about: where it is from, and what it departs in.
        plan: of the bits, in a file as a word or in the keys of its YAML form.
        method: quantizers, losses, settings; None: post-training quantization with `calibration`.
        share: of the images, the first so much.
        minutes: as many epochs as fit; None: `epochs` of the training.
        model, source, preprocess, size, output, out: as the options of `bitface quantize`.
        seed: of the faces' choice, of the training and of the reconstruction that it begins with.
        targets: what is written beside the artifact; none: the default ones.
    """

    name: str
    about: str = ""
    plan: BitPlan = field(default_factory=BitPlan)
    method: Method | None = field(default_factory=Method)
    calibration: Calibration = field(default_factory=Calibration)
    share: float = 1.0
    minutes: float | None = None
    model: Path | None = None
    source: FaceSource = field(default_factory=FaceSource)
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None
    out: Path | None = None
    seed: int = 0
    targets: tuple[str, ...] = ()

    def seeded(self, seed: int) -> "Recipe":
        """The same with another seed, of the training and of the reconstruction it begins with."""
        method = self.method
        if method:
            training = replace(method.training, seed=seed)
            method = replace(method, training=training, calibration=method.calibration.seeded(seed))
        return replace(self, method=method, calibration=self.calibration.seeded(seed), seed=seed)

    def on(self, device: str) -> "Recipe":
        """The same on another device, the training and the reconstruction it begins with."""
        calibration, method = replace(self.calibration, device=device), self.method
        if method:
            training = replace(method.training, device=device)
            method = replace(method, training=training, calibration=replace(method.calibration, device=device))
        return replace(self, method=method, calibration=calibration)

    def check_trains(self, name: str) -> None:
        """Raises UsageError where an option of trainings, by its name, would have no effect."""
        if self.method is None:
            raise UsageError(f"{self.name} trains nothing, so {option(name)} has no place in it")

    def in_batches(self, batch: int) -> "Recipe":
        """The same with so many images in a step. Raises UsageError out of range, or where it takes no steps."""
        self.check_trains("batch")
        assert self.method is not None
        return replace(self, method=replace(self.method, training=replace(self.method.training, batch=batch)))

    def for_epochs(self, epochs: float) -> "Recipe":
        """The same with exactly this number of epochs. Raises UsageError out of range, or where it takes no steps."""
        self.check_trains("epochs")
        assert self.method is not None
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
    source: FaceSource = field(default_factory=lambda: LABELLED)
    preprocess: str = "rgb-127.5-128"
    size: Size = ASSUMED.size
    out: Path | None = None
    seed: int = 0

    def seeded(self, seed: int) -> "Pretraining":
        """The same with another seed."""
        return replace(self, stages=tuple(replace(stage, seed=seed) for stage in self.stages), seed=seed)

    def in_batches(self, batch: int) -> "Pretraining":
        """The same with so many images in a step. Raises UsageError out of range."""
        return replace(self, stages=tuple(replace(stage, batch=batch) for stage in self.stages))

    def on(self, device: str) -> "Pretraining":
        """The same on another device."""
        return replace(self, stages=tuple(replace(stage, device=device) for stage in self.stages))


@dataclass(frozen=True)
class Options:
    """What a command says beside a recipe; None: nothing. See `merged`."""

    model: Path | None = None
    source: FaceSource = field(default_factory=FaceSource)
    out: Path | None = None
    plan: BitPlan | None = None
    preprocess: str | None = None
    size: Size | None = None
    seed: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    targets: tuple[str, ...] | None = None
    output: str | None = None
    device: str | None = None
    batch: int | None = None


# Options that have no place in a training from scratch, and what they are called.
_NOT_FROM_SCRATCH = {"epochs": "epochs", "minutes": "minutes", "plan": "bits", "targets": "target", "output": "output"}

R = TypeVar("R", "Recipe", "Pretraining")


def merged(recipe: R, options: Options) -> R:
    """A recipe with what a command says in the place of what the recipe says.

    Epochs are made exactly, whatever the recipe says of time.

    Raises:
        UsageError: epochs out of range, or with minutes, or an option that has no place in a training from scratch, or
            in a recipe that trains nothing.
    """
    check_length(options.epochs, options.minutes)
    names = {item.name for item in fields(recipe)}
    settings = {key: value for key, value in vars(options).items() if value is not None}
    if isinstance(recipe, Pretraining):
        unfit = [option(name) for key, name in _NOT_FROM_SCRATCH.items() if key in settings]
        if unfit or "model" in settings:
            word = unfit[0] if unfit else "a model"
            raise UsageError(f"{recipe.name} trains a teacher from scratch, so {word} has no place in it")
    else:
        for name, value in {"minutes": options.minutes, "labels": options.source.labels}.items():
            if value is not None:
                recipe.check_trains(name)
        if options.epochs:
            recipe = replace(recipe.for_epochs(options.epochs), minutes=None)
    if options.batch is not None:
        recipe = recipe.in_batches(options.batch)
    if options.seed is not None:
        recipe = recipe.seeded(options.seed)
    if options.device is not None:
        device_of(options.device)  # before the faces are read
        recipe = recipe.on(options.device)
    values = {key: value for key, value in settings.items() if key in names and key != "seed"}
    return replace(recipe, **{**values, "source": options.source.over(recipe.source)})


def check_said(needed: Mapping[str, Any]) -> None:
    """Raises UsageError where neither a recipe nor a command says what is needed."""
    for key, value in needed.items():
        if not value:
            raise UsageError(f"neither the recipe nor the command line says '{key}'")


def common_fields(recipe: Recipe | Pretraining, request: Any) -> dict[str, Any]:
    """What a recipe says, of what a kind of request has by the same names."""
    names = {item.name for item in fields(request)}
    return {key: value for key, value in vars(recipe).items() if key in names}


class RecipeFaces(File):
    """What both kinds of recipes say: faces, and where results go. A key without a value says nothing."""

    about: str = ""
    images: Words = ()
    image_list: FilePath | None = None
    max_images: Count | None = None
    labels: str | None = None
    share: Annotated[float, Field(ge=1e-6, le=1)] = 1.0
    preprocess: Preprocessing | None = None
    size: ImageSize | None = None
    out: FilePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None or key not in cls.model_fields}

    def values(self) -> dict[str, Any]:
        """What the file says, in the names of a recipe's attributes."""
        images = [Path(word) for word in self.images]
        source = FaceSource(images, self.image_list, self.max_images, self.labels)
        settings = {key: getattr(self, key) for key in ("about", "share", "preprocess", "size", "out")}
        return {"source": source, **{key: value for key, value in settings.items() if value is not None}}


# YAML reads a bare `off` as false.
Rotation = Annotated[
    str, BeforeValidator(lambda word: OFF if word is False else word), WithJsonSchema({"enum": list(ROTATIONS)})
]


class CalibrationFile(File):
    """How ranges are found; see `quant.Calibration`."""

    observer: Annotated[str, PlainValidator(str), WithJsonSchema({"enum": list(OBSERVERS)})] = "mse"
    equalization: bool = Calibration.equalization
    rotate: Rotation = AUTO
    bias_correction: bool = Calibration.bias_correction
    bias_images: Annotated[int, Field(ge=1)] = Calibration.bias_images
    batch: Annotated[int, Field(ge=1)] = Calibration.batch
    effort: Annotated[str, WithJsonSchema({"enum": list(EFFORTS)})] = "fast"
    device: str = Calibration.device

    def calibration(self) -> Calibration:
        """The calibration. Raises UsageError for an unknown observer, rotation or effort."""
        return Calibration(**self.model_dump(exclude={"effort"}), reconstruction=effort(self.effort))


def _bits(value: Any) -> BitPlan:
    return BitPlan.from_json(value) if isinstance(value, Mapping) else BitPlan.parse(str(value))


# The settings of a training, checked as they are wherever they are written.
OfTraining = Annotated[Training, PlainValidator(Training.from_json, json_schema_input_type=TrainingFile)]


def _stages(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise UsageError("'stages' of the recipe must be a list of trainings, one after the other")
    return value


# Keys of `RecipeFile` that nothing but a training reads.
_OF_TRAININGS = ("training", "weights", "activations", "minutes", "labels")


class RecipeFile(RecipeFaces):
    """A quantization: bits, quantizers, losses and settings that belong together."""

    bits: Annotated[BitPlan, PlainValidator(_bits, json_schema_input_type=str | PlanFile)] = BitPlan()
    weights: str = "lsq"
    activations: str = "lsq"
    calibration: CalibrationFile = CalibrationFile()
    training: OfTraining = Training()
    post_training: bool = False
    minutes: Annotated[float, Field(ge=1e-3, le=1e6)] | None = None
    model: FilePath | None = None
    output: str | None = None
    targets: Words = ()

    def recipe(self, name: str) -> Recipe:
        """The recipe.

        Raises:
            UsageError: unknown losses, options of theirs, quantizers or observers; or a key of trainings where there is
                none.
        """
        for key in _OF_TRAININGS if self.post_training else ():
            if key in self.model_fields_set:
                raise UsageError(f"'{key}' of the recipe is for a training, which 'post_training: true' leaves out")
        calibration = self.calibration.calibration()
        # Unknown losses and options show here, not after the faces have been read.
        build_sum(self.training.loss, 8, 2)
        check_method(self.weights, self.activations)
        method = Method(self.training, self.weights, self.activations, calibration)
        recipe = Recipe(
            name, plan=self.bits, method=None if self.post_training else method, calibration=calibration,
            minutes=self.minutes, model=self.model, output=self.output, targets=self.targets, **self.values(),
        )  # fmt: skip
        return recipe if self.post_training else recipe.seeded(self.training.seed)


class PretrainingFile(RecipeFaces):
    """A network trained from scratch on labelled faces, in stages."""

    backbone: str = ""
    embedding_size: Annotated[int, Field(ge=2, le=65_536)] | None = None
    stages: Annotated[Many[OfTraining], BeforeValidator(_stages), Field(validate_default=True)] = ()

    def recipe(self, name: str) -> Pretraining:
        """The recipe. Raises UsageError for an unknown network, and losses that are unknown or need a teacher."""
        for training in self.stages:
            build_sum(training.loss, 8, 2)
            for loss in by_name(training.loss):
                if not issubclass(LOSSES[loss], Softmax):
                    apt = ", ".join(name for name, one in LOSSES.items() if issubclass(one, Softmax))
                    raise UsageError(f"a stage can't learn from '{loss}', which needs a teacher: use one of {apt}")
        if not self.backbone:
            raise UsageError("'backbone' of the recipe names no network")
        with torch.device("meta"):  # an unknown backbone shows here
            backbones.create(self.backbone, self.embedding_size)
        values = self.values()
        values["source"] = values["source"].over(LABELLED)
        return Pretraining(name, self.backbone, self.stages, embedding_size=self.embedding_size, **values)


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
    if narrowest in (2, 3, 4) and plan.sums and plan.sums.activation == 8:
        return "best-w4a4s8"
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
    scratch = isinstance(content, Mapping) and "backbone" in content
    with named(path):  # paths in recipes begin where the command runs
        if scratch:
            return check(content, PretrainingFile, "the recipe").recipe(path.stem)
        return check(content, RecipeFile, "the recipe").recipe(path.stem)


def for_training(word: str | None, plan: BitPlan) -> Recipe:
    """A recipe by name or from a file; None: our best for the bits of a plan.

    Raises:
        UsageError: see `read`; or the recipe trains a teacher, or nothing.
    """
    recipe = read(word or best_for(plan))
    if isinstance(recipe, Pretraining):
        raise UsageError(f"{recipe.name} trains a teacher from scratch; it is for `bitface run`")
    if recipe.method is None:
        raise UsageError(f"{recipe.name} is a post-training quantization; it is for `bitface run`")
    return recipe
