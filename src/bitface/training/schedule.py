"""The learning rate of a step, as a share of the highest."""

import math

from bitface.training.settings import Training

_LAST = 0.01
# The rate at which scales go on when all integers are frozen.
_FROZEN = 0.1


def share_of_rate(training: Training, step: int, steps: int) -> float:
    """From 0 to 1, for `step` of 0 to `steps` - 1."""
    ending = ending_of(training, steps)
    if step >= ending:
        return _FROZEN * _falling((step - ending) / (steps - ending))
    steps = ending
    progress = step / max(steps, 1)
    if training.schedule == "constant":
        return 1.0
    if training.schedule == "step":
        return training.gamma ** sum(progress >= milestone for milestone in training.milestones)
    rise = training.warm_up if training.schedule == "one-cycle" else 0.0
    if progress < rise:
        return (step + 1) / (rise * steps + 1)
    return _falling((progress - rise) / (1 - rise))


def ending_of(training: Training, steps: int) -> int:
    """After how many steps all integers are frozen (`freeze_integers`); `steps`: never."""
    return max(1, round(steps * (1 - training.freeze_integers))) if training.freeze_integers else steps


def _falling(progress: float) -> float:
    """Half a cosine from 1 to a hundredth."""
    return _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * progress))
