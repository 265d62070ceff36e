"""Weights, and numbers of each output, as streams of bits give the bits that tables give."""

import shutil
from typing import Any

import numpy as np
import pytest

from bitface.artifact.packing import unpack
from bitface.targets.c.emit import c_source
from bitface.targets.c.engine import FLAGS, Compiled
from bitface.targets.c.packed import _outputs, strip
from bitface.targets.c.program import Table, number_bytes
from support.c_oracle import run as oracle
from support.integers import NETWORKS, images

STRICT = ("-O0", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer(name: str) -> None:
    net = NETWORKS[name]()
    text, x = c_source(net, packed=True), images(net)
    run = Compiled(text.code, text.header, (*FLAGS, *STRICT))
    np.testing.assert_array_equal(run(x).view(np.int32), oracle(net.graph, x).view(np.int32))


def numbers_of(stream: bytes, count: int) -> list[int]:
    """The first numbers of a stream, whose bytes go on while their bit 7 is set."""
    numbers: list[int] = []
    number = shift = 0
    for byte in stream:
        number += (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number = shift = 0
        if len(numbers) == count:
            break
    return numbers


def test_a_stream_is_as_short_as_its_numbers() -> None:
    """All 32 bits, and none where all numbers are the same; scales of outputs that there aren't count as any other."""
    tables = {
        "bias": Table(np.array([-(2**31), 2**31 - 1, 0, 0], np.int32)),
        "scale": Table(np.array([0.5, 0.5, 0.5, 0], np.float32)),
        "slope": None,
    }
    stream, size = _outputs(tables)
    assert size == 64
    assert numbers_of(stream, 6) == [2, 4, 32, 2**31, 0, int(np.float32(0.5).view(np.int32))]
    assert len(stream) == 1 + 1 + 1 + 5 + 1 + 5 + 16


def test_numbers_of_a_stream() -> None:
    for number in (0, 1, 127, 128, 16383, 16384, 2**31, 2**32 - 1):
        assert numbers_of(number_bytes(number) + b"\x05", 2) == [number, 5]
    assert numbers_of(number_bytes(-1), 1) == [2**32 - 1]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("kernels", [0, 3])
@pytest.mark.parametrize("name", ["everything", "wide"])
def test_weights_that_are_seldom_large(name: str, kernels: int) -> None:
    net = NETWORKS[name]()
    module: Any
    for module in net.graph.modules():
        if getattr(module, "bits", 0) > 2 and hasattr(module, "weight"):
            largest = module.weight.abs().max()
            module.weight.copy_((module.weight.double() ** 5 / largest.double() ** 4).trunc())
    text, x = c_source(net, packed=True), images(net)
    run = Compiled(text.code, text.header, (*FLAGS, *STRICT, f"-DFACE_NET_KERNELS={kernels}"))
    np.testing.assert_array_equal(run(x).view(np.int32), oracle(net.graph, x).view(np.int32))


@pytest.mark.parametrize("values", [
    np.zeros(64), np.full(64, -1), np.full(64, -128), np.eye(16) * 127, np.eye(64)[0] * -5, np.eye(1024)[-1] * 9,
    np.eye(1024)[510] * 9, np.eye(1024)[255] * 9, np.random.default_rng(0).normal(0, 30, 4096).clip(-128, 127),
    np.random.default_rng(1).integers(-128, 128, 512),
])  # fmt: skip
def test_a_strip_says_its_weights(values: np.ndarray) -> None:
    values = values.reshape(-1).astype(np.int8)
    head, stream = strip(values)
    bits, width = head[0] & 15, head[0] >> 4
    result = unpack(np.frombuffer(stream, np.uint8), bits, values.size).astype(int)
    flags, position = np.unpackbits(np.frombuffer(head[1:], np.uint8), bitorder="little"), 0
    for first in range(0, flags.size - width + 1, width or 1):
        gap = int(sum(flags[first : first + width] * 2 ** np.arange(width)))
        position += gap
        if position < values.size and gap < 2**width - 1:
            result[position] += 2**bits * (1 if result[position] < 0 else -1)
        if position >= values.size:
            break
    np.testing.assert_array_equal(result, values)
    assert (position == values.size) == (width > 0)
    assert len(stream) + len(head) <= values.size + 1
