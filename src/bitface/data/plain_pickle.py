"""Pickles that hold nothing but lists, tuples, bytes, numbers and arrays of them, read without running anything.

A pickle is a program for a machine with a stack, and Python's own reader runs all of it, calls of functions included.
Here only those instructions are known that build data (protocols 0 to 5; see the standard library's `pickletools`); at
any other one reading ends, before its arguments are read. Names of functions and classes are compared with those that
numpy's arrays are made of (`pickled_arrays`), and none is looked up or called. Bytes stay where they are in the file,
so that a file can ask for no more memory than it has instructions.
"""

import mmap
import pickle
import pickletools
import struct
from typing import Any

from bitface.data.pickled_arrays import NotAnArray, Span, called, named, set_state

_MAX_STEPS = 1_000_000
_MAX_WORD = 64
_MARK = object()
_WHY = (
    ", which isn't read because a pickle can run anything; pack the images as bytes and the flags as plain true or "
    "false"
)

# What follows the instruction, in the words of `struct`.
_BYTES = {
    pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q",
    pickle.SHORT_BINSTRING: "<B", pickle.BINSTRING: "<i", pickle.BYTEARRAY8: "<Q",
}  # fmt: skip
_TEXTS = {pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q"}
_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H"}
_PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
_SKIPPED = {pickle.PROTO: 1, pickle.FRAME: 8}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


class Refused(Exception):
    """Why the file isn't read on."""


def load(data: mmap.mmap) -> Any:
    """What a pickle builds: lists, tuples, whole numbers, flags, None, `Array`s, and `Span`s in the place of bytes and
    text.

    Raises:
        Refused: it isn't whole, has more than a million instructions, or wants more than data.
    """
    return _Machine(data).run()


class _Machine:
    """The stack and the memo of a pickle, and the instructions that build data."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(_MAX_STEPS):
            start = self._at
            code = self._take(1)
            if code == pickle.STOP:
                value = self._pop(start)
                if self._stack:
                    raise Refused(f"is damaged: values are left over at byte {start}")
                return value
            known = self._counts(code) or self._gathers(code, start) or self._remembers(code, start)
            if not (known or self._describes(code, start)):
                raise Refused(_unknown(code, start))
        raise Refused(f"has more than {_MAX_STEPS:,} instructions; no verification set needs as many")

    def _skip(self, size: int) -> int:
        """Where the next bytes begin, so many, which have now been passed."""
        start = self._at
        if not 0 <= size <= len(self._data) - start:
            raise Refused(f"is damaged: {size} bytes are announced at byte {start}, but the file ends before")
        self._at += size
        return start

    def _take(self, size: int) -> bytes:
        return self._data[self._skip(size) : self._at]

    def _span(self, size: int) -> Span:
        return Span(self._skip(size), self._at)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _decimal(self) -> int:
        end = self._data.find(b"\n", self._at, self._at + _MAX_WORD)
        if end < 0:
            raise Refused(f"is damaged: no number at byte {self._at}")
        word = self._take(end + 1 - self._at)[:-1].removesuffix(b"L")
        try:
            return int(word)
        except ValueError:
            raise Refused(f"is damaged: {word!r} is no number, before byte {self._at}") from None

    def _top(self, start: int) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise Refused(f"is damaged: the instruction at byte {start} lacks a value")
        return self._stack[-1]

    def _pop(self, start: int) -> Any:
        value = self._top(start)
        self._stack.pop()
        return value

    def _since_mark(self, start: int) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise Refused(f"is damaged: the instruction at byte {start} lacks the beginning of a list")

    def _counts(self, code: bytes) -> bool:
        """Bytes, numbers, and what only frames them. False for another instruction."""
        if code in _BYTES:
            self._stack.append(self._span(self._number(_BYTES[code])))
        elif code in _TEXTS:
            span = self._span(self._number(_TEXTS[code]))
            self._stack.append(Span(span.start, span.end, "utf-8"))
        elif code == pickle.UNICODE:
            line = self._line(len(self._data))
            self._stack.append(Span(line.start, line.end, "raw-unicode-escape"))
        elif code == pickle.NONE:
            self._stack.append(None)
        elif code in (pickle.NEWTRUE, pickle.NEWFALSE):
            self._stack.append(code == pickle.NEWTRUE)
        elif code in _NUMBERS:
            self._stack.append(self._number(_NUMBERS[code]))
        elif code == pickle.STRING:
            self._stack.append(self._quoted())
        elif code in (pickle.INT, pickle.LONG):
            self._stack.append(self._decimal())
        elif code == pickle.LONG1:
            self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))
        elif code in _SKIPPED:
            self._take(_SKIPPED[code])
        else:
            return False
        return True

    def _quoted(self) -> Span:
        """A string of Python 2, as protocol 0 writes it: a line in quotes."""
        line = self._line(len(self._data))
        quote = self._data[line.start : line.start + 1]
        if line.end - line.start < 2 or quote not in (b"'", b'"') or self._data[line.end - 1 : line.end] != quote:
            raise Refused(f"is damaged: no quotes around the string at byte {line.start}")
        return Span(line.start + 1, line.end - 1, "quoted")

    def _gathers(self, code: bytes, start: int) -> bool:
        """Lists and tuples. False for another instruction."""
        if code == pickle.MARK:
            self._stack.append(_MARK)
        elif code == pickle.EMPTY_LIST:
            self._stack.append([])
        elif code == pickle.EMPTY_TUPLE:
            self._stack.append(())
        elif code == pickle.LIST:
            self._stack.append(self._since_mark(start))
        elif code == pickle.TUPLE:
            self._stack.append(tuple(self._since_mark(start)))
        elif code in _TUPLES:
            self._stack.append(tuple(reversed([self._pop(start) for _ in range(_TUPLES[code])])))
        elif code in (pickle.APPEND, pickle.APPENDS):
            more = [self._pop(start)] if code == pickle.APPEND else self._since_mark(start)
            if not self._stack or not isinstance(self._stack[-1], list):
                raise Refused(f"is damaged: the instruction at byte {start} lacks the list to append to")
            self._stack[-1].extend(more)
        else:
            return False
        return True

    def _remembers(self, code: bytes, start: int) -> bool:
        """Values under a number, and values by their number. False for another instruction."""
        if code == pickle.MEMOIZE:
            self._memo[len(self._memo)] = self._top(start)
        elif code in _PUTS or code == pickle.PUT:
            number = self._decimal() if code == pickle.PUT else self._number(_PUTS[code])
            self._memo[number] = self._top(start)
        elif code in _GETS or code == pickle.GET:
            number = self._decimal() if code == pickle.GET else self._number(_GETS[code])
            if number not in self._memo:
                raise Refused(f"is damaged: the instruction at byte {start} refers to what wasn't there before")
            self._stack.append(self._memo[number])
        else:
            return False
        return True

    def _describes(self, code: bytes, start: int) -> bool:
        """Names, and what is made of them by calls that nobody makes. False for another instruction."""
        if code == pickle.GLOBAL:
            module, name = self._line(_MAX_WORD), self._line(_MAX_WORD)
            self._stack.append(self._named(module, name, start))
        elif code == pickle.STACK_GLOBAL:
            name, module = self._pop(start), self._pop(start)
            self._stack.append(self._named(module, name, start))
        elif code in (pickle.REDUCE, pickle.BUILD):
            value = self._pop(start)
            try:
                if code == pickle.BUILD:
                    set_state(self._top(start), value, self._data)
                else:
                    self._stack.append(called(self._pop(start), value, self._data))
            except (NotAnArray, ValueError) as error:
                raise Refused(
                    f"holds more than encoded images and flags: an object at byte {start} {error}{_WHY}"
                ) from None
        else:
            return False
        return True

    def _line(self, longest: int) -> Span:
        end = self._data.find(b"\n", self._at, self._at + longest)
        if end < 0:
            raise Refused(f"is damaged: the string at byte {self._at} doesn't end")
        line = self._span(end - self._at)
        self._take(1)
        return line

    def _named(self, module: Any, name: Any, start: int) -> Any:
        if not (isinstance(name, Span) and isinstance(module, Span)):
            raise Refused(f"is damaged: the instruction at byte {start} lacks a name")
        words = [word.read(self._data)[:_MAX_WORD].decode("ascii", "replace") for word in (module, name)]
        known = named(*words)
        if known is None:
            text = "".join(letter if letter.isprintable() else " " for letter in ".".join(words))
            raise Refused(f"holds more than encoded images and flags: it asks for {text} at byte {start}{_WHY}")
        return known


def _unknown(code: bytes, start: int) -> str:
    name = next((info.name for info in pickletools.opcodes if info.code.encode("latin-1") == code), None)
    if name is None:
        return f"is no pickle: byte {start} is {code!r}; give an InsightFace .bin pack"
    return f"holds more than encoded images and flags, such as sets or objects ({name} at byte {start}){_WHY}"
