from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from bitface.quant.channel_steps import ChannelCounts, channel_steps
from bitface.quant.quantizers import UniformQuantizer


def values(kind: str) -> Tensor:
    """Four channels `[8, 4, 16, 16]`: bell, bell with rare peaks, narrow, and nothing but zeros."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 4, 16, 16, generator=generator)
    x[:, 1] = torch.where(torch.rand(8, 16, 16, generator=generator) < 0.01, 8 * x[:, 1], x[:, 1])
    x[:, 2] *= 0.05
    x[:, 3] = 0
    return x.clamp(min=0) if kind == "positive" else torch.where(x < 0, 0.3 * x, x) if kind == "leaky" else x


def counted(x: Tensor, bins: int = 512) -> ChannelCounts:
    rows = x.movedim(1, 0).flatten(1)
    counts = ChannelCounts(rows.amin(1), rows.amax(1), bins)
    for part in x.split(3):
        counts.update(part)
    return counts


def rounding_errors(x: np.ndarray, step: float, zero_point: int, limits: tuple[int, int]) -> float:
    integers = np.clip(np.rint(x / step) + zero_point, *limits)
    return float(np.mean(((integers - zero_point) * step - x) ** 2))


@pytest.mark.parametrize(
    ("kind", "bits", "signed", "symmetric"),
    [
        ("positive", 4, False, True),
        ("leaky", 4, False, False),
        ("bell", 4, False, False),
        ("bell", 3, True, True),
        ("leaky", 6, False, False),
        ("bell", 2, False, False),
    ],
)
def test_against_a_search_of_all_values_steps_and_zero_points(
    kind: str, bits: int, signed: bool, symmetric: bool
) -> None:
    x, gains = values(kind), torch.tensor([1.0, 2.0, 100.0, 1.0])
    quantizer = UniformQuantizer(bits, signed, symmetric)
    steps = channel_steps(counted(x), quantizer, gains).tolist()
    assert steps[3] == 0
    low, high = quantizer.limits
    rows = x.movedim(1, 0).flatten(1).double().numpy()
    places = [0] if symmetric else range(low, high + 1)

    def total(zero_point: int, chosen: list[float]) -> float:
        pairs = zip(rows, gains.tolist(), chosen, strict=True)
        return sum(g * rounding_errors(row, step, zero_point, (low, high)) for row, g, step in pairs if step)

    found = min(total(zero_point, steps) for zero_point in places)
    tried = {
        (zero_point, channel): min(
            (rounding_errors(rows[channel], step, zero_point, (low, high)), step)
            for step in np.abs(rows[channel]).max() / max(high, 1) * np.geomspace(0.05, 8, 80)
        )[1]
        for zero_point, channel in product(places, range(3))
    }
    best = min(total(zero_point, [tried[zero_point, channel] for channel in range(3)] + [0]) for zero_point in places)
    assert found < 1.06 * best


def test_a_rare_peak_is_left_outside_and_a_narrow_channel_has_narrow_steps() -> None:
    x = values("positive")
    bell, peaked, narrow, _ = channel_steps(counted(x), UniformQuantizer(4, False, True), torch.ones(4)).tolist()
    assert x[:, 1].max() > 4 * x[:, 0].max()
    assert peaked * 15 < 0.8 * float(x[:, 1].max())
    assert narrow == pytest.approx(0.05 * bell, rel=0.15)


def test_all_values_are_counted_once_and_extremes_are_in_the_outer_bins() -> None:
    x = values("bell")
    counts = counted(x, 64)
    assert counts.counts.sum(1).tolist() == [8 * 256] * 4
    assert (counts.counts[:3, 0] > 0).all()
    assert (counts.counts[:3, -1] > 0).all()
    rows = x.movedim(1, 0).flatten(1)
    centres = counts.centres()
    width = (rows[0].amax() - rows[0].amin()) / 64
    nearest = (rows[0][:, None] - centres[0]).abs().amin(1)
    assert float(nearest.max()) <= float(width) * 0.51
