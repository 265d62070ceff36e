import numpy as np
import pytest

from bitface.artifact import pack, unpack

ODD_SHAPES = [(), (1,), (67,), (3, 5), (2, 1, 3, 7), (0, 4)]


def drawn(generator: np.random.Generator, bits: int, shape: int | tuple[int, ...]) -> np.ndarray:
    low, high = extremes(bits)
    values = generator.integers(low, high + 1, shape).astype(np.int8)
    return values * 2 + 1 if bits == 1 else values  # -1 and 1, with nothing in between


def extremes(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


# By hand: the first value stands in the lowest bits of the first byte.
GOLDEN = [
    (1, [1, -1, -1, 1, 1, 1, 1, -1, -1], [0b10000110, 0b1]),
    (2, [1, -1, 0, -2, 1], [0b10_00_11_01, 0b01]),
    (3, [1, 2, 3, -4, -1], [0b11_010_001, 0b0_111_100_0]),
    (4, [1, -1, 7, -8, 5], [0xF1, 0x87, 0x05]),
    (5, [1, -1, 15, -16], [0b111_00001, 0b0_01111_11, 0b1000]),
    (6, [1, -1, 31, -32], [0b11_000001, 0b1111_1111, 0b100000_01]),
    (7, [1, -1, 63], [0b1_0000001, 0b11_111111, 0b01111]),
    (8, [1, -1, 127, -128], [0x01, 0xFF, 0x7F, 0x80]),
]


@pytest.mark.parametrize(("bits", "values", "data"), GOLDEN)
def test_golden_bytes(bits: int, values: list[int], data: list[int]) -> None:
    assert pack(np.array(values, np.int8), bits).tolist() == data
    assert unpack(np.array(data, np.uint8), bits, len(values)).tolist() == values


@pytest.mark.parametrize("bits", range(1, 9))
def test_round_trip_of_every_size(bits: int) -> None:
    generator = np.random.default_rng(bits)
    for count in range(68):
        values = drawn(generator, bits, count)
        data = pack(values, bits)
        assert (data.dtype, data.size) == (np.uint8, -(-count * bits // 8))
        assert int.from_bytes(data.tobytes(), "little") == sum(
            ((int(value) < 0) if bits == 1 else int(value) & (2**bits - 1)) << (bits * index)
            for index, value in enumerate(values)
        )
        back = unpack(data, bits, count)
        assert back.dtype == np.int8
        np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", ODD_SHAPES)
@pytest.mark.parametrize("turned", [False, True])
def test_shapes_and_memory_order(bits: int, shape: tuple[int, ...], turned: bool) -> None:
    values = np.asarray(drawn(np.random.default_rng(len(shape) + bits), bits, shape), np.int8)
    values = values.T if turned else values
    np.testing.assert_array_equal(unpack(pack(values, bits), bits, values.size).reshape(values.shape), values)


def test_one_bit_has_no_zero() -> None:
    with pytest.raises(ValueError, match="-1 and 1, nothing else"):
        pack(np.array([1, 0, -1], np.int8), 1)


@pytest.mark.parametrize("bits", range(2, 8))
def test_values_that_do_not_fit_are_refused(bits: int) -> None:
    low, high = extremes(bits)
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"don't fit into {bits} bits"):
            pack(np.array([0, value], np.int8), bits)


@pytest.mark.parametrize("bits", [-1, 0, 9, 16])
def test_impossible_widths(bits: int) -> None:
    with pytest.raises(ValueError, match="bits must be 1 to 8"):
        pack(np.zeros(3, np.int8), bits)
    with pytest.raises(ValueError, match="bits must be 1 to 8"):
        unpack(np.zeros(3, np.uint8), bits, 3)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_number_of_bytes(bits: int, off: int) -> None:
    data = pack(np.ones(13, np.int8), bits)
    with pytest.raises(ValueError, match=f"13 values of {bits} bits take {data.size} bytes, not {data.size + off}"):
        unpack(np.zeros(data.size + off, np.uint8), bits, 13)


@pytest.mark.parametrize(("bits", "count"), [(1, 1), (3, 5), (4, 1), (7, 9)])
def test_bits_behind_the_last_value(bits: int, count: int) -> None:
    data = pack(np.ones(count, np.int8), bits)
    for bit in range(bits * count % 8, 8):
        spoilt = data.copy()
        spoilt[-1] |= 1 << bit
        with pytest.raises(ValueError, match="after the last value"):
            unpack(spoilt, bits, count)
