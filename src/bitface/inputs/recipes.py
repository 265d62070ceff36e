"""Recipes: a training as a YAML file, with the bits, the quantizers, the loss and the settings that belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

import bitface
from bitface import backbones, config
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
    if "backbone" in (read_yaml(path, "recipe") or ()):
        return config.read(path, PretrainingFile, "recipe", lambda written: written.pretraining(path.stem))
    return config.read(path, RecipeFile, "recipe", lambda written: written.recipe(path.stem))


class CalibrationFile(config.Written, title="calibration"):
    """The `calibration` of a recipe; see `quant.Calibration`, and `effort` of `bitface quantize`."""

    observer: str = "mse"
    equalization: bool = True
    bias_correction: bool = True
    bias_images: Annotated[int, Ge(1), Le(10**9)] = 64
    batch: Annotated[int, Ge(1), Le(65_536)] = 16
    effort: str = "fast"

    def calibration(self) -> Calibration:
        """Raises UsageError for an unknown observer or effort."""
        if self.observer not in OBSERVERS:
            raise UsageError(
                f"unknown observer '{self.observer}'{nearest(self.observer, OBSERVERS)}; use one of "
                f"{', '.join(OBSERVERS)}"
            )
        facts = self.model_dump(exclude={"effort"})
        return Calibration(**facts, reconstruction=effort(self.effort))


Share = Annotated[float, Ge(1e-6), Le(1)]
Count = Annotated[int, Ge(1), Le(10**9)]


class _File(config.Written, title="recipe"):
    """What both kinds of recipe say of where they are from, and of faces."""

    about: str = ""
    share: Share = 1.0
    labels: str | None = None
    images: config.Words | None = None
    image_list: Path | None = None
    max_images: Count | None = None
    preprocess: str | None = None
    size: config.ImageSize | None = None
    out: Path | None = None

    def said(self, *others: str) -> dict[str, Any]:
        """What the file says, of the keys above and others; what it leaves out has its default elsewhere."""
        said = {key: getattr(self, key) for key in (*_File.model_fields, *others) if getattr(self, key) is not None}
        return said | ({"images": tuple(map(Path, self.images))} if self.images else {})


class RecipeFile(_File):
    """A training of a quantized network, or a post-training quantization."""

    bits: str | dict[str, Any] = "w8a8"
    weights: str = "lsq"
    activations: str = "lsq"
    training: Training | None = None
    calibration: CalibrationFile | None = None
    post_training: bool = False
    minutes: Annotated[float, Ge(1e-3), Le(1e6)] | None = None
    model: Path | None = None

    def recipe(self, name: str) -> Recipe:
        """Raises UsageError for whatever isn't known: bits, quantizers, losses."""
        calibration = (self.calibration or CalibrationFile()).calibration()
        training = self.training or Training()
        # Unknown losses and options show here, not after the faces have been read.
        build_sum(training.loss, 8, 2)
        check_method(self.weights, self.activations)
        method = None if self.post_training else Method(training, self.weights, self.activations, calibration)
        plan = BitPlan.from_json(self.bits) if isinstance(self.bits, Mapping) else BitPlan.parse(self.bits)
        return Recipe(name, bits=plan, method=method, calibration=calibration, **self.said("minutes", "model"))


class PretrainingFile(_File):
    """A recipe that trains a backbone from scratch."""

    backbone: str
    stages: list[Training]
    embedding_size: Annotated[int, Ge(2), Le(65_536)] | None = None

    def pretraining(self, name: str) -> Pretraining:
        """Raises UsageError for an unknown backbone or loss, or a loss that needs a teacher."""
        if not self.stages:
            raise UsageError("'stages' of the recipe must be a list of trainings, one after the other")
        for training in self.stages:
            build_sum(training.loss, 8, 2)
            for loss in training.loss:
                if not issubclass(LOSSES[loss], Softmax):
                    apt = ", ".join(name for name, one in LOSSES.items() if issubclass(one, Softmax))
                    raise UsageError(f"a stage can't learn from '{loss}', which needs a teacher: use one of {apt}")
        with torch.device("meta"):  # an unknown backbone shows here
            backbones.create(self.backbone, self.embedding_size)
        return Pretraining(name, self.backbone, tuple(self.stages), **self.said("embedding_size"))
