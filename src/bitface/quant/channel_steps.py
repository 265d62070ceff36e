"""How far apart the levels of each channel would lie if channels shared a zero point alone.

A tensor has one scale and one zero point. Where its channels can be scaled for nothing (`equalize`), each gets a step
of its own in effect, and the best one leaves its rare peaks outside: it is the step of least squared rounding error.
The zero point is chosen for all of them, by the errors that the layer behind makes of theirs.
"""

import torch
from torch import Tensor

from bitface.quant.quantizers import Quantizer

# Of the steps with which a channel's whole range fits; and so many zero points are tried.
_SHARES = torch.linspace(0.1, 1.05, 20).tolist()
_ZERO_POINTS = 17


class ChannelCounts:
    """Histograms of channels, each in equal bins of its own range."""

    def __init__(self, low: Tensor, high: Tensor, bins: int) -> None:
        """`low`, `high`: the extremes of each channel, `[C]`."""
        self.low, self.high = low.double(), high.double()
        self.counts = torch.zeros(len(low), bins, dtype=torch.int64)

    def update(self, values: Tensor) -> None:
        """Counts more of them, `[B, C, H, W]`."""
        channels, bins = self.counts.shape
        width = ((self.high - self.low) / bins).clamp(min=torch.finfo(torch.float32).tiny)
        rows = values.movedim(1, 0).flatten(1)
        places = ((rows - self.low.to(rows.dtype)[:, None]) / width.to(rows.dtype)[:, None]).long().clamp(0, bins - 1)
        places += bins * torch.arange(channels)[:, None]
        self.counts += torch.bincount(places.flatten(), minlength=channels * bins).view(channels, bins)

    def centres(self) -> Tensor:
        """The middle of each bin, float64 `[C, bins]`."""
        bins = self.counts.shape[1]
        return self.low[:, None] + (self.high - self.low)[:, None] * (torch.arange(bins) + 0.5) / bins


def channel_steps(counts: ChannelCounts, quantizer: Quantizer, gains: Tensor) -> Tensor:
    """The step of each channel, float32 `[C]`; 0 for one that is always zero.

    Args:
        quantizer: whose integers the channels become; its numbers have no part.
        gains: how much of a channel's squared error the layer behind lets through, `[C]`.
    """
    values = counts.centres().float()
    shares = counts.counts / counts.counts.sum(1, keepdim=True).clamp(min=1)
    low, high = counts.low.float().clamp(max=0), counts.high.float().clamp(min=0)
    smallest, largest = quantizer.limits
    zero_points = [0]
    if not quantizer.symmetric:
        zero_points = torch.linspace(smallest, largest, _ZERO_POINTS).round().unique().int().tolist()
    best, least = torch.zeros_like(low), torch.inf
    for zero_point in zero_points:
        below, above = smallest - zero_point, largest - zero_point
        # A side without levels is cut off whole.
        whole = torch.maximum(high / above if above else 0 * high, low / below if below else 0 * low)
        steps, errors = whole, torch.full_like(whole, torch.inf)
        for share in _SHARES:
            step = (whole * share).clamp(min=torch.finfo(torch.float32).tiny)[:, None]
            rounded = (values / step).round_().clamp_(below, above).mul_(step)
            error = rounded.sub_(values).square_().mul_(shares).sum(1)
            steps, errors = torch.where(error < errors, whole * share, steps), torch.minimum(error, errors)
        total = float((errors * gains).sum())
        if total < least:
            best, least = steps, total
    return best
