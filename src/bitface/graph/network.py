"""A face network as the rest of the program sees it: its graph and what is known about it."""

import hashlib
import json
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule, Node

from bitface import backbones
from bitface.backbones.head import input_size_of
from bitface.backbones.weights import SUFFIXES, is_weights_file
from bitface.errors import BitfaceError, UsageError, option
from bitface.graph import ops, torch_reader
from bitface.graph.builder import ShapeError, shape_of
from bitface.graph.image_size import ASSUMED, ChooseSize, FreeSize, WantedSize
from bitface.graph.onnx_reader import file_facts, from_onnx
from bitface.graph.passes import insert_after
from bitface.graph.store import dump, load
from bitface.preprocess import Preprocess, Size, parse, presets

METADATA_KEY = "bitface.preprocess"


@dataclass(frozen=True)
class Network:
    """A graph `[N, channels, H, W]` → `[N, embedding_size]`, its name, preprocessing (None: unknown), and what to say.

    Attributes:
        free: how H and W were found where the network's file leaves them free; None: the file says them.
    """

    graph: GraphModule
    name: str
    preprocess: Preprocess | None = None
    notes: tuple[str, ...] = ()
    source_bytes: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    free: FreeSize | None = None
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return Size(*shape_of(next(iter(self.graph.graph.nodes)))[2:])

    @property
    def channels(self) -> int:
        """Of the image: 3, or 1 of grey."""
        return shape_of(next(iter(self.graph.graph.nodes)))[1]

    @property
    def embedding_size(self) -> int:
        return shape_of(self.graph.graph.output_node().all_input_nodes[0])[1]

    def fingerprint(self) -> str:
        """SHA-256 over operators, topology, names, weights, preprocessing and the image's size.

        A network whose file leaves the size free is therefore another one at every size, as its embeddings are: those
        of 112x112 and of 160x160 images don't compare. At one size it is the same as from a file that fixes this size.
        """
        description, tensors = dump(self.graph)
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        digest.update(json.dumps(self.preprocess.to_json() if self.preprocess else None).encode())
        for key in sorted(tensors):
            value = tensors[key].contiguous()
            digest.update(f"{key} {value.dtype} {list(value.shape)}".encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """As plain data: torch's own way of pickling a graph loses the shapes."""
        description, tensors = dump(self.graph)
        arrays = {key: value.numpy() for key, value in tensors.items()}
        facts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "graph"}
        return _rebuilt, (description, arrays, facts)

    def with_preprocess(self, preprocess: Preprocess) -> "Network":
        """Raises UsageError where it gives other images than the network, or its file, takes."""
        words = [word for word in presets(self.channels) if not self._takes_pixels or word.endswith("-raw")]
        if preprocess.channels != self.channels:
            kind = "grey images" if self.channels == 1 else "images of three colours"
            raise UsageError(f"{self.name}: takes {kind}, not '{preprocess.name}'; use one of {', '.join(words)}")
        if self._takes_pixels and not preprocess.raw:
            raise UsageError(
                f"{self.name}: its file takes uint8 images, so it normalises them itself, and '{preprocess.name}' "
                f"would be wrong; use one of {', '.join(words)}"
            )
        return replace(self, preprocess=preprocess)

    @property
    def _takes_pixels(self) -> bool:
        facts = file_facts(self.graph)
        return facts is not None and facts.inputs.image.integers


def _rebuilt(description: dict[str, Any], arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Network:
    graph = load(description, {key: torch.from_numpy(value) for key, value in arrays.items()})
    return Network(graph, **facts)


def load_network(
    path: Path,
    preprocess: str | None = None,
    size: Size | None = None,
    choose: ChooseSize = lambda: ASSUMED,
    output: str | None = None,
) -> Network:
    """The network of an ONNX file or of a state dict of a known backbone.

    Args:
        path: `.onnx`, or a file of `backbones.weights.SUFFIXES` with weights that `backbones` recognises.
        preprocess: a word of `preprocess.parse`. Without one: what the file itself says, `rgb-raw` where the
            graph begins by normalising the image, otherwise None.
        size: height and width of the image. Without one: what the file fixes, or a state dict's head covers.
        choose: the size of an ONNX file that leaves it free, where none is asked for; a note says so.
        output: which output of an ONNX file is the embedding; None: the only one, or the one that looks like it.

    Raises:
        BitfaceError: the file is no face network, holds NaN or infinite weights, fixes another size, or doesn't work
            with this one.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise BitfaceError(f"{path}: no such {'file, but a folder' if os.path.isdir(path) else 'file'}")
    metadata: dict[str, str] = {}
    left_out: str | None = None
    image_size = WantedSize(size, choose)
    try:
        if path.suffix.lower() == ".onnx":
            graph, metadata = from_onnx(path, image_size, output)
        elif is_weights_file(path):
            module, left_out = backbones.load_with_note(path)
            # A head covers images of several sizes: one that is asked for is tried.
            sides = (None, None) if size else input_size_of(module)
            graph = torch_reader.from_module(module, image_size.settle(*sides))
        else:
            raise BitfaceError(
                f"{path}: unknown kind of model; use .onnx, or {', '.join(SUFFIXES)} of a known backbone"
            )
        network = _checked(graph, str(path), path.stem)
    except ShapeError as error:
        if image_size.free is None:
            raise
        reason = str(error).removeprefix(f"{path}: ")
        raise BitfaceError(
            f"{path}: doesn't work with images of {image_size.free.size}, {image_size.free.whose} ({reason}); name the "
            f"size that it was trained with: {option('size')}"
        ) from error
    facts = file_facts(graph)
    before = facts.quantized if facts else None
    raw = normalises(graph) or (facts is not None and facts.inputs.image.integers)
    unsaid = ("grey-raw" if network.channels == 1 else "rgb-raw") if raw else None
    word = preprocess or " ".join(metadata.get(METADATA_KEY, "").split()) or unsaid
    network = network.with_preprocess(parse(word, network.size)) if word else network
    return replace(
        network,
        source_bytes=path.stat().st_size,
        metadata=metadata,
        free=image_size.free,
        notes=(
            *network.notes,
            *([f"{path}: {left_out}"] if left_out else []),
            *([image_size.free.note] if image_size.free and not size else []),
            *(f"{path}: {note}" for note in (facts.notes if facts else ())),
            *([one_output(path)] if output and facts is None else []),
            *([f"{path}: {before.note}"] if before and not before.activations else []),
        ),
        warnings=(f"{path}: {before.note}",) if before and before.activations else (),
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


def _vector(graph: GraphModule) -> Node:
    """The graph's output, of which `[N, D, 1, 1]` becomes `[N, D]`."""
    output: Node = graph.graph.output_node().all_input_nodes[0]
    batch, *sides = shape_of(output)
    longer = [side for side in sides if side != 1]
    if len(sides) < 2 or len(longer) != 1:
        return output
    vector = insert_after(graph, output, "embedding", ops.Reshape((longer[0],)))
    vector.meta["shape"] = (batch, longer[0])
    graph.graph.output_node().args = (vector,)
    graph.recompile()
    return vector


def one_output(path: Path) -> str:
    """What to say where an output is named of a file that can have one alone."""
    return f"{path}: has one output; {option('output')} counts for ONNX files only"


def _checked(graph: GraphModule, where: str, name: str) -> Network:
    """Refuses what isn't a face network, makes its output a vector, and flushes denormal weights."""
    shape = shape_of(_vector(graph))
    if len(shape) != 2 or shape[1] < 2:
        sides = " x ".join(["N", *map(str, shape[1:])])
        raise ShapeError(f"{where}: no face network: it gives {sides} per batch instead of one vector per image")
    if not any(isinstance(module, ops.LAYERS) for module in graph.modules()):
        raise BitfaceError(f"{where}: has no convolution and no linear layer, so there is nothing to quantize")
    denormal_count = 0
    smallest = torch.finfo(torch.float32).tiny
    for key, value in graph.state_dict().items():
        if not value.is_floating_point():
            continue
        if not torch.isfinite(value).all():
            raise BitfaceError(f"{where}: weight '{key}' holds NaN or infinity; export the network again")
        if key.endswith("running_var") and (value < 0).any():
            raise BitfaceError(f"{where}: '{key}' holds negative variances; export the network again")
        denormal = (value != 0) & (value.abs() < smallest)
        denormal_count += int(denormal.sum())
        value[denormal] = 0  # they make CPU inference several times slower and change nothing
    notes = (f"{denormal_count} denormal weights flushed to zero",) if denormal_count else ()
    return Network(graph, name, notes=notes)
