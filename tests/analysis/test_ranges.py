from itertools import pairwise

import numpy as np
import pytest
import torch

from bitface.analysis.ranges import Range, RangeWatch
from bitface.graph.integer import QuantizeDequantize


def watched(quantizer: QuantizeDequantize, *batches: np.ndarray) -> Range:
    watch = RangeWatch("x_a4", "x", quantizer)
    for batch in batches:
        watch.update(torch.from_numpy(batch.astype(np.float32)))
    return watch.result()


@pytest.mark.parametrize(
    "quantizer", [QuantizeDequantize(0.1, 0, 4, True), QuantizeDequantize(0.05, 6, 4, False)]
)  # fmt: skip
def test_against_numpy(quantizer: QuantizeDequantize) -> None:
    values = np.random.default_rng(0).normal(0, 0.5, (4, 3, 10)).astype(np.float32)
    found = watched(quantizer, values[:1], values[1:])
    low, high = (-8, 7) if quantizer.signed else (0, 15)
    wanted = np.rint(values / np.float32(quantizer.scale)) + quantizer.zero_point
    taken = np.clip(wanted, low, high)
    errors = ((taken - quantizer.zero_point) * quantizer.scale - values.astype(np.float64)) ** 2
    assert found.below == (wanted < low).mean()
    assert found.above == (wanted > high).mean()
    assert found.unused == 16 - len(np.unique(taken))
    assert found.levels == 16
    energy = (values.astype(np.float64) ** 2).sum()
    assert found.noise == pytest.approx(errors.sum() / energy, rel=1e-4)
    assert found.clip_noise == pytest.approx(errors[wanted != taken].sum() / energy, rel=1e-4)
    assert (found.low, found.high) == pytest.approx(
        ((low - quantizer.zero_point) * quantizer.scale, (high - quantizer.zero_point) * quantizer.scale)
    )
    assert (found.seen_low, found.seen_high) == (values.min(), values.max())


def test_the_histogram_grows_with_the_values_and_loses_none() -> None:
    rng = np.random.default_rng(1)
    batches = [rng.normal(0, size, 500) for size in (0.1, 1.0, 400.0)] + [np.array([-(2.0**20)])]
    found = watched(QuantizeDequantize(0.1, 0, 4, True), *batches)
    values = np.concatenate(batches).astype(np.float32).astype(np.float64)
    edges = found.start + found.width * np.arange(len(found.counts) + 1)
    expected = [int(((values >= a) & (values < b)).sum()) for a, b in pairwise(edges)]
    assert list(found.counts) == expected
    assert sum(found.counts) == len(values)
    assert len(found.counts) <= 128


def test_values_that_are_all_zero() -> None:
    found = watched(QuantizeDequantize(0.1, 0, 4, False), np.zeros((2, 3)))
    assert (found.clipped, found.noise, found.unused, found.counts) == (0, 0, 15, (6,))
    assert found.to_json()["clipped"] == 0
