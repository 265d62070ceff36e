"""Distillation of single embeddings: each of the student's towards the teacher's of the same face."""

from torch import Tensor

from bitface.losses.angular import unit
from bitface.losses.base import Loss, choice
from bitface.losses.registry import LOSSES


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of normalised embeddings, over batch and dimensions (QuantFace, Boutros et al. 2022).

    It is `2 · cosine / D`: small, so that learning rates made for it don't suit `cosine`.
    """
    return (unit(student) - unit(teacher)).square().mean()


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos, mean over the batch; 0 to 2."""
    # Half the squared distance of unit vectors: the same number, without the rounding of 1 - cos near 0.
    return (unit(student) - unit(teacher)).square().sum(1).mean() / 2


def mimic(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared Euclidean distance of the raw embeddings, mean over the batch (Mimic of Wu et al., CVPR 2020)."""
    return (student - teacher).square().sum(1).mean()


FORMS = {"mse": mse, "cosine": cosine, "mimic": mimic}


@LOSSES.register("feature")
class FeatureLoss(Loss):
    """One of the distances above. Labels aren't looked at.

    Args:
        form: mse, cosine or mimic.

    Raises:
        UsageError: the form is unknown.
    """

    name = "feature"
    keeps_direction = True

    def __init__(self, form: str = "mse") -> None:
        super().__init__()
        self.form = choice(self.name, "form", form, tuple(FORMS))

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        return FORMS[self.form](student, teacher.detach())
