"""A TensorFlow Lite file: tensors, operators in the order in which they run, and facts; a FlatBuffer in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from bitface.targets.litert.schema import Number, Op, Options, Type

_VERSION, _IDENTIFIER = 3, b"TFL3"
# The engine reads weights where they lie in the file.
_ALIGNMENT = 16
_TYPES = {
    np.dtype(np.float32): Type.FLOAT32,
    np.dtype(np.int8): Type.INT8,
    np.dtype(np.int32): Type.INT32,
    np.dtype(np.int64): Type.INT64,
    np.dtype(np.int16): Type.INT16,
}


@dataclass(frozen=True)
class Scales:
    """What a tensor's integers stand for: `(q - zero_point) · scale`, one scale for each place of an axis or in all."""

    scale: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    element: Type
    scales: Scales | None
    buffer: int = 0


@dataclass(frozen=True)
class _Operator:
    op: Op
    version: int
    inputs: tuple[int, ...]
    output: int
    options: Options | None


class TfliteFile:
    """Collects tensors and operators; both are known by their numbers."""

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []
        self._operators: list[_Operator] = []
        self._buffers: list[bytes] = [b""]  # the first is nobody's
        self._constants: dict[Any, int] = {}
        self._embedding = 0

    def tensor(self, name: str, shape: Sequence[int], kind: Type, scales: Scales | None = None) -> int:
        self._tensors.append(_Tensor(name, tuple(int(side) for side in shape), kind, scales))
        return len(self._tensors) - 1

    def constant(self, name: str, value: np.ndarray, scales: Scales | None = None) -> int:
        """A tensor of the file's own; equal ones are one."""
        data = np.ascontiguousarray(value).tobytes()
        key = (data, value.dtype, value.shape, scales)
        if key not in self._constants:
            tensor = self.tensor(name, value.shape, _TYPES[value.dtype], scales)
            self._buffers.append(data)
            self._tensors[tensor].buffer = len(self._buffers) - 1
            self._constants[key] = tensor
        return self._constants[key]

    def operator(self, op: Op, version: int, inputs: Sequence[int], output: int, options: Options | None = None) -> int:
        """Appends an operator; gives its output."""
        self._operators.append(_Operator(op, version, tuple(inputs), output, options))
        return output

    def finish(self, embedding: int) -> None:
        """Says which tensor is the output; the input is the first."""
        self._embedding = embedding
        self._tensors[embedding].name = "embedding"

    @property
    def kinds(self) -> list[Op]:
        """The kinds of operators, each once."""
        return sorted({one.op for one in self._operators})

    def content(self, facts: Mapping[str, str]) -> bytes:
        """The file's bytes: one input, one output, and facts in its metadata."""
        return _Serialization().model(self._tensors, self._operators, self._buffers, (0, self._embedding), facts)


class _Serialization:
    """Tables of a FlatBuffer, of which every child stands before its parent. Equal vectors are one."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1 << 20)
        self._vectors: dict[tuple[Any, bytes], int] = {}

    def model(
        self,
        tensors: Sequence[_Tensor],
        operators: Sequence[_Operator],
        buffers: Sequence[bytes],
        ports: tuple[int, int],
        facts: Mapping[str, str],
    ) -> bytes:
        builder = self._builder
        buffers = [*buffers, *(value.encode() for value in facts.values())]
        names = [self._text(name) for name in facts]
        first = len(buffers) - len(facts)
        metadata = [self._table({0: name, 1: Number("Uint32", first + n)}) for n, name in enumerate(names)]
        codes = list(dict.fromkeys((one.op, one.version) for one in operators))
        graph = self._table(
            {
                0: self._tables([self._tensor(one) for one in tensors]),
                1: self._numbers(ports[:1]),
                2: self._numbers(ports[1:]),
                3: self._tables([self._operator(one, codes.index((one.op, one.version))) for one in operators]),
                4: self._text("bitface"),
            }
        )
        root = self._table(
            {
                0: Number("Uint32", _VERSION),
                1: self._tables([self._code(*code) for code in codes]),
                2: self._tables([graph]),
                3: self._text("bitface"),
                4: self._tables([self._buffer(data) for data in buffers]),
                6: self._tables(metadata),
            }
        )
        builder.Finish(root, _IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, tensor: _Tensor) -> int:
        fields: dict[int, Number | int] = {
            0: self._numbers(tensor.shape),
            1: Number("Int8", tensor.element),
            2: Number("Uint32", tensor.buffer),
            3: self._text(tensor.name),
        }
        if (scales := tensor.scales) is not None:
            zero_points = np.full(len(scales.scale), scales.zero_point, np.int64)
            fields[4] = self._table(
                {
                    2: self._numbers(scales.scale, np.float32),
                    3: self._numbers(zero_points, np.int64),
                    6: Number("Int32", scales.axis),
                }
            )
        return self._table(fields)

    def _operator(self, operator: _Operator, code: int) -> int:
        fields: dict[int, Number | int] = {
            0: Number("Uint32", code),
            1: self._numbers(operator.inputs),
            2: self._numbers([operator.output]),
        }
        if operator.options is not None:
            fields |= {3: Number("Uint8", operator.options.union), 4: self._table(operator.options.fields)}
        return self._table(fields)

    def _code(self, op: Op, version: int) -> int:
        # The first field is for readers from before there were more than 127 operators.
        return self._table({0: Number("Int8", min(op, 127)), 2: Number("Int32", version), 3: Number("Int32", op)})

    def _buffer(self, data: bytes) -> int:
        if not data:
            return self._table({})
        builder = self._builder
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return self._table({0: int(builder.EndVector())})

    def _table(self, fields: Mapping[int, Number | int]) -> int:
        """A table of numbers and of children (by their offsets)."""
        builder = self._builder
        builder.StartObject(max(fields, default=-1) + 1)
        for place, value in fields.items():
            if isinstance(value, Number):
                builder.__getattribute__(f"Prepend{value.kind}")(value.value)
                builder.Slot(place)
            else:
                builder.PrependUOffsetTRelativeSlot(place, value, 0)
        return int(builder.EndObject())

    def _tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _numbers(self, values: Any, dtype: type = np.int32) -> int:
        array: np.ndarray = np.asarray(values, dtype)
        key = (dtype, array.tobytes())
        if key not in self._vectors:
            self._vectors[key] = int(self._builder.CreateNumpyVector(array))
        return self._vectors[key]

    def _text(self, text: str) -> int:
        return int(self._builder.CreateSharedString(text))
