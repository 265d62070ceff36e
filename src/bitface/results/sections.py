"""Parts that results of several kinds share."""

from typing import Any

from bitface.results.base import Section

# Library or property → version or name, see `runtime.machine.describe`.
Machine = dict[str, str]
# Step → seconds.
Seconds = dict[str, float]
# File beside the result → SHA-256, see `folder.write_result`.
Files = dict[str, str]
Texts = tuple[str, ...]


class FloatNetwork(Section):
    """The network that a result was made from.

    Attributes:
        preprocess: its own, where it is known.
    """

    path: str
    name: str
    fingerprint: str
    preprocess: str | None = None


class PlannedBits(Section):
    """A layer and its bits; `weight_bits` is None for what has no weights."""

    name: str
    kind: str
    weight_bits: int | None
    activation_bits: int | None
    reason: str
    parameters: int
    bytes: int


class TrainingAccount(Section):
    """What a training did; `history` has a row for each step or interval that was looked at.

    Attributes:
        devices: what each of the ranks computed on.
    """

    settings: dict[str, Any]
    precision: str
    ranks: int = 1
    devices: tuple[str, ...] = ()
    steps: int
    images: int
    seconds: float
    images_per_second: float
    history: tuple[dict[str, Any], ...]


class LossesAndEpochs(Section):
    """The settings of a training that results speak of, see `train.Training` for all: loss → its settings."""

    loss: dict[str, Any]
    epochs: int | float


class LoopAccount(TrainingAccount):
    """What a training with no settings but those of the loop did."""

    settings: LossesAndEpochs  # type: ignore[assignment]


class SkippedImage(Section):
    """An image that couldn't be used."""

    path: str
    reason: str
