"""How a network is trained: the `training` part of a recipe."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import ConfigDict

from bitface.config import STRICT, check_limits, checked
from bitface.cpu import bf16_pays
from bitface.errors import UsageError


@dataclass(frozen=True)
class Training:
    """The settings of one training.

    Attributes:
        loss: name of a loss → its weight, or its options with a `weight` among them (see `bitface.losses`).
        epochs: passes over the faces; may be a fraction.
        min_steps: steps that are made at least, however few the faces.
        batch: images in a step. With `per_identity` above 1 they are drawn as batch / per_identity people times
            per_identity images; without labels, as that many views of each image.
        optimizer: adam, adamw or sgd (Nesterov momentum 0.9).
        rate: the highest learning rate; quantizers' own numbers learn at `quantizer_rate` times that.
        schedule: one-cycle (a linear rise over `warm_up`, then half a cosine to a hundredth), cosine, step (times
            `gamma` at each of `milestones`, shares of the whole) or constant.
        clip: largest norm of the gradient; 0 doesn't clip.
        views: what the student sees of a face: the image, or its mirror image too (`flip`), or shifted, turned,
            brighter and darker (`mild`), or blurred, noisy and partly covered besides (`strong`).
        mix: share of images that are blended with another one (needs a teacher that sees the same blend).
        teacher: `cached`: embeddings of the image and of its mirror image, computed once; `live`: of each view.
        average: weights averaged over steps with this decay (0: not), used from evaluation on.
        precision: f32, bf16, or auto: bf16 where that is faster (`cpu.bf16_pays`). A live teacher computes in it too.
        freeze_ranges: the ranges that calibration found stay as they are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {**STRICT, "title": "training"}

    loss: dict[str, Any] = field(default_factory=lambda: {"feature": 1.0})
    epochs: Annotated[float, Ge(0.01), Le(10_000)] = 2.0
    min_steps: Annotated[int, Ge(0), Le(10**9)] = 0
    batch: Annotated[int, Ge(2), Le(65_536)] = 64
    per_identity: Annotated[int, Ge(1), Le(256)] = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    rate: Annotated[float, Ge(1e-08), Le(10)] = 1e-3
    quantizer_rate: Annotated[float, Ge(0), Le(100)] = 1.0
    weight_decay: Annotated[float, Ge(0), Le(1)] = 0.0
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    warm_up: Annotated[float, Ge(0), Le(0.9)] = 0.1
    milestones: tuple[float, ...] = ()
    gamma: Annotated[float, Ge(0), Le(1)] = 0.1
    clip: Annotated[float, Ge(0), Le(1000000.0)] = 5.0
    views: Literal["none", "flip", "mild", "strong"] = "flip"
    mix: Annotated[float, Ge(0), Le(1)] = 0.0
    teacher: Literal["cached", "live"] = "cached"
    average: Annotated[float, Ge(0), Le(0.99999)] = 0.0
    precision: Literal["auto", "f32", "bf16"] = "auto"
    freeze_ranges: bool = False
    seed: Annotated[int, Ge(0), Le(2**31)] = 0

    def __post_init__(self) -> None:
        check_limits(self)
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in self.milestones):
            raise UsageError(f"'milestones' of the training are {list(self.milestones)}: use shares from 0 to 1")
        if self.batch % self.per_identity:
            raise UsageError(f"'batch' ({self.batch}) must be a multiple of 'per_identity' ({self.per_identity})")
        if self.teacher == "cached" and (self.views in ("mild", "strong") or self.mix):
            raise UsageError("'views' beyond flip and 'mix' need 'teacher: live', which embeds what the student sees")

    @property
    def half(self) -> bool:
        """Whether this machine trains in bf16."""
        return self.precision == "bf16" or (self.precision == "auto" and bf16_pays())

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Training":
        """Settings from the keys above. Raises UsageError for an unknown key, a wrong kind or range."""
        return checked(Training, value)
