"""What the quantizers of activations do to the values they meet: how many are clipped, and which levels stay unused."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitface.graph.integer import QuantizeDequantize, limits

_HALF = 64  # bins on each side of zero
_BINS_OF_RANGE = 32


@dataclass(frozen=True, eq=False)
class Range:
    """A quantizer beside the distribution of the values before it.

    Attributes:
        name, tensor: of the quantizer, and of the tensor that it rounds.
        low, high: the range it can hold; `seen_low`, `seen_high`: the values there were.
        below, above: shares of the values that are clipped at either end.
        levels, unused: the integers of its width, and how many of them no value took.
        noise: energy of its error over the energy of the values; `clip_noise`: the part that clipping causes.
        start, width, counts: a histogram of the values, equal bins from `start` on, from the first that isn't empty.
    """

    name: str
    tensor: str
    bits: int
    low: float
    high: float
    seen_low: float
    seen_high: float
    below: float
    above: float
    levels: int
    unused: int
    noise: float
    clip_noise: float
    start: float
    width: float
    counts: tuple[int, ...]

    @property
    def clipped(self) -> float:
        return self.below + self.above

    def to_json(self) -> dict[str, Any]:
        """The fields, and `clipped`, as plain JSON values."""
        return {**vars(self), "counts": list(self.counts), "clipped": self.clipped}


class RangeWatch:
    """Collects what one quantizer does, batch by batch, in memory that doesn't grow."""

    def __init__(self, name: str, tensor: str, quantizer: QuantizeDequantize) -> None:
        self.name, self.tensor, self.quantizer = name, tensor, quantizer
        self._first, self._last = limits(quantizer.bits, quantizer.signed)
        self._taken = torch.zeros(self._last - self._first + 1, dtype=torch.int64)
        self._bins = torch.zeros(2 * _HALF, dtype=torch.int64)
        self._width = len(self._taken) * quantizer.scale / _BINS_OF_RANGE
        self._count = self._below = self._above = 0
        self._energy = self._noise = self._clip_noise = 0.0
        self._low, self._high = np.inf, -np.inf

    def update(self, values: Tensor) -> None:
        """Takes in the values before the quantizer; finite ones."""
        q = self.quantizer
        codes = torch.round(values / q.scale) + q.zero_point
        below, above = codes < self._first, codes > self._last
        integers = q.integers(values)
        errors = ((integers - q.zero_point) * q.scale - values).double().square()
        self._taken += torch.bincount((integers - self._first).long().flatten(), minlength=len(self._taken))
        self._count += values.numel()
        self._below += int(below.sum())
        self._above += int(above.sum())
        self._energy += float(values.double().square().sum())
        self._noise += float(errors.sum())
        self._clip_noise += float(errors[below | above].sum())
        self._add(values)

    def _add(self, values: Tensor) -> None:
        """Into the histogram, whose bins double their width until the values fit."""
        low, high = (float(limit) for limit in torch.aminmax(values))
        self._low, self._high = min(self._low, low), max(self._high, high)
        while max(-low, high) >= _HALF * self._width:
            pairs = self._bins.reshape(-1, 2).sum(1)
            self._bins = torch.zeros_like(self._bins)
            self._bins[_HALF // 2 : _HALF // 2 + _HALF] = pairs
            self._width *= 2
        places = torch.floor(values.flatten().double() / self._width).long() + _HALF
        self._bins += torch.bincount(places.clamp(0, 2 * _HALF - 1), minlength=2 * _HALF)

    def result(self) -> Range:
        """What was seen. There was a value."""
        q, count, energy = self.quantizer, max(self._count, 1), self._energy or 1.0
        used = torch.nonzero(self._bins).flatten()
        first, last = (int(used[0]), int(used[-1])) if len(used) else (_HALF, _HALF)
        return Range(
            self.name,
            self.tensor,
            q.bits,
            (self._first - q.zero_point) * q.scale,
            (self._last - q.zero_point) * q.scale,
            self._low,
            self._high,
            self._below / count,
            self._above / count,
            len(self._taken),
            int((self._taken == 0).sum()),
            self._noise / energy,
            self._clip_noise / energy,
            (first - _HALF) * self._width,
            self._width,
            tuple(self._bins[first : last + 1].tolist()),
        )
