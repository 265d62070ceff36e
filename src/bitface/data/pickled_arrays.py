"""numpy's arrays as a pickle describes them: names of functions and their arguments, of which nothing is called.

A pickle asks for `numpy.core.multiarray._reconstruct` and then sets what that gives; here the name is only compared
with the few that arrays are made of, and the arguments are kept. The numbers stay where they are in the file.
"""

import codecs
import mmap
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

# numpy 2 moved its core.
_CORES = ("numpy.core", "numpy._core")
_NAMES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{(f"{core}.multiarray", name): name for core in _CORES for name in ("_reconstruct", "scalar")},
    **{(f"{core}.numeric", "_frombuffer"): "_frombuffer" for core in _CORES},
}
_CODES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
_OBJECTS = "O8"


class NotAnArray(Exception):
    """Why what a pickle describes is no array that can be read."""


@dataclass(frozen=True)
class Span:
    """Bytes of the file from `start` to before `end`.

    Attributes:
        form: `bytes` as they are; `quoted`: a string of Python 2, with escapes; else the encoding of a text.
        letters: each letter of the text stands for a byte, as Python 3 writes bytes for Python 2.
    """

    start: int
    end: int
    form: str = "bytes"
    letters: bool = False

    def read(self, data: mmap.mmap) -> bytes:
        """The bytes that are meant. Raises ValueError where they can't be decoded."""
        content = data[self.start : self.end]
        if self.form == "quoted":
            return codecs.escape_decode(content)[0]
        return content.decode(self.form).encode("latin1") if self.letters else content


@dataclass(frozen=True)
class Name:
    """A function or a class that a pickle asks for, one of those that arrays are made of."""

    word: str


@dataclass
class Dtype:
    code: str
    order: str = "|"


@dataclass
class Array:
    """An array: `content` its numbers, or a list of objects.

    Attributes:
        shape: of the array; empty before it is set.
    """

    dtype: Dtype | None = None
    shape: tuple[int, ...] = ()
    content: Span | list[Any] = field(default_factory=list)

    def numbers(self, data: mmap.mmap) -> list[int]:
        """The whole numbers of an array of one axis.

        Raises:
            NotAnArray: it has more axes, or other content than its shape says.
        """
        if self.dtype is None or not isinstance(self.content, Span) or len(self.shape) != 1:
            raise NotAnArray("isn't an array of numbers with one axis")
        order = "<" if self.dtype.order in "|=" else self.dtype.order
        kind = np.dtype(f"{order}{self.dtype.code}")
        content = self.content.read(data)
        if len(content) != kind.itemsize * self.shape[0]:
            raise NotAnArray("has other content than its shape says")
        return [int(number) for number in np.frombuffer(content, kind)]


def named(module: str, name: str) -> Name | None:
    """What a pickle asks for by name; None: nothing that an array is made of."""
    word = _NAMES.get((module, name))
    return Name(word) if word else None


def called(name: Any, arguments: Any, data: mmap.mmap) -> Any:
    """What a call would give, without calling anything.

    Raises:
        NotAnArray: it is no call that makes an array, a type, a number or bytes.
    """
    match name, arguments:
        case Name("_reconstruct"), (Name("ndarray"), tuple(), _):
            return Array()
        case Name("dtype"), (Span() as code, *_):
            return Dtype(_code(code, data))
        case Name("encode"), (Span() as text, Span() as encoding) if _word(encoding, data) == "latin1":
            if text.form not in ("bytes", "quoted"):
                return replace(text, letters=True)
        case Name("scalar"), (Dtype() as dtype, Span() as content):
            return Array(dtype, (1,), content).numbers(data)[0]
        case Name("_frombuffer"), (Span() as content, Dtype() as dtype, tuple() as shape, *_):
            return Array(dtype, _shape(shape), content)
    raise NotAnArray("makes something else than an array of numbers")


def set_state(target: Any, state: Any, data: mmap.mmap) -> None:
    """Gives an array or a type what a pickle says of it.

    Raises:
        NotAnArray: it is neither, or the state isn't of that kind.
    """
    match target, state:
        case Dtype(), (int(), Span() as order, None, None, None, *_):
            target.order = _word(order, data)
            if target.order not in ("|", "<", ">", "="):
                raise NotAnArray("has an unknown order of bytes")
        case Array(), (int(), tuple() as shape, Dtype() as dtype, _, Span() | list() as content):
            if isinstance(content, list) is not (dtype.code == _OBJECTS):
                raise NotAnArray("has other content than its type says")
            target.dtype, target.shape, target.content = dtype, _shape(shape), content
        case _:
            raise NotAnArray("sets something else than an array of numbers")


def _shape(sides: tuple[Any, ...]) -> tuple[int, ...]:
    if not all(type(side) is int and side >= 0 for side in sides):
        raise NotAnArray("has a shape that isn't one")
    return sides


def _code(span: Span, data: mmap.mmap) -> str:
    code = _word(span, data)
    if code not in _CODES and code != _OBJECTS:
        raise NotAnArray(f"holds numbers of the kind {code!r}")
    return code


def _word(span: Span, data: mmap.mmap) -> str:
    return span.read(data)[:16].decode("ascii", "replace")
