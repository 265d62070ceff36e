"""Quantizers against arithmetic on one number at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bitface.graph.integer import QuantizeDequantize
from bitface.quant.quantizers import UniformQuantizer

BITS = range(2, 9)
NUMBERS = st.integers(-(10**6), 10**6).map(lambda number: float(np.float32(number / 1000)))
TENSORS = arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=5), elements=NUMBERS)


def oracle_scale(low: float, high: float, levels: tuple[int, int], symmetric: bool) -> tuple[np.float32, int]:
    low, high = min(low, 0.0), max(high, 0.0)
    smallest, largest = levels
    if symmetric:
        scale = max(side / level for side, level in ((low, smallest), (high, largest)) if level)
    else:
        scale = (high - low) / (largest - smallest)
    if scale <= np.finfo(np.float32).tiny:
        scale = 1.0
    rounded = np.float32(scale)
    zero = 0 if symmetric else round(smallest - low / float(rounded))  # Python rounds half to even
    return rounded, min(max(zero, smallest), largest)


def oracle_integer(x: np.float32, scale: np.float32, zero: int, levels: tuple[int, int]) -> int:
    return min(max(round(float(x / scale)) + zero, levels[0]), levels[1])


def levels_of(bits: int, signed: bool, narrow: bool = False) -> tuple[int, int]:
    return (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", BITS)
@settings(max_examples=12, derandomize=True)
@given(values=TENSORS, beyond=TENSORS, narrow=st.booleans())
def test_equals_the_oracle(
    bits: int, signed: bool, symmetric: bool, per_channel: bool, values: np.ndarray, beyond: np.ndarray, narrow: bool
) -> None:
    against_the_oracle(bits, signed, symmetric, per_channel, values, beyond, narrow)


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", BITS)
@settings(max_examples=200, derandomize=True)
@given(values=TENSORS, beyond=TENSORS, signed=st.booleans(), narrow=st.booleans())
def test_equals_the_oracle_in_two_hundred_cases(
    bits: int, signed: bool, symmetric: bool, per_channel: bool, values: np.ndarray, beyond: np.ndarray, narrow: bool
) -> None:
    against_the_oracle(bits, signed, symmetric, per_channel, values, beyond, narrow)


def against_the_oracle(
    bits: int, signed: bool, symmetric: bool, per_channel: bool, values: np.ndarray, beyond: np.ndarray, narrow: bool
) -> None:
    narrow = narrow and signed
    channels = len(values) if per_channel else 1
    rows = values.reshape(channels, -1)
    quantizer = UniformQuantizer(bits, signed, symmetric, channels, narrow)
    quantizer.set_range(torch.from_numpy(rows.min(1)), torch.from_numpy(rows.max(1)))
    levels = levels_of(bits, signed, narrow)
    # What was seen, something beyond it, and halves of steps, where rounding is decided.
    x = np.concatenate([rows, np.resize(beyond, rows.shape) * 2, np.zeros_like(rows[:, :1])], 1)
    for channel, row in enumerate(x):
        scale, zero = oracle_scale(float(rows[channel].min()), float(rows[channel].max()), levels, symmetric)
        assert quantizer.scale[channel].item() == scale
        assert quantizer.zero_point[channel].item() == zero
        row[: len(row) // 3] = (np.rint(row[: len(row) // 3] / scale) + np.float32(0.5)) * scale
        expected = np.array([oracle_integer(value, scale, zero, levels) for value in row])
        found = quantizer.integers(torch.from_numpy(x))[channel].numpy()
        np.testing.assert_array_equal(found, expected)
        real = ((expected - zero).astype(np.float32)) * scale
        np.testing.assert_array_equal(quantizer(torch.from_numpy(x))[channel].numpy(), real)
        if not narrow:
            single = QuantizeDequantize(float(scale), zero, bits, signed)
            np.testing.assert_array_equal(single.integers(torch.from_numpy(row)).numpy(), expected)
            np.testing.assert_array_equal(single(torch.from_numpy(row)).numpy(), real)
    once = quantizer(torch.from_numpy(x))
    assert torch.equal(quantizer(once), once)
    assert not once[:, -1].any()  # zero stays zero: padding


@pytest.mark.parametrize("bits", BITS)
@settings(max_examples=30, derandomize=True)
@given(values=arrays(np.float32, 20, elements=NUMBERS), signed=st.booleans(), symmetric=st.booleans())
def test_nothing_in_range_moves_by_more_than_half_a_step(
    bits: int, values: np.ndarray, signed: bool, symmetric: bool
) -> None:
    values = np.abs(values) if symmetric and not signed else values
    quantizer = UniformQuantizer(bits, signed, symmetric)
    x = torch.from_numpy(values)
    quantizer.set_range(x.min()[None], x.max()[None])
    assert (quantizer(x) - x).abs().max() <= quantizer.scale.item() * 0.5001


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("value", [0.0, 1e-45, 3.5, -7.0, 3e38])
def test_constant_tensors(value: float, symmetric: bool) -> None:
    x = torch.full((1,), value)
    quantizer = UniformQuantizer(8, True, symmetric)
    quantizer.set_range(x, x)
    assert quantizer.scale.isfinite().all()
    assert (quantizer.scale > 0).all()
    torch.testing.assert_close(quantizer(x), x, rtol=1e-6, atol=1e-6)


def test_switched_off_it_changes_nothing() -> None:
    quantizer, x = UniformQuantizer(2, True, True), torch.randn(5)
    quantizer.enabled = False
    assert quantizer(x) is x


@pytest.mark.parametrize(
    "numbers",
    [(0.0, 0, 8, True), (-1.0, 0, 8, True), (float("nan"), 0, 8, True), (float("inf"), 0, 8, True), (1e-40, 0, 8, True),
     (1.0, 128, 8, True), (1.0, -1, 8, False), (1.0, 16, 4, False), (1.0, 0, 9, True), (1.0, 0, 1, True),
     (1.0, 0.5, 8, True)],
)  # fmt: skip
def test_impossible_numbers_are_refused(numbers: tuple[float, int, int, bool]) -> None:
    with pytest.raises(ValueError, match="bits"):
        QuantizeDequantize(*numbers)
