"""A reader of `.bitface` files made from `docs/artifact.md` alone, without bitface, torch or safetensors."""

import hashlib
import json
import struct
import zlib
from typing import Any

import numpy as np

TYPES = {"U8": "u1", "I8": "i1", "I32": "<i4", "I64": "<i8", "F32": "<f4"}


def content_of(data: bytes) -> bytes:
    """Magic, SHA-256 of the rest, size, zlib stream."""
    assert data[:8] == b"BITFACE\n"
    assert hashlib.sha256(data[40:]).digest() == data[8:40]
    (size,) = struct.unpack("<Q", data[40:48])
    content = zlib.decompress(data[48:])
    assert len(content) == size
    return content


def wrap(content: bytes, size: int | None = None, level: int = 9) -> bytes:
    """The file of a content, signed as one."""
    signed = struct.pack("<Q", len(content) if size is None else size) + zlib.compress(content, level)
    return b"BITFACE\n" + hashlib.sha256(signed).digest() + signed


def parse(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors as stored."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    description = json.loads(header.pop("__metadata__")["bitface"])
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        flat = np.frombuffer(content[8 + length + first : 8 + length + last], TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return description, tensors


def unpacked(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors with the weights as int8 in their shapes."""
    result = dict(tensors)
    for node in description["graph"]["nodes"]:
        values = node.get("attributes", {})
        if node["op"] == "IntegerConv":
            inputs = values["in_channels"] // values.get("groups", 1)
            shape = (values["out_channels"], inputs, *values["kernel_size"])
        elif node["op"] == "IntegerLinear":
            shape = (values["out_features"], values["in_features"])
        else:
            continue
        bits = values.get("bits", 8)
        stream = int.from_bytes(tensors[f"{node['name']}.weight"].tobytes(), "little")
        numbers = [(stream >> (bits * index)) & (2**bits - 1) for index in range(int(np.prod(shape)))]
        signs = [1 - 2 * number for number in numbers]
        signed = (
            signs if bits == 1 else [number - 2**bits if number >= 2 ** (bits - 1) else number for number in numbers]
        )
        result[f"{node['name']}.weight"] = np.array(signed, np.int8).reshape(shape)
    return result
