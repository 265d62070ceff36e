"""The learning rate of a step, as a share of the highest."""

import math

from bitface.training.settings import Training

_LAST = 0.01


def share_of_rate(training: Training, step: int, steps: int) -> float:
    """From 0 to 1, for `step` of 0 to `steps` - 1."""
    progress = step / max(steps, 1)
    if training.schedule == "constant":
        return 1.0
    if training.schedule == "step":
        return training.gamma ** sum(progress >= milestone for milestone in training.milestones)
    rise = training.warm_up if training.schedule == "one-cycle" else 0.0
    if progress < rise:
        return (step + 1) / (rise * steps + 1)
    return _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))
