"""A training from the command line's few words, and what it says of itself afterwards."""

from dataclasses import replace
from typing import Any

from bitface.device import device_of
from bitface.errors import UsageError, option
from bitface.losses import build_sum
from bitface.quant import Calibration
from bitface.quant.kernels import missing
from bitface.training import History, Method, Training
from bitface.training.settings import Losses


def losses_of(words: str) -> dict[str, Any]:
    """The losses of an option such as `feature` or `feature,relational=0.5`: name → weight or options.

    `feature` is the cosine distance here, whose size suits the learning rate.

    Raises:
        UsageError: a weight that is no number.
    """
    losses: dict[str, Any] = {}
    for word in words.split(","):
        name, _, weight = (part.strip() for part in word.partition("="))
        try:
            value = float(weight or 1)
        except ValueError:
            raise UsageError(
                f"{option('loss')} takes names with weights, such as feature,relational=0.5, not '{words}'"
            ) from None
        losses[name] = {"form": "cosine", "weight": value} if name == "feature" else value
    return losses


def with_losses(training: Training, loss: str | Losses | None) -> Training:
    """A training with other losses: words such as `feature,relational=0.5`, name → weight or options, or an object.

    Losses that learn from several images of a person, or views of an image, get two of each.

    Raises:
        UsageError: an unknown loss, or a weight that is no number.
    """
    if loss is not None:
        training = replace(training, loss=losses_of(loss) if isinstance(loss, str) else loss)
    if build_sum(training.loss, 8, 2).uses_pairs and training.per_identity < 2:
        training = replace(training, per_identity=2)
    return training


def needs_labels(training: Training) -> bool:
    """Whether the losses have to know who is on each image."""
    return build_sum(training.loss, 8, 2).needs_labels


def check_length(epochs: float | None, minutes: float | None) -> None:
    """Raises UsageError where a training is to last so many epochs, and so many minutes, too: one would be ignored."""
    if epochs is not None and minutes is not None:
        raise UsageError(
            f"{option('epochs')} and {option('minutes')} both say how long the training lasts: give one of them"
        )


def settings(
    base: Training,
    loss: str | None = None,
    epochs: float | None = None,
    seed: int = 0,
    device: str | None = None,
    batch: int | None = None,
) -> Training:
    """A training with the losses (see `with_losses`), epochs, seed, device and batch of the command line.

    Raises:
        UsageError: an unknown loss, a value out of range, or a device that isn't there.
    """
    device_of(device or base.device)
    training = replace(base, seed=seed, device=device or base.device, batch=batch or base.batch)
    training = replace(training, epochs=epochs, min_steps=0) if epochs else training
    return with_losses(training, loss or None)


def slow(calibration: Calibration, method: Method | None) -> list[str]:
    """A warning where weights are to be learned without the compiled kernels, for the beginning and for the result."""
    if not learns(calibration, method) or not (why := missing()):
        return []
    return [f"the compiled kernels of training don't run here, so a step takes about ten times as long: {why}"]


def kernels(calibration: Calibration, method: Method | None) -> str | None:
    """By what the quantizers were computed: `compiled` kernels or `torch`; None where nothing was learned."""
    return None if not learns(calibration, method) else "torch" if missing() else "compiled"


def learns(calibration: Calibration, method: Method | None) -> bool:
    """Whether a quantization takes steps: in a training, or in a reconstruction."""
    return method is not None or calibration.reconstruction is not None


def account(training: Training, history: History, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a training did, for `result.json`; `settings` as they were asked for: those of the training, or more."""
    return {
        "settings": settings or training.to_json(),
        "precision": history.precision,
        "ranks": len(history.devices) or 1,
        "devices": history.devices,
        "steps": history.steps,
        "images": history.images,
        "seconds": round(history.seconds, 1),
        "images_per_second": round(history.per_second, 1),
        "history": history.rows,
    }
