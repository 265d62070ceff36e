"""Reads and writes `.bitface` files: safetensors with a JSON description, checked to the last bit."""

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bitface.artifact.packing import pack, packed_size, unpack
from bitface.errors import BitfaceError
from bitface.files import write_bytes
from bitface.graph import Network, store
from bitface.preprocess import Preprocess

FORMAT = 1
_LARGEST_FILE = 2 << 30
_LARGEST_HEADER = 16 << 20
_LARGEST_SIDE = 1 << 24


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
        ValueError: the network has no preprocessing or holds a module outside the vocabulary.
    """
    network = artifact.network
    if network.preprocess is None:
        raise ValueError("an artifact needs a preprocessing")
    graph, tensors = store.dump(network.graph)
    for name, (bits, _) in _packed_weights(graph).items():
        tensors[name] = torch.from_numpy(pack(tensors[name].numpy(), bits))
    content = {
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
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    metadata = {"bitface": text, "sha256": _checksum(text, tensors)}
    data = safetensors.torch.save(tensors, metadata)
    write_bytes(path, data)
    return len(data)


def read(path: Path) -> Artifact:
    """The artifact of a file. Nothing in the file is executed.

    Raises:
        BitfaceError: no such file, another format or version, or damage (each in one line).
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BitfaceError(f"{path}: larger than 2 GB; no .bitface file is")
        data = path.read_bytes()
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror})") from error
    try:
        return _parse(data)
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise BitfaceError(
            f"{path}: damaged ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from error
    except (safetensors.SafetensorError, RuntimeError, MemoryError) as error:
        raise BitfaceError(
            f"{path}: no .bitface file, or a damaged one ({str(error).splitlines()[0]})"
        ) from error


def _parse(data: bytes) -> Artifact:
    text, checksum = _metadata(data)
    tensors = safetensors.torch.load(data)
    if _checksum(text, tensors) != checksum:
        raise BitfaceError("damaged: its checksum doesn't fit its content; copy the file again")
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise BitfaceError(
            f"format {content['format']} is not the one this bitface reads ({FORMAT}); update bitface"
        )
    packed = _packed_weights(content["graph"])
    for name, (bits, shape) in packed.items():
        count = int(np.prod(shape))
        tensors[name] = torch.from_numpy(unpack(tensors[name].numpy(), bits, count)).reshape(shape)
    graph = store.load(content["graph"], tensors)
    network = Network(
        graph, str(content["name"]), Preprocess.from_json(content["preprocess"]), source_bytes=len(data)
    )
    if network.preprocess is None or network.preprocess.size != network.size:
        raise ValueError("its preprocessing has another image size than its network")
    fields = ("plan", "teacher", "data", "thresholds", "card")
    return Artifact(network, **{key: content[key] for key in fields})


def _metadata(data: bytes) -> tuple[str, str]:
    """The description and its checksum, from the header alone."""
    if len(data) < 8:
        raise BitfaceError("no .bitface file, or a truncated one")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LARGEST_HEADER, len(data) - 8):
        raise BitfaceError("no .bitface file, or a truncated one")
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    if "bitface" not in metadata or "sha256" not in metadata:
        raise BitfaceError("a safetensors file, but not a .bitface one")
    return metadata["bitface"], metadata["sha256"]


def _packed_weights(graph: dict[str, Any]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Bits and shape of every weight tensor that is packed, from the description of the graph."""
    result = {}
    for node in graph["nodes"]:
        values = node.get("attributes", {})
        if node["op"] == "IntegerConv":
            sides = [
                values["out_channels"],
                values["in_channels"] // values.get("groups", 1),
                *values["kernel_size"],
            ]
        elif node["op"] == "IntegerLinear":
            sides = [values["out_features"], values["in_features"]]
        else:
            continue
        if any(not isinstance(side, int) or not 0 < side < _LARGEST_SIDE for side in sides):
            raise ValueError(f"'{node['name']}' has the shape {sides}")
        bits = values.get("bits", 8)
        if packed_size(int(np.prod(sides)), 1) > _LARGEST_FILE:
            raise ValueError(f"'{node['name']}' has the shape {sides}")
        result[f"{node['name']}.weight"] = (bits, tuple(sides))
    return result


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
