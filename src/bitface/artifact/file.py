"""Reads and writes `.bitface` files: compressed safetensors with a JSON description, checked to the last bit."""

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from bitface.artifact import check
from bitface.artifact.packing import pack, unpack
from bitface.errors import BitfaceError, one_line
from bitface.files import write_bytes
from bitface.graph import Network, store
from bitface.graph.builder import uncollected
from bitface.limits import LARGEST_FILE, LARGEST_HEADER, largest_content
from bitface.preprocess import Preprocess

FORMAT = 1
MAGIC = b"BITFACE\n"
_SIGNED_FROM = 40  # magic, SHA-256 of everything after it
_CONTENT_FROM = 48  # its size


@dataclass(frozen=True)
class Artifact:
    """An integer network and what is known about it.

    Attributes:
        network: its graph holds the modules of `graph.integer`; its preprocessing is the teacher's.
        plan: the bit plan, in the keys of its YAML form.
        teacher: name, fingerprint and embedding size of the float network.
        data: what kind of faces made it, how many, and the hash of their manifest; never a face or a name.
        thresholds: decision thresholds that belong to this artifact, with their FAR and interval.
        card: free facts (versions, seed, method), plain JSON.
    """

    network: Network
    plan: dict[str, Any]
    teacher: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    thresholds: list[dict[str, Any]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


def write(path: Path, artifact: Artifact) -> int:
    """Writes the file atomically and gives its size in bytes.

    Raises:
        BitfaceError: the file can't be written.
        ValueError: the network has no preprocessing, or holds a module outside the vocabulary or a value outside JSON.
    """
    network = artifact.network
    if network.preprocess is None:
        raise ValueError("an artifact needs a preprocessing")
    graph, tensors = store.dump(network.graph)
    for name, (bits, _) in check.packed_weights(graph).items():
        tensors[name] = torch.from_numpy(pack(tensors[name].numpy(), bits))
    description = {
        "format": FORMAT,
        "name": network.name,
        "graph": graph,
        "preprocess": network.preprocess.to_json(),
        "plan": artifact.plan,
        "teacher": artifact.teacher,
        "data": artifact.data,
        "thresholds": artifact.thresholds,
        "card": artifact.card,
    }
    text = json.dumps(description, separators=(",", ":"), allow_nan=False)
    content = safetensors.torch.save({key: value.contiguous() for key, value in tensors.items()}, {"bitface": text})
    data = _wrap(content)
    write_bytes(path, data)
    return len(data)


def read(path: Path, sha256: str | None = None) -> Artifact:
    """The artifact of a file. Nothing in the file is executed.

    Args:
        sha256: of the file as somebody knows it.

    Raises:
        BitfaceError: no such file, another one than is known, another format or version, or damage (each in one line).
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BitfaceError(f"{path}: larger than 2 GB; no .bitface file is")
        data = path.read_bytes()
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror})") from error
    if sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise BitfaceError(f"{path}: has changed since it was opened; open it again")
    try:
        with uncollected():
            return _parse(data)
    except Exception as error:  # whatever json, safetensors and torch make of a file that was tampered with
        reason = one_line(f"no {error}" if isinstance(error, KeyError) else error)[:400]
        raise BitfaceError(f"{path}: {reason if isinstance(error, BitfaceError) else f'damaged ({reason})'}") from error


def _parse(data: bytes) -> Artifact:
    content = _unwrap(data)
    description = _description(content)
    if description["format"] != FORMAT:
        raise BitfaceError(
            f"format {description['format']} is not the one this bitface reads ({FORMAT}); update bitface"
        )
    tensors = safetensors.torch.load(content)
    check.tensors(description["graph"], tensors)
    for name, (bits, shape) in check.packed_weights(description["graph"]).items():
        tensors[name] = torch.from_numpy(unpack(tensors[name].numpy(), bits, shape.numel())).reshape(shape)
    graph = store.load(description["graph"], tensors)
    check.graph(graph)
    preprocess = Preprocess.from_json(description["preprocess"])
    network = Network(graph, str(description["name"]), preprocess, source_bytes=len(data))
    if preprocess.size != network.size or preprocess.channels != network.channels:
        raise ValueError("its preprocessing has another image size than its network")
    return Artifact(network, **check.facts(description))


def _wrap(content: bytes) -> bytes:
    stream = zlib.compress(content, 9)
    if len(content) > largest_content(len(stream)):
        stream = zlib.compress(content, 0)
    signed = struct.pack("<Q", len(content)) + stream
    return MAGIC + hashlib.sha256(signed).digest() + signed


def _unwrap(data: bytes) -> bytes:
    if not data.startswith(MAGIC) or len(data) < _CONTENT_FROM:
        raise BitfaceError("no .bitface file, or a truncated one")
    signed = memoryview(data)[_SIGNED_FROM:]
    if hashlib.sha256(signed).digest() != data[len(MAGIC) : _SIGNED_FROM]:
        raise BitfaceError("damaged: its checksum doesn't fit its content; copy the file again")
    (size,) = struct.unpack("<Q", data[_SIGNED_FROM:_CONTENT_FROM])
    stream = data[_CONTENT_FROM:]
    if size > largest_content(len(stream)):
        raise ValueError(f"{size} bytes of content in {len(stream)}")
    inflater = zlib.decompressobj()
    content = inflater.decompress(stream, size + 1)
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise ValueError("its content has another size than it says")
    return content


def _description(content: bytes) -> dict[str, Any]:
    """The JSON text from the header of the safetensors content."""
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(LARGEST_HEADER, len(content) - 8):
        raise ValueError(f"a header of {length} bytes")
    result: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["bitface"])
    return result
