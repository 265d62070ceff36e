"""Integers of 1 to 8 bits as a stream of bytes, without a bit between them."""

import numpy as np


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Signed integers → `ceil(n · bits / 8)` bytes.

    Each value takes its lowest `bits` bits (two's complement), the first value the lowest bits of the first byte; the
    rest of the last byte is 0. A single bit is the sign: 0 for 1, 1 for -1.

    Args:
        values: int8, any shape; taken in C order.
        bits: 1 to 8.

    Raises:
        ValueError: a value doesn't fit, or the width is out of range.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be 1 to 8, not {bits}")
    flat = np.ascontiguousarray(values, np.int8).reshape(-1)
    if bits == 1:
        if (np.abs(flat) != 1).any():
            raise ValueError("values of 1 bit are -1 and 1, nothing else")
        flat = (flat - 1) // 2
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if flat.size and not (low <= flat.min() and flat.max() <= high):
        raise ValueError(f"values from {flat.min()} to {flat.max()} don't fit into {bits} bits")
    planes = (flat.view(np.uint8)[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Bytes → int8 `[count]`: the inverse of `pack`.

    Raises:
        ValueError: the number of bytes isn't that of `count` values, or the padding isn't 0.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be 1 to 8, not {bits}")
    data = np.ascontiguousarray(data, np.uint8).reshape(-1)
    if data.size != packed_size(count, bits):
        raise ValueError(f"{count} values of {bits} bits take {packed_size(count, bits)} bytes, not {data.size}")
    if bits == 8:
        return data.view(np.int8)
    planes = np.unpackbits(data, bitorder="little")
    if planes[count * bits :].any():
        raise ValueError("bits are set after the last value")
    rows = planes[: count * bits].reshape(count, bits)
    values = (rows << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    values[rows[:, -1] == 1] |= np.uint8((0xFF << bits) & 0xFF)  # the sign
    result: np.ndarray = values.view(np.int8) * 2 + 1 if bits == 1 else values.view(np.int8)
    return result


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` values."""
    return -(-count * bits // 8)
