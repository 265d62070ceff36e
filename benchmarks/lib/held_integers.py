"""Keeps integers of weights from going back and forth while they are trained: tried, and not in the library.

A weight whose best value lies between two levels is drawn to the edge between them, and from there the gradient throws
it over and back, so that the last step decides its integer. Nagel et al. (ICML 2022, "Overcoming oscillations in
quantization-aware training") count how often an integer turns back and freeze what turns too often at its mean, or draw
weights to the middles of their levels. At last all integers may be frozen, while scales, biases and norms go on.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitface.quant.quantizers.lsq import LsqQuantizer
from bitface.quant.student import QuantizedConv2d, QuantizedLinear

# Oscillations are frozen from here on, a share of the steps, at first those of ten times the final frequency.
_FROM, _TIMES = 0.25, 10.0


class HeldLsqQuantizer(LsqQuantizer):
    """LSQ whose weights may be frozen at integers, from where their scale goes on learning.

    A frozen weight is `scale · (integer - zero point)`; its float value has no part in it any more.
    """

    frozen: Tensor | None
    frozen_integers: Tensor | None

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.register_buffer("frozen", None)
        self.register_buffer("frozen_integers", None)

    def hold(self, weight: Tensor) -> None:
        """Makes room for the integers of these weights in the state; none is frozen yet."""
        self.frozen, self.frozen_integers = torch.zeros_like(weight, dtype=torch.bool), torch.zeros_like(weight)

    def freeze(self, where: Tensor, integers: Tensor) -> None:
        """Freezes weights at integers, of the weights' shape both; those that are frozen stay at theirs."""
        assert self.frozen is not None
        assert self.frozen_integers is not None
        self.frozen_integers = torch.where(where & ~self.frozen, integers, self.frozen_integers)
        self.frozen = self.frozen | where

    def transform(self, x: Tensor) -> Tensor:
        x = super().transform(x)
        if self.frozen is None or self.frozen_integers is None:
            return x
        scale, zero_point = (self.beside(one, x) for one in self.numbers(x))
        return torch.where(self.frozen, (self.frozen_integers - zero_point) * scale, x)


class Oscillation:
    """How often each integer of a layer's weights turns back, as moving averages.

    Attributes:
        integers: as they were at the last step; direction: of each one's last change, -1, 0 (none yet) or 1.
        frequency: `f ← m·o + (1 - m)·f`, o: the integer has changed against its last direction (equations 9 and 10).
        mean: of the integers, with the same m.
    """

    def __init__(self, integers: Tensor) -> None:
        self.integers, self.mean = integers.clone(), integers.clone()
        self.direction, self.frequency = torch.zeros_like(integers), torch.zeros_like(integers)

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


@dataclass(frozen=True)
class Hold:
    """How integers are held.

    Attributes:
        frequency: integers that turn back in more of the steps than this are frozen, from a quarter of the steps on,
            at first those of ten times it; 0: none.
        dampen: how strongly, at last, weights are drawn to the middles of their levels; 0: not.
        last: the last share of the steps, in which all integers stay; 0: none.
    """

    frequency: float = 0.0
    dampen: float = 0.0
    last: float = 0.0


class HeldIntegers:
    """What a `Hold` does to the weights of a model that are rounded by a `HeldLsqQuantizer`."""

    def __init__(self, model: nn.Module, hold: Hold) -> None:
        self.way = hold
        self.layers = list(_held(model))
        self.oscillations = list[Oscillation]()
        for layer, quantizer in self.layers:
            quantizer.hold(layer.weight.detach())
            self.oscillations.append(Oscillation(quantizer.integers(layer.weight.detach())))

    @torch.no_grad()
    def dampen(self, step: int, steps: int) -> None:
        """Adds the gradient of `λ ‖clip(w) - ŵ‖²` to that of the weights; λ rises by half a cosine (section 4.1)."""
        pressure = self.way.dampen * (1 - math.cos(math.pi * step / steps)) / 2
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
        for (layer, quantizer), oscillation in zip(self.layers, self.oscillations, strict=True):
            oscillation.follow(quantizer.integers(layer.weight), momentum)
            if self.way.frequency:
                quantizer.freeze(oscillation.frequency > threshold, oscillation.middle())
        if self.way.last and step >= steps * (1 - self.way.last):
            for layer, quantizer in self.layers:
                quantizer.freeze(torch.ones_like(layer.weight, dtype=torch.bool), quantizer.integers(layer.weight))

    def _threshold(self, progress: float) -> float:
        """The frequency above which integers are frozen: falls by half a cosine (section 4.2)."""
        if progress < _FROM:
            return math.inf
        share = (1 + math.cos(math.pi * (progress - _FROM) / (1 - _FROM))) / 2
        return self.way.frequency * (1 + (_TIMES - 1) * share)


def _held(model: nn.Module) -> Iterable[tuple[QuantizedConv2d | QuantizedLinear, HeldLsqQuantizer]]:
    for layer in model.modules():
        if isinstance(layer, QuantizedConv2d | QuantizedLinear):
            quantizer = layer.weight_quantizer
            if isinstance(quantizer, HeldLsqQuantizer):
                yield layer, quantizer
