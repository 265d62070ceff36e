"""The part of TensorFlow Lite's schema that is written: operators, types, and the numbers of fields.

Source: `tensorflow/lite/schema/schema.fbs` of TensorFlow; the versions of operators are those of `op_version.cc` there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Op(IntEnum):
    """`BuiltinOperator`."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEQUANTIZE = 6
    FULLY_CONNECTED = 9
    LOCAL_RESPONSE_NORMALIZATION = 13
    LOGISTIC = 14
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RESHAPE = 22
    SOFTMAX = 25
    TANH = 28
    PAD = 34
    GATHER = 36
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    STRIDED_SLICE = 45
    EXP = 47
    CAST = 53
    PRELU = 54
    MAXIMUM = 55
    MINIMUM = 57
    LESS = 58
    NEG = 59
    PADV2 = 60
    GREATER = 61
    GREATER_EQUAL = 62
    LESS_EQUAL = 63
    EQUAL = 71
    NOT_EQUAL = 72
    LOG = 73
    SUM = 74
    SQRT = 75
    POW = 78
    REDUCE_MAX = 82
    REDUCE_MIN = 89
    LEAKY_RELU = 98
    ABS = 101
    ELU = 111
    QUANTIZE = 114
    ROUND = 116
    HARD_SWISH = 117
    SELECT_V2 = 123
    BATCH_MATMUL = 126
    GELU = 150


class Type(IntEnum):
    """`TensorType`."""

    FLOAT32 = 0
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    BOOL = 6
    INT16 = 7
    INT8 = 9


class Fused(IntEnum):
    """`ActivationFunctionType`: what an operator does with its sums at last."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3


class Padding(IntEnum):
    SAME = 0
    VALID = 1


# The version of an operator on floats, on int8 and on int16; of others it is 1.
VERSIONS: dict[Op, tuple[int, int, int]] = {
    Op.ADD: (1, 2, 3),
    Op.CONCATENATION: (1, 2, 3),
    Op.CONV_2D: (1, 3, 4),
    Op.DEPTHWISE_CONV_2D: (1, 3, 5),
    Op.DEQUANTIZE: (1, 2, 3),
    # With a scale for each output; runtimes that know less would take them for none, and give zeros.
    Op.FULLY_CONNECTED: (1, 12, 12),
    Op.GATHER: (1, 2, 4),
    Op.MAX_POOL_2D: (1, 2, 3),
    Op.MAXIMUM: (1, 2, 4),
    Op.MINIMUM: (1, 2, 4),
    Op.MUL: (1, 2, 4),
    Op.PAD: (1, 2, 3),
    Op.PADV2: (1, 2, 3),
    Op.STRIDED_SLICE: (1, 2, 4),
    Op.SUB: (1, 2, 5),
    Op.TRANSPOSE: (1, 2, 4),
}
_COLUMNS = {Type.INT8: 1, Type.INT16: 2}


def version(op: Op, kind: Type) -> int:
    """The version of an operator that knows a type of activations."""
    return VERSIONS.get(op, (1, 1, 1))[_COLUMNS.get(kind, 0)]


@dataclass(frozen=True)
class Number:
    """A field of a table: its kind as the builder of `flatbuffers` calls it, and its value."""

    kind: str
    value: float


@dataclass(frozen=True)
class Options:
    """What an operator says of itself: the member of the union `BuiltinOptions`, and its fields by their places."""

    union: int
    fields: Mapping[int, Number]


def byte(value: int) -> Number:
    return Number("Int8", value)


def integer(value: int) -> Number:
    return Number("Int32", value)


def real(value: float) -> Number:
    return Number("Float32", value)


def truth(value: bool) -> Number:
    return Number("Bool", value)


def convolution(
    padding: Padding, stride: tuple[int, int], dilation: tuple[int, int], fused: Fused, multiplier: int | None
) -> Options:
    """Of CONV_2D and, with output channels for each input channel, of DEPTHWISE_CONV_2D; (height, width) each."""
    own = [] if multiplier is None else [integer(multiplier)]
    numbers = [
        byte(padding), integer(stride[1]), integer(stride[0]), *own, byte(fused), integer(dilation[1]),
        integer(dilation[0]),
    ]  # fmt: skip
    return Options(1 if multiplier is None else 2, dict(enumerate(numbers)))


def fully_connected(fused: Fused, keep_axes: bool) -> Options:
    return Options(8, {0: byte(fused), 2: truth(keep_axes)})


def pool(padding: Padding, kernel: tuple[int, int], stride: tuple[int, int]) -> Options:
    return Options(
        5, dict(enumerate([byte(padding), *(integer(side) for side in (stride[1], stride[0], kernel[1], kernel[0]))]))
    )


# Integers of 16 bits have scales of their own, not powers of two.
SUM = Options(11, {0: byte(0), 1: truth(False)})
DIFFERENCE = Options(28, {0: byte(0), 1: truth(False)})
PRODUCT = Options(21, {0: byte(0)})
QUOTIENT = Options(29, {0: byte(0)})
SOFTMAX = Options(9, {0: real(1.0)})


def along(axis: int) -> Options:
    """Of CONCATENATION."""
    return Options(10, {0: integer(axis)})


def picks(axis: int) -> Options:
    """Of GATHER."""
    return Options(23, {0: integer(axis)})


def part(whole_axes: int) -> Options:
    """Of STRIDED_SLICE; a bit for each axis that stays whole."""
    return Options(32, {0: integer(whole_axes), 1: integer(whole_axes)})


def reduction(keep_axes: bool) -> Options:
    return Options(27, {0: truth(keep_axes)})


def leaky(slope: float) -> Options:
    return Options(75, {0: real(slope)})


def gelu(approximate: bool) -> Options:
    return Options(116, {0: truth(approximate)})


def local_response(radius: int, bias: float, alpha: float, beta: float) -> Options:
    return Options(13, {0: integer(radius), 1: real(bias), 2: real(alpha), 3: real(beta)})


def cast(source: Type, result: Type) -> Options:
    return Options(37, {0: byte(source), 1: byte(result)})
