"""What an ONNX file says of itself, and the hash of its graph, read as bytes: a device that runs it has no onnx."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

# Of onnx.proto: `ModelProto.graph` and `.metadata_props`, whose entries have a key and a value.
_GRAPH, _PROPERTIES, _KEY, _VALUE = 7, 14, 1, 2
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def read_properties(path: Path) -> tuple[dict[str, str], str]:
    """The properties of an ONNX file, and the SHA-256 of its graph.

    Raises:
        ValueError: it isn't one.
        OSError: it can't be read.
    """
    properties, digest = {}, hashlib.sha256()
    for field, content in _fields(memoryview(path.read_bytes())):
        if field == _GRAPH:
            digest.update(content)
        elif field == _PROPERTIES:
            entry = {name: bytes(part).decode() for name, part in _fields(content)}
            properties[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    return properties, digest.hexdigest()


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message that has bytes; raises ValueError where it is none."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key & 7 == _VARINT:
            _, place = _varint(data, place)
        elif key & 7 in (_EIGHT, _FOUR):
            place += 8 if key & 7 == _EIGHT else 4
        elif key & 7 == _BYTES:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise ValueError("it ends in the middle")
            yield key >> 3, data[place : place + size]
            place += size
        else:
            raise ValueError("no protobuf message")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte, place = data[place], place + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("no number")
