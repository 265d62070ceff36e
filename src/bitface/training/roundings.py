"""Keeps the roundings of weights from going back and forth until the last step.

A weight whose best value lies between two levels is drawn to the edge between them, and from there the gradient throws
it over and back, so that the last step decides its integer. Nagel et al. (ICML 2022, "Overcoming oscillations in
quantization-aware training") count how often an integer turns back and freeze what turns too often at its mean, or draw
weights to the middles of their levels. At last all integers may be frozen, while scales, biases and norms go on.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from bitface.errors import UsageError
from bitface.quant.quantizers import LsqQuantizer
from bitface.quant.student import QuantizedConv2d, QuantizedLinear
from bitface.training.schedule import ending_of
from bitface.training.settings import Training

# Oscillations are frozen from here on, a share of the steps, at first those of ten times the final frequency.
_FROM, _TIMES = 0.25, 10.0


NEEDS_LSQ = (
    "'freeze_oscillating', 'dampen' and 'freeze_integers' are for weights in integers whose scale learns: "
    "set 'weights: lsq', or leave them out"
)


class Oscillation(nn.Module):
    """How often each integer of a layer's weights turns back, as moving averages; its state travels with the model.

    Attributes:
        integers: as they were at the last step; direction: of each one's last change, -1, 0 (none yet) or 1.
        frequency: `f ← m·o + (1 - m)·f`, o: the integer has changed against its last direction (equations 9 and 10).
        mean: of the integers, with the same m.
    """

    integers: Tensor
    direction: Tensor
    frequency: Tensor
    mean: Tensor

    def __init__(self, integers: Tensor) -> None:
        super().__init__()
        for name in ("integers", "mean"):
            self.register_buffer(name, integers.clone())
        for name in ("direction", "frequency"):
            self.register_buffer(name, torch.zeros_like(integers))

    def follow(self, integers: Tensor, momentum: float) -> None:
        """One more step."""
        change = torch.sign(integers - self.integers)
        turned = (change * self.direction < 0).to(self.frequency.dtype)
        self.frequency.lerp_(turned, momentum)
        self.mean.lerp_(integers, momentum)
        self.direction = torch.where(change != 0, change, self.direction)
        self.integers = integers

    def middle(self) -> Tensor:
        """Of the two integers that each last went between, the one nearer to its mean."""
        before = self.integers - self.direction
        return torch.round(self.mean).clamp(torch.minimum(before, self.integers), torch.maximum(before, self.integers))


class Roundings:
    """What `freeze_oscillating`, `dampen` and `freeze_integers` of a training do to a model's weights."""

    def __init__(self, model: nn.Module, training: Training) -> None:
        """Makes room in the model's state; nothing where the training asks for none of them.

        Raises:
            UsageError: it asks for one, and the model has no integers that could be frozen.
        """
        self.training = training
        self.layers: list[tuple[QuantizedConv2d | QuantizedLinear, LsqQuantizer]] = []
        self.oscillations: list[Oscillation] = []
        for layer in model.modules() if training.holds_integers else ():
            if isinstance(layer, QuantizedConv2d | QuantizedLinear) and layer.weight_quantizer.freezes:
                quantizer = cast(LsqQuantizer, layer.weight_quantizer)
                self.layers.append((layer, quantizer))
                quantizer.hold(layer.weight.detach())
                if training.freeze_oscillating:
                    self.oscillations.append(Oscillation(quantizer.integers(layer.weight.detach())))
                    quantizer.add_module("oscillation", self.oscillations[-1])
        if training.holds_integers and not self.layers:
            raise UsageError(NEEDS_LSQ)

    @torch.no_grad()
    def dampen(self, step: int, steps: int) -> None:
        """Adds the gradient of `λ ‖clip(w) - ŵ‖²` to that of the weights; λ rises by half a cosine (section 4.1)."""
        pressure = self.training.dampen * (1 - math.cos(math.pi * step / steps)) / 2
        for layer, quantizer in self.layers if pressure else ():
            weight, gradient = layer.weight, layer.weight.grad
            scale, zero_point = (quantizer.beside(one, weight) for one in (quantizer.scale, quantizer.zero_point))
            low, high = ((level - zero_point) * scale for level in quantizer.limits)
            error = weight - (quantizer.integers(weight) - zero_point) * scale
            if gradient is not None:
                gradient += 2 * pressure * torch.where((weight >= low) & (weight <= high), error, 0.0)

    @torch.no_grad()
    def follow(self, step: int, steps: int) -> None:
        """Looks at the weights after so many of the steps, and freezes what is to be frozen."""
        threshold, momentum = self._threshold(step / steps), min(0.01, max(0.001, 20 / steps))
        for (layer, quantizer), oscillation in zip(self.layers, self.oscillations, strict=False):
            oscillation.follow(quantizer.integers(layer.weight), momentum)
            quantizer.freeze(oscillation.frequency > threshold, oscillation.middle())
        if self.training.freeze_integers and step == ending_of(self.training, steps):
            for layer, quantizer in self.layers:
                quantizer.freeze(torch.ones_like(layer.weight, dtype=torch.bool), quantizer.integers(layer.weight))

    def _threshold(self, progress: float) -> float:
        """The frequency above which integers are frozen: falls by half a cosine (section 4.2)."""
        if progress < _FROM:
            return math.inf
        share = (1 + math.cos(math.pi * (progress - _FROM) / (1 - _FROM))) / 2
        return self.training.freeze_oscillating * (1 + (_TIMES - 1) * share)
