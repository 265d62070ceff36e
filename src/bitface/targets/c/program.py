"""A network as a sequence of calls of C functions on tensors, with the tables of numbers that they read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from bitface.graph.integer import QuantizeDequantize, limits
from bitface.targets.c.memory import ALIGNMENT, Buffer

# Kernels read up to so many bytes behind a tensor, and use none of them.
SLACK = 16
# What is added to signed integers, so that all lie in bytes from 0.
SHIFT = 128


@dataclass(frozen=True)
class Levels:
    """The integers that a tensor holds, in bytes: `(q - zero) · scale`, from `low` to `high`."""

    scale: float
    zero: int
    low: int
    high: int

    @staticmethod
    def of(quantizer: QuantizeDequantize, ends: tuple[int, int] | None = None) -> "Levels":
        """Args: ends: the smallest and the largest that there are; None: all of the quantizer."""
        shift = SHIFT if quantizer.signed else 0
        low, high = ends or limits(quantizer.bits, quantizer.signed)
        return Levels(float(np.float32(quantizer.scale)), quantizer.zero_point + shift, low + shift, high + shift)

    def arguments(self) -> tuple[np.float32, np.float32, int]:
        """The limits less the zero point, and it."""
        return np.float32(self.low - self.zero), np.float32(self.high - self.zero), self.zero


@dataclass(frozen=True)
class PerRow:
    """A number of a whole map as an argument; of a row where the map is computed row by row."""

    whole: int
    height: int


@dataclass(frozen=True)
class FirstPixel:
    """The number of a row's first pixel as an argument; 0 where the map is computed at once."""

    width: int


@dataclass(frozen=True)
class Span:
    """The first row and the one behind the last as two arguments."""

    height: int


@dataclass(frozen=True)
class Value:
    """A tensor of one image.

    Attributes:
        buffer: its number in the program.
        shape: as the graph knows it, without the batch; maps lie with their channels last.
        levels: of integers; None: floats.
        map: of a list that was a map: its channels, height and width, as it still lies with the channels last.
    """

    buffer: int
    shape: tuple[int, ...]
    levels: Levels | None = None
    map: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def channels(self) -> int:
        """Of the last axis in memory; a list that was a map has all its places as channels."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        return self.count // self.channels

    def per_row(self, whole: int) -> PerRow:
        """A number of this tensor, as an argument of what computes it number by number."""
        return PerRow(whole, self.shape[1] if len(self.shape) == 3 else 1)


@dataclass(frozen=True)
class Ref:
    """A buffer as an argument, of bytes or of floats, from one of them on."""

    buffer: int
    floats: bool = False
    first: int = 0


@dataclass(frozen=True)
class Struct:
    """A constant structure of a kernel, by its fields; `passed`: by value, not by its address."""

    kind: str
    fields: tuple[tuple[str, object], ...]
    passed: bool = False

    def with_fields(self, *fields: tuple[str, object]) -> "Struct":
        return Struct(self.kind, self.fields + fields, self.passed)


def number_bytes(number: int) -> bytes:
    """32 bits as a stream has them: 7 bits a byte, the lowest first, with bit 7 set in all bytes but the last."""
    number, result = number & 0xFFFFFFFF, bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    return bytes([*result, number])


# Of a layer in the order of its structure, in kernels/layer.c.
_LAYER_NUMBERS = (
    "height", "width", "channels", "out_height", "out_width", "outputs", "kernel_height", "kernel_width",
    "stride_height", "stride_width", "pad_height", "pad_width", "dilation_height", "dilation_width", "groups",
    "map_rows", "result_rows", "segments", "segment_bytes", "block_bytes", "bits", "blocks_at_once", "input_zero",
    "zero", "lowest", "floats", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class PackedLayer:
    """A layer as one stream of bytes: its numbers, what is said of its outputs and of its weights, and these.

    Weights that may be read as they are begin where 64 divides.
    """

    numbers: dict[str, Any]
    head: bytes
    weights: bytes

    @property
    def aligned(self) -> bool:
        return bool(self.numbers["bits"] == 8)

    def with_fields(self, *fields: tuple[str, object]) -> "PackedLayer":
        return PackedLayer(self.numbers | dict(fields), self.head, self.weights)

    def stream(self) -> np.ndarray:
        numbers = (self.numbers[name] for name in _LAYER_NUMBERS)
        words = (one.view(np.int32) if isinstance(one, np.float32) else one for one in numbers)
        head = b"".join(number_bytes(int(word)) for word in words) + self.head
        filled = bytes(-len(head) % ALIGNMENT if self.aligned else 0)
        return np.frombuffer(head + filled + self.weights, np.uint8)


@dataclass(frozen=True)
class Name:
    """Of a parameter of the function that the calls are in."""

    name: str


@dataclass(frozen=True)
class Table:
    """Numbers that are constant: float32, int32, or bytes."""

    values: np.ndarray


Argument = object


@dataclass(frozen=True)
class Rows:
    """How a call goes over maps from top to bottom: a row of its result needs those that a window covers.

    Attributes:
        reads, writes: the buffers of its maps and of its result.
        height, out_height: of them.
        reach: rows of the window.
        layer: its structure, where one at once isn't the same as row by row.
    """

    reads: tuple[int, ...]
    writes: int
    height: int
    out_height: int
    stride: int = 1
    pad: int = 0
    reach: int = 1
    layer: Struct | PackedLayer | None = None

    def needed(self, end: int) -> int:
        """The end of the rows that are read for those before `end`; neither lies within its map in every case."""
        return (end - 1) * self.stride - self.pad + self.reach

    def first(self, start: int) -> int:
        """The first row that is read for those from `start` on."""
        return max(0, start * self.stride - self.pad)


@dataclass(frozen=True)
class Call:
    """Attributes: rows: None: it is computed at once."""

    function: str
    arguments: tuple[Argument, ...]
    rows: Rows | None = None


@dataclass
class Program:
    """What a writer collects.

    Attributes:
        image, embedding: of floats, the image `[height, width, channels]`.
    """

    calls: list[Call] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    image: Value = Value(0, ())
    embedding: Value = Value(0, ())

    def buffer(self, size: int) -> int:
        """A new one, of the next step on."""
        self.buffers.append(Buffer(size + SLACK, len(self.calls), len(self.calls)))
        return len(self.buffers) - 1

    def row_bytes(self, buffer: int, height: int) -> int:
        """Of a map of so many rows."""
        return (self.buffers[buffer].size - SLACK) // height

    def tensor(self, shape: tuple[int, ...], levels: Levels | None = None, map: tuple[int, ...] | None = None) -> Value:
        return Value(self.buffer(prod(shape) * (1 if levels else 4)), shape, levels, map)

    def call(self, function: str, arguments: Sequence[Argument], rows: Rows | None = None) -> None:
        """One with a number per row goes over its maps row by row, of which the last is the one that it writes."""
        buffers = [argument.buffer for argument in arguments if isinstance(argument, Ref)]
        for buffer in buffers:
            self.buffers[buffer].last = len(self.calls)
        heights = [argument.height for argument in arguments if isinstance(argument, PerRow)]
        if heights and heights[0] > 1:
            rows = Rows(tuple(buffers[:-1]), buffers[-1], heights[0], heights[0])
        self.calls.append(Call(function, tuple(arguments), rows))
