"""How a network is trained: the `training` part of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import GetPydanticSchema

from bitface.config import Many, check, model_of
from bitface.device import PRECISIONS
from bitface.errors import UsageError
from bitface.limits import LARGEST_SEED
from bitface.losses import Loss, to_json

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("one-cycle", "cosine", "step", "constant")
VIEWS = ("none", "flip", "mild", "strong", "severe")

# A file gives losses by name only.
Losses = Annotated[Mapping[str, Any] | Loss, GetPydanticSchema(lambda _, schema_of: schema_of(dict[str, Any]))]


@dataclass(frozen=True)
class Training:
    """The settings of one training.

    Attributes:
        loss: name of a loss → its weight, or its options with a `weight` among them (see `bitface.losses`),
            or an object; or one object instead of all.
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
            brighter and darker (`mild`), or blurred, noisy and partly covered besides (`strong`), or all of that twice
            as much, from other angles and in other colours (`severe`; what it cost made faces: `docs/faces.md`).
        mix: share of images that are blended with another one (needs a teacher that sees the same blend).
        teacher: `cached`: embeddings of the image and of its mirror image, computed once; `live`: of each view.
        average: weights averaged over steps with this decay (0: not), used from evaluation on.
        precision: f32, tf32 (of NVIDIA's GPUs), bf16, or auto: bf16 where that is faster (on a CPU by a trial, on a GPU
            from Ampere on). A live teacher computes in it too.
        freeze_ranges: the ranges that calibration found stay as they are, of every quantizer.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`, see `device.device_of`.
        accumulate: parts in which a rank computes its images, for batches that don't fit into memory at once; see
            `whole_batch`. BatchNorms that learn take the statistics of a part; ranges that are watched are refused.
    """

    loss: Losses = field(default_factory=lambda: {"feature": 1.0})
    epochs: float = 2.0
    min_steps: int = 0
    batch: int = 64
    per_identity: int = 1
    optimizer: str = "adam"
    rate: float = 1e-3
    quantizer_rate: float = 1.0
    weight_decay: float = 0.0
    schedule: str = "one-cycle"
    warm_up: float = 0.1
    milestones: Many[float] = ()
    gamma: float = 0.1
    clip: float = 5.0
    views: str = "flip"
    mix: float = 0.0
    teacher: str = "cached"
    average: float = 0.0
    precision: str = "auto"
    freeze_ranges: bool = False
    seed: int = 0
    # How it is computed isn't what is computed: a training goes on elsewhere.
    device: str = field(default="auto", repr=False)
    accumulate: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        for key, words in _WORDS.items():
            if getattr(self, key) not in words:
                raise UsageError(f"'{key}' of the training is '{getattr(self, key)}': use one of {', '.join(words)}")
        for key, (low, high) in _RANGES.items():
            if not low <= getattr(self, key) <= high:
                raise UsageError(f"'{key}' of the training is {getattr(self, key)}: use {low:g} to {high:g}")
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in self.milestones):
            raise UsageError(f"'milestones' of the training are {list(self.milestones)}: use shares from 0 to 1")
        if self.batch % self.per_identity:
            raise UsageError(f"'batch' ({self.batch}) must be a multiple of 'per_identity' ({self.per_identity})")
        if self.teacher == "cached" and (self.views in ("mild", "strong", "severe") or self.mix):
            raise UsageError("'views' beyond flip and 'mix' need 'teacher: live', which embeds what the student sees")

    def to_json(self) -> dict[str, Any]:
        """The settings as `result.json` holds them; losses that are objects as their classes and plain attributes."""
        return {**vars(self), "loss": to_json(self.loss)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Training":
        """Settings from the keys above. Raises UsageError for an unknown key, a wrong kind or range."""
        return Training(**dict(check(value, TrainingFile, "the training")))


TrainingFile = model_of(Training)
_WORDS = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "views": VIEWS,
    "teacher": ("cached", "live"),
    "precision": PRECISIONS,
}
_RANGES = {
    "epochs": (0.01, 10_000),
    "min_steps": (0, 10**9),
    "batch": (2, 65_536),
    "per_identity": (1, 256),
    "rate": (1e-8, 10),
    "quantizer_rate": (0, 100),
    "weight_decay": (0, 1),
    "warm_up": (0, 0.9),
    "gamma": (0, 1),
    "clip": (0, 1e6),
    "mix": (0, 1),
    "average": (0, 0.99999),
    "seed": (0, LARGEST_SEED),
    "accumulate": (1, 4096),
}
