"""AdaRound: which way each weight is rounded is learned (Nagel et al., ICML 2020)."""

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.base import Quantizer

# The stretched sigmoid of the paper (equation 23), which reaches 0 and 1.
_ZETA, _GAMMA = 1.1, -0.1


class RoundingQuantizer(Quantizer):
    """Weights become `scale · (clip(⌊w / scale⌋ + h(V) + zero point) - zero point)`, `h` between 0 and 1 (equation 22).

    It begins where every weight is itself, as far as the range reaches. `harden` rounds: from then on `h` is 0 or 1,
    and what may still learn is the scale, by which the integers stay as they are.

    Args:
        weight: the layer's float weights, `[out, ...]`.
        like: the calibrated quantizer whose bits, scale and zero point are taken.
    """

    zero_point: Tensor
    floor: Tensor

    def __init__(self, weight: Tensor, like: Quantizer) -> None:
        super().__init__(like.bits, like.signed, like.symmetric, like.channels, like.narrow)
        self.weights = True
        self.log_scale = nn.Parameter(like.scale.detach().log())
        self.register_buffer("zero_point", like.zero_point.detach().clone())
        with torch.no_grad():
            steps = weight.detach() / self.beside(like.scale, weight)
            self.register_buffer("floor", torch.floor(steps))
            share = ((steps - self.floor - _GAMMA) / (_ZETA - _GAMMA)).clamp(1e-4, 1 - 1e-4)
        self.choice = nn.Parameter(torch.logit(share))
        self.hard = False

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        return self.log_scale.exp()

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        raise NotImplementedError("which way weights are rounded depends on the scale that it began with")

    def up(self) -> Tensor:
        """`h(V)`: how far each weight is rounded up, 0 to 1."""
        soft = (torch.sigmoid(self.choice) * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
        return (self.choice >= 0).to(soft.dtype) if self.hard else soft

    def undecided(self, beta: float) -> Tensor:
        """`Σ 1 - |2 h(V) - 1|^β` (equation 24): how many weights aren't rounded yet."""
        return (1 - (2 * self.up() - 1).abs().pow(beta)).sum()

    def harden(self) -> None:
        """Rounds every weight to the nearer side."""
        self.hard = True
        self.choice.requires_grad_(False)

    def transform(self, x: Tensor) -> Tensor:
        """The weights that these integers stand for; `x` itself isn't looked at again."""
        zero_point = self.beside(self.zero_point, x)
        integers = (self.floor + self.up() + zero_point).clamp(*self.limits)
        return (integers - zero_point) * self.beside(self.scale, x)

    def quantize(self, x: Tensor, slope: Tensor | None = None, cap: float = float("inf")) -> Tensor:
        return self.transform(x)
