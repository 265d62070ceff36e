"""Ranges that are watched, not learned: live extremes of weights, running ones of activations (QuantFace, RCM)."""

import math

import torch
from torch import Tensor

from bitface import ranks
from bitface.quant.kernels.plain import activated
from bitface.quant.quantizers.base import Quantizer, affine
from bitface.quant.quantizers.registry import QUANTIZERS

# How many numbers of a large tensor a percentile looks at, or up to twice as many.
_SAMPLE = 100_000


@QUANTIZERS.register("minmax")
class MinMaxQuantizer(Quantizer):
    """Uniform quantization between the smallest and the largest value.

    A weight's range is that of the live weight at each forward pass; what is exported is that of the last one. An
    activation's is watched during the first `steps` passes with gradients on, whether in training mode or not, and
    fixed from then on (QuantFace: 300 steps); it only ever widens.

    Departures: ranges of activations begin as calibration found them (QuantFace: empty), and numbers outside a fixed
    range have no gradient (QuantFace passes it on). Inside, so too while extremes are watched, it goes straight on.

    Frozen, both stay as they are.

    Attributes:
        watched: passes watched so far.
    """

    watches = True
    steps = 300

    scale: Tensor
    zero_point: Tensor
    low: Tensor
    high: Tensor
    watched: Tensor

    def __init__(self, bits: int, signed: bool, symmetric: bool, channels: int = 1, narrow: bool = False) -> None:
        super().__init__(bits, signed, symmetric, channels, narrow)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels, dtype=torch.int32))
        self.register_buffer("low", torch.zeros(channels))
        self.register_buffer("high", torch.zeros(channels))
        self.register_buffer("watched", torch.zeros((), dtype=torch.int64))

    def set_numbers(self, scale: Tensor, zero_point: Tensor) -> None:
        smallest, largest = self.limits
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        self.low.copy_((smallest - zero_point) * scale)
        self.high.copy_((largest - zero_point) * scale)

    def quantize(self, x: Tensor, slope: Tensor | None = None, cap: float = float("inf")) -> Tensor:
        watching = self.watching()
        with torch.no_grad():
            if self.fixed_range:
                pass
            elif self.weights or self.channels > 1:
                rows = x.reshape(self.channels, -1)
                self._adopt(rows.amin(1), rows.amax(1))
            elif watching:
                self._adopt(*self.merge(*self.of_all_ranks(*self.extremes(x, slope, cap))))
                self.watched += 1
        return super().quantize(x, slope, cap)

    def watching(self) -> bool:
        """Whether the next pass still counts."""
        return torch.is_grad_enabled() and int(self.watched) < self.steps

    def extremes(self, x: Tensor, slope: Tensor | None, cap: float) -> tuple[Tensor, Tensor]:
        """The range of one batch after the activation before it (see `plain.activated`), `[1]` each."""
        if slope is not None and bool((slope < 0).any()):
            x, slope, cap = activated(x.float(), slope, cap), None, float("inf")
        # An activation that never falls takes extremes to extremes: the numbers between needn't be computed.
        each = slope is not None and len(slope) > 1
        axes = [axis for axis in range(x.dim()) if not (each and axis == 1)]
        ends = torch.stack([x.amin(axes), x.amax(axes)]).float()
        ends = activated(ends if each else ends[:, None], slope, cap)
        return ends.amin().reshape(1), ends.amax().reshape(1)

    def of_all_ranks(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The range of a batch of which each rank has seen a part."""
        below, above = ranks.reduced(torch.stack([-low, high]), "max")
        return -below, above

    def merge(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The range so far with that of one more batch."""
        return torch.minimum(self.low, low), torch.maximum(self.high, high)

    def _adopt(self, low: Tensor, high: Tensor) -> None:
        scale, zero_point = affine(low, high, self.limits, self.symmetric)
        # New tensors: an earlier pass may still need the old ones for its gradient.
        self.low, self.high, self.scale, self.zero_point = low, high, scale, zero_point


@QUANTIZERS.register("ema")
class EmaQuantizer(MinMaxQuantizer):
    """Running extremes of activations with a moving average (beta 0.9), which forgets outliers."""

    beta = 0.9

    def merge(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return self.low.lerp(low, 1 - self.beta), self.high.lerp(high, 1 - self.beta)


@QUANTIZERS.register("percentile")
class PercentileQuantizer(EmaQuantizer):
    """A moving average of the range that holds 99.99 % of a batch, half of the rest on each side (activations).

    Of several ranks it is the mean of what each finds in its part.
    """

    outside = 1e-4

    def of_all_ranks(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        below, above = ranks.reduced(torch.stack([low, high])) / ranks.count()
        return below, above

    def extremes(self, x: Tensor, slope: Tensor | None, cap: float) -> tuple[Tensor, Tensor]:
        flat = (x.movedim(1, -1) if x.dim() > 1 else x).flatten()
        step = max(1, len(flat) // _SAMPLE)
        # A step that shares a factor with the sides would meet some channels or columns only.
        while math.gcd(step, len(flat)) > 1:
            step += 1
        if slope is not None and len(slope) > 1:
            slope = slope[torch.arange(0, len(flat), step, device=slope.device) % len(slope)]
        flat = activated(flat[None, ::step].float(), slope, cap)[0]
        count = max(1, round(len(flat) * self.outside / 2))
        return flat.topk(count, largest=False).values[-1:], flat.topk(count).values[-1:]
