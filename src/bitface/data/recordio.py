"""Records as MXNet writes them, and the header of an image in them.

A record is `u32 0xced7230a`, `u32 part << 29 | length`, and so many bytes, padded to 4. A payload that holds the first
number itself, at a multiple of 4, is cut there: the parts are 1 (first), 2 and 3 (last) instead of 0 (whole), and the
number stands between them again when they are joined. The payload of an image is `u32 flag, f32 label, u64 id,
u64 id2`, then, where flag is above 0, as many f32 labels, then the encoded image.
"""

import struct
from dataclasses import dataclass

import numpy as np

from bitface.data.dataset import OpenFile
from bitface.data.images import ImageSkipped

MAGIC = struct.pack("<I", 0xCED7230A)
WHOLE, FIRST, MIDDLE, LAST = range(4)
_LENGTH = (1 << 29) - 1
_FRAME, _HEADER = struct.Struct("<II"), struct.Struct("<IfQQ")
# Of a record so much is read at once, and the rest where it is longer; a crop takes 5 to 10 KB.
_GUESS = 16_384
LARGEST = 256_000_000


@dataclass(frozen=True)
class Record:
    """A record of an image set: its labels, and the encoded image, empty in those that hold labels alone."""

    labels: tuple[float, ...]
    image: bytes


def payload(file: OpenFile, begin: int) -> bytes:
    """What a record holds that begins at a byte. Raises ImageSkipped where none does, or it isn't whole."""
    parts: list[bytes] = []
    total = 0
    while True:
        block = file.read(begin, _GUESS)
        if len(block) < _FRAME.size or block[:4] != MAGIC:
            where = "the file ends before" if begin + _FRAME.size > file.size else "no record begins at"
            raise ImageSkipped(f"{where} byte {begin}")
        word = _FRAME.unpack_from(block)[1]
        part, length = word >> 29, word & _LENGTH
        total += length
        if begin + _FRAME.size + length > file.size or total > LARGEST:
            raise ImageSkipped(f"truncated: the record at byte {begin} ends beyond the file")
        if part not in ((FIRST, WHOLE) if not parts else (MIDDLE, LAST)):
            raise ImageSkipped(f"the record at byte {begin} is a part of another one")
        content = block[_FRAME.size : _FRAME.size + length]
        if len(content) < length:
            content += file.read(begin + len(block), length - len(content))
        parts.append(content)
        if part in (WHOLE, LAST):
            return MAGIC.join(parts)
        begin += _FRAME.size + (length + 3 & ~3)


def record(file: OpenFile, begin: int) -> Record:
    """The record that begins at a byte. Raises ImageSkipped."""
    return unpacked(payload(file, begin), begin)


def unpacked(content: bytes, begin: int) -> Record:
    """A record's payload. Raises ImageSkipped where it is too short."""
    if len(content) < _HEADER.size:
        raise ImageSkipped(f"the record at byte {begin} is shorter than its header")
    flag, label, _, _ = _HEADER.unpack_from(content)
    end = _HEADER.size + 4 * flag
    if end > len(content):
        raise ImageSkipped(f"the record at byte {begin} says that it holds {flag} labels, which don't fit it")
    labels = struct.unpack_from(f"<{flag}f", content, _HEADER.size) if flag else (label,)
    return Record(labels, content[end:])


def labels_at(file: OpenFile, begins: np.ndarray) -> np.ndarray:
    """The first label of each record, float64 `[N]`, by its header alone; NaN where no record begins."""
    labels = np.full(len(begins), np.nan)
    read, frame, header = file.read, _FRAME.size, _HEADER.size
    for place, begin in enumerate(begins.tolist()):
        block = read(begin, frame + header + 4)
        if len(block) < frame + header or block[:4] != MAGIC:
            continue
        flag, label, _, _ = _HEADER.unpack_from(block, frame)
        if flag == 0:
            labels[place] = label
        elif len(block) == frame + header + 4:
            labels[place] = struct.unpack_from("<f", block, frame + header)[0]
    return labels


def packed(number: int, labels: tuple[float, ...], image: bytes = b"") -> bytes:
    """An image record with its frame, as `record` reads it."""
    several = len(labels) != 1
    content = _HEADER.pack(len(labels) if several else 0, 0.0 if several else labels[0], number, 0)
    content += struct.pack(f"<{len(labels)}f", *labels) if several else b""
    return framed(content + image)


def framed(content: bytes) -> bytes:
    """A payload with its frame, cut where it holds the number that a record begins with."""
    cuts = [place for place in _all(content, MAGIC) if place % 4 == 0]
    begins, ends = [0, *(place + 4 for place in cuts)], [*cuts, len(content)]
    parts = []
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        part = WHOLE if not cuts else FIRST if number == 0 else LAST if number == len(cuts) else MIDDLE
        own = content[begin:end]
        parts.append(MAGIC + struct.pack("<I", part << 29 | len(own)) + own + b"\0" * (-len(own) % 4))
    return b"".join(parts)


def _all(content: bytes, word: bytes) -> list[int]:
    places, place = [], content.find(word)
    while place >= 0:
        places.append(place)
        place = content.find(word, place + 1)
    return places
