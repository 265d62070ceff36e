"""A face network as the rest of the program sees it: its graph and what is known about it."""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.fx import GraphModule

from bitface import backbones
from bitface.errors import BitfaceError
from bitface.graph import ops, torch_reader
from bitface.graph.builder import shape_of
from bitface.graph.onnx_reader import QUANTIZED, from_onnx
from bitface.graph.store import dump
from bitface.preprocess import Preprocess, parse

METADATA_KEY = "bitface.preprocess"


@dataclass(frozen=True)
class Network:
    """A graph `[N, 3, H, W]` → `[N, embedding_size]`, its name, preprocessing (None: unknown), notes and warnings."""

    graph: GraphModule
    name: str
    preprocess: Preprocess | None = None
    notes: tuple[str, ...] = ()
    source_bytes: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        height, width = shape_of(next(iter(self.graph.graph.nodes)))[2:]
        return height, width

    @property
    def embedding_size(self) -> int:
        return shape_of(self.graph.graph.output_node().all_input_nodes[0])[1]

    def fingerprint(self) -> str:
        """SHA-256 over operators, topology, names, weights and preprocessing."""
        description, tensors = dump(self.graph)
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        digest.update(json.dumps(self.preprocess.to_json() if self.preprocess else None).encode())
        for key in sorted(tensors):
            value = tensors[key].contiguous()
            digest.update(f"{key} {value.dtype} {list(value.shape)}".encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def with_preprocess(self, preprocess: Preprocess) -> "Network":
        return replace(self, preprocess=preprocess)


def load_network(path: Path, preprocess: str | None = None) -> Network:
    """The network of an ONNX file or of a state dict of a known backbone.

    Args:
        path: `.onnx`, or `.pt`, `.pth`, `.safetensors` with weights that `backbones` recognises.
        preprocess: a word of `preprocess.parse`. Without one: what the file itself says, `rgb-raw` where the
            graph begins by normalising the image, otherwise None.

    Raises:
        BitfaceError: the file is no face network, or holds NaN or infinite weights.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise BitfaceError(f"{path}: no such {'file, but a folder' if os.path.isdir(path) else 'file'}")
    metadata: dict[str, str] = {}
    if path.suffix.lower() == ".onnx":
        graph, metadata = from_onnx(path)
    elif path.suffix.lower() in (".pt", ".pth", ".safetensors", ".ckpt"):
        module = backbones.load(path)
        try:
            graph = torch_reader.from_module(module)
        except BitfaceError as error:
            raise BitfaceError(
                f"{path}: isn't for images of 112 x 112 ({error}); export the network to ONNX"
            ) from error
    else:
        raise BitfaceError(f"{path}: unknown kind of model; use .onnx, or .pt, .pth, .safetensors of a known backbone")
    network = _checked(graph, str(path), path.stem)
    word = preprocess or " ".join(metadata.get(METADATA_KEY, "").split()) or ("rgb-raw" if normalises(graph) else None)
    return replace(
        network,
        preprocess=parse(word, network.size) if word else None,
        source_bytes=path.stat().st_size,
        metadata=metadata,
        warnings=tuple(
            f"{path}: was quantized before ({what}); agreement with it is agreement with its rounded numbers, not with "
            "the float network that it was made from: give that one where you have it"
            for what in [graph.meta.get(QUANTIZED)]
            if what
        ),
    )


def from_module(
    module: nn.Module,
    preprocess: str | None = None,
    name: str | None = None,
    size: tuple[int, int] = (112, 112),
) -> Network:
    """The network of an `nn.Module` (see `torch_reader.from_module`). Raises BitfaceError."""
    name = name or type(module).__name__
    network = _checked(torch_reader.from_module(module, size), name, name)
    return network.with_preprocess(parse(preprocess, size)) if preprocess else network


def normalises(graph: GraphModule) -> bool:
    """Whether the graph begins by shifting or scaling the image by constants, before any convolution."""
    for user in next(iter(graph.graph.nodes)).users:
        if user.op != "call_module":
            continue
        module = graph.get_submodule(str(user.target))
        constants = [node for node in user.all_input_nodes if node.op == "get_attr"]
        if isinstance(module, ops.NORMS) or (isinstance(module, ops.Sub | ops.Mul | ops.Div | ops.Add) and constants):
            return True
    return False


def _checked(graph: GraphModule, where: str, name: str) -> Network:
    """Refuses what isn't a face network, and flushes denormal weights."""
    output = graph.graph.output_node().all_input_nodes[0]
    shape = shape_of(output)
    if len(shape) != 2 or shape[1] < 2:
        found = " x ".join(["N", *map(str, shape[1:])])
        raise BitfaceError(f"{where}: no face network: it gives {found} per batch instead of one vector per image")
    if not any(isinstance(module, ops.LAYERS) for module in graph.modules()):
        raise BitfaceError(f"{where}: has no convolution and no linear layer, so there is nothing to quantize")
    flushed = 0
    smallest = torch.finfo(torch.float32).tiny
    for key, value in graph.state_dict().items():
        if not value.is_floating_point():
            continue
        if not torch.isfinite(value).all():
            raise BitfaceError(f"{where}: weight '{key}' holds NaN or infinity; export the network again")
        if key.endswith("running_var") and (value < 0).any():
            raise BitfaceError(f"{where}: '{key}' holds negative variances; export the network again")
        denormal = (value != 0) & (value.abs() < smallest)
        flushed += int(denormal.sum())
        value[denormal] = 0  # they make CPU inference several times slower and change nothing
    notes = (f"{flushed} denormal weights flushed to zero",) if flushed else ()
    return Network(graph, name, notes=notes)
