"""Observers against the plain definition of what they observe."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitface.quant.observers import OBSERVERS
from bitface.quant.quantizers.uniform import UniformQuantizer

SCHEMES = [(True, True), (False, False), (False, True)]  # signed, symmetric
BIN = 1 / 2048


def activations(seed: int, scheme: tuple[bool, bool] = (True, True)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(4, 3, 20, 21, generator=generator) ** 3 * (1 + n) - 0.3 for n in range(5)]
    return [batch.relu() for batch in batches] if scheme == (False, True) else batches


def observed(name: str, batches: Iterable[Tensor]) -> Any:
    observer = OBSERVERS[name]()
    batches = list(batches)
    for look in range(observer.looks):
        for batch in batches:
            observer.update(batch, look)
    return observer


def test_minmax() -> None:
    batches = activations(0)
    everything = torch.cat(batches)
    assert observed("minmax", batches).range(8, True, True) == (everything.min().item(), everything.max().item())
    assert observed("minmax", [batch.abs() + 1 for batch in batches]).range(8, True, True)[0] == 0


def test_moving_average() -> None:
    low = high = None
    for batch in activations(1):
        first, last = batch.min().item(), batch.max().item()
        low = first if low is None else 0.9 * low + 0.1 * first
        high = last if high is None else 0.9 * high + 0.1 * last
    assert observed("moving-average", activations(1)).range(8, True, True) == pytest.approx((low, high))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_percentile(scheme: tuple[bool, bool]) -> None:
    batches = activations(2, scheme)
    values = np.sort(torch.cat(batches).numpy().ravel())
    low, high = observed("percentile", batches).range(8, *scheme)
    width = float(values[-1] - values[0]) * BIN * 1.001
    share = 1e-4 if scheme == (False, True) else 0.5e-4
    assert high == pytest.approx(np.percentile(values, 100 * (1 - share), method="inverted_cdf"), abs=width)
    assert low == pytest.approx(0 if scheme == (False, True) else values[int(share * len(values))], abs=width)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_mse_is_as_good_as_trying_every_range_of_the_grid(scheme: tuple[bool, bool], bits: int) -> None:
    batches = activations(3, scheme)
    values = torch.cat(batches).double().flatten()
    quantizer = UniformQuantizer(bits, *scheme)

    def error(low: float, high: float) -> float:
        quantizer.set_range(torch.tensor([low]), torch.tensor([high]))
        return (quantizer(values) - values).square().sum().item()

    shares = np.arange(0.1, 1.01, 0.05)
    low, high = values.min().item(), values.max().item()
    if scheme[1]:  # both sides shrink together
        bound = max(-low, high)
        tried = [(-bound * share if scheme[0] else 0.0, bound * share) for share in shares]
    else:
        tried = [(low * a, high * b) for a, b in itertools.product(shares, shares)]
    # The observer sees the middle of a bin in a value's place.
    assert error(*observed("mse", batches).range(bits, *scheme)) <= 1.02 * min(error(*pair) for pair in tried)


@pytest.mark.parametrize("name", ["minmax", "percentile", "mse"])
def test_the_order_of_the_batches_does_not_matter(name: str) -> None:
    batches = activations(4)
    everything = torch.cat(batches)
    expected = observed(name, batches).range(4, False, False)
    assert observed(name, reversed(batches)).range(4, False, False) == expected
    shuffled = everything[torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))]
    assert observed(name, shuffled.split(7)).range(4, False, False) == expected


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 2.5, -1.5])
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 1)])
def test_constant_tensors(name: str, value: float, shape: tuple[int, ...]) -> None:
    low, high = observed(name, [torch.full(shape, value)]).range(8, True, True)
    assert (low, high) == (min(value, 0), max(value, 0))


def test_counts_stay_exact_above_what_float32_can_count() -> None:
    zeros = torch.zeros(17, 1 << 20)
    zeros[0, 0] = 1
    assert observed("mse", [zeros]).counts[0] == 17 * (1 << 20) - 1
