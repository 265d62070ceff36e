"""A network as a sequence of calls of C functions on tensors, with the tables of numbers that they read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from bitface.graph.integer import QuantizeDequantize, limits
from bitface.targets.c.memory import Buffer

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
    def of(quantizer: QuantizeDequantize) -> "Levels":
        shift = SHIFT if quantizer.signed else 0
        low, high = limits(quantizer.bits, quantizer.signed)
        return Levels(float(np.float32(quantizer.scale)), quantizer.zero_point + shift, low + shift, high + shift)

    def limited(self, low: float, high: float) -> "Levels":
        """Without the integers that lie below or above these numbers."""
        # Beyond all integers, but no infinity.
        ends = (np.rint(np.float32(min(max(end / self.scale, -1e9), 1e9))) + self.zero for end in (low, high))
        lowest, highest = (int(min(max(end, self.low), self.high)) for end in ends)
        return Levels(self.scale, self.zero, *(min(max(end, lowest), highest) for end in (self.low, self.high)))

    def arguments(self) -> tuple[np.float32, np.float32, int]:
        """The limits less the zero point, and it."""
        return np.float32(self.low - self.zero), np.float32(self.high - self.zero), self.zero


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


@dataclass(frozen=True)
class Table:
    """Numbers that are constant: float32, int32, or bytes."""

    values: np.ndarray


Argument = object


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Argument, ...]


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

    def tensor(self, shape: tuple[int, ...], levels: Levels | None = None, map: tuple[int, ...] | None = None) -> Value:
        return Value(self.buffer(prod(shape) * (1 if levels else 4)), shape, levels, map)

    def call(self, function: str, arguments: Sequence[Argument]) -> None:
        for argument in arguments:
            if isinstance(argument, Ref):
                self.buffers[argument.buffer].last = len(self.calls)
        self.calls.append(Call(function, tuple(arguments)))
