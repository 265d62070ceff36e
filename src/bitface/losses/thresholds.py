"""Score thresholds at fixed false positive rates, as a training goes on."""

import numpy as np
import torch
from torch import Tensor, nn

# One false positive in so many: FPR 1e-1 to 1e-6.
ANCHORS = tuple(10**k for k in range(1, 7))


def highest(scores: Tensor, count: int) -> Tensor:
    """The `count` largest of `[P]` scores, descending."""
    scores = scores.detach()
    if scores.device.type != "cpu":
        return scores.topk(count).values
    # numpy's selection takes a fifth of the time of torch's topk, and half a million scores come at every step.
    values, cut = scores.numpy(), len(scores) - count
    top = np.partition(values, cut)[cut:] if 0 < cut < len(values) else values[cut:]
    return torch.from_numpy(np.sort(top)[::-1].copy())


class Thresholds(nn.Module):
    """Moving averages of each network's own thresholds, one for each FPR of 1e-1 to 1e-6.

    An average that begins at 0 is still 13 % short after 200 steps; here it is divided by the weights summed so far.
    A batch with fewer negatives than 1 / FPR knows nothing of that FPR and leaves its threshold as it is.

    Args:
        decay: of the averages, 0 to below 1.

    Attributes:
        student, teacher: averages as they are summed up, `[6]`.
        weight: the sum of their weights, `[6]`; 0 for an FPR never reached yet.
    """

    student: Tensor
    teacher: Tensor
    weight: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name in ("student", "teacher", "weight"):
            self.register_buffer(name, torch.zeros(len(ANCHORS)))

    @torch.no_grad()
    def update(self, student: Tensor, teacher: Tensor, negatives: int) -> None:
        """Takes in one step: the hardest scores of the negatives, descending, at least `negatives // 10 + 1` of them.

        The threshold at FPR 1 / A is the score with `negatives // A` others above it.
        """
        for k, anchor in enumerate(ANCHORS):
            if negatives >= anchor:
                for average, scores in ((self.student, student), (self.teacher, teacher)):
                    average[k] += (1 - self.decay) * (scores[negatives // anchor].to(average) - average[k])
                self.weight[k] += (1 - self.decay) * (1 - self.weight[k])

    def values(self) -> tuple[Tensor, Tensor]:
        """Student's and teacher's thresholds at the FPRs reached so far, `[K]` each, by falling FPR."""
        reached = self.weight > 0
        return self.student[reached] / self.weight[reached], self.teacher[reached] / self.weight[reached]
