"""How the range of a tensor is found on calibration faces.

`minmax` and `moving-average` (beta 0.9) look once. `percentile` and `mse` look twice: the extremes, then a histogram
between them, so that the result doesn't depend on the order of the faces.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bitface.graph.integer import limits
from bitface.quant.quantizers.base import affine
from bitface.registry import Registry

OBSERVERS: "Registry[Callable[[], MinMax]]" = Registry("observer", "bitface.observers")

_BINS = 2048


@OBSERVERS.register("minmax")
class MinMax:
    """The smallest and the largest value seen."""

    looks = 1

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def update(self, values: Tensor, look: int) -> None:
        low, high = torch.aminmax(values)
        # numpy's, which keep a NaN
        self.low, self.high = (
            float(np.minimum(self.low, low.item())),
            float(np.maximum(self.high, high.item())),
        )

    def range(self, bits: int, signed: bool, symmetric: bool) -> tuple[float, float]:
        return min(self.low, 0.0), max(self.high, 0.0)


@OBSERVERS.register("moving-average")
class MovingAverage(MinMax):
    """The exponential moving average of each batch's extremes."""

    def __init__(self, beta: float = 0.9) -> None:
        super().__init__()
        self.beta = beta

    def update(self, values: Tensor, look: int) -> None:
        low, high = (bound.item() for bound in torch.aminmax(values))
        if np.isinf(self.low):
            self.low, self.high = low, high
        self.low += (1 - self.beta) * (low - self.low)
        self.high += (1 - self.beta) * (high - self.high)


class Histogram(MinMax):
    """Counts in equal bins between the extremes of the first look."""

    looks = 2

    def __init__(self) -> None:
        super().__init__()
        self.counts = np.zeros(_BINS, np.int64)

    def update(self, values: Tensor, look: int) -> None:
        if look == 0:
            super().update(values, look)
        elif self.high > self.low:
            for image in values:  # one by one: histc counts in float32, which stops at 2^24
                self.counts += torch.histc(image.float(), _BINS, self.low, self.high).long().numpy()

    def centres(self) -> np.ndarray:
        edges = np.linspace(self.low, self.high, _BINS + 1)
        return (edges[1:] + edges[:-1]) / 2


@OBSERVERS.register("percentile")
class Percentile(Histogram):
    """The range that leaves the given share of values out, half on each side (all above, for one-sided tensors)."""

    def __init__(self, share: float = 99.99) -> None:
        super().__init__()
        self.outside = 1 - share / 100

    def range(self, bits: int, signed: bool, symmetric: bool) -> tuple[float, float]:
        total = self.counts.sum()
        if total == 0:
            return super().range(bits, signed, symmetric)
        outside = self.outside / (2 if signed or not symmetric else 1)
        shares = np.cumsum(self.counts) / total
        edges = np.linspace(self.low, self.high, _BINS + 1).tolist()
        first = int(np.searchsorted(shares, outside, side="right"))
        last = int(np.searchsorted(shares, 1 - outside))
        low = edges[first] if signed or not symmetric else 0.0
        return min(low, 0.0), max(edges[min(last + 1, _BINS)], 0.0)


@OBSERVERS.register("mse")
class Mse(Histogram):
    """The range with the least mean squared error between values and levels, by search over a grid."""

    def range(self, bits: int, signed: bool, symmetric: bool) -> tuple[float, float]:
        low, high = super().range(bits, signed, symmetric)
        if self.counts.sum() == 0:
            return low, high
        nonzero = self.counts > 0
        centres, counts = self.centres()[nonzero], self.counts[nonzero].astype(np.float64)
        lows, highs = [low * f for f in _FRACTIONS], [high * f for f in _FRACTIONS]
        if symmetric:  # one free number: both sides shrink together
            bound = max(high, -low) if signed else high
            lows, highs = [-bound * f if signed else 0.0 for f in _FRACTIONS], [bound * f for f in _FRACTIONS]
            pairs = list(zip(lows, highs, strict=True))
        else:
            pairs = [(a, b) for a in (lows if low < 0 else [0.0]) for b in (highs if high > 0 else [0.0])]
        lower = torch.tensor([pair[0] for pair in pairs], dtype=torch.float64)
        upper = torch.tensor([pair[1] for pair in pairs], dtype=torch.float64)
        levels = limits(bits, signed)
        errors = _errors(centres, counts, *affine(lower, upper, levels, symmetric), levels)
        best = int(np.argmin(errors))
        return pairs[best]


# Shares of the observed extremes that the search tries.
_FRACTIONS = tuple(percent / 100 for percent in range(100, 5, -5))


def _errors(
    values: np.ndarray, counts: np.ndarray, scales: Tensor, zeros: Tensor, levels: tuple[int, int]
) -> np.ndarray:
    """The summed squared error of each candidate."""
    errors = np.empty(len(scales))
    for index, (scale, zero) in enumerate(zip(scales.double().tolist(), zeros.tolist(), strict=True)):
        integers = np.clip(np.rint(values / scale) + zero, *levels)
        errors[index] = counts @ ((integers - zero) * scale - values) ** 2
    return errors
