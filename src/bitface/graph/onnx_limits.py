"""What an ONNX file may hold, so that a hostile one ends in a line and not in a full memory."""

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, external_data_helper

from bitface.errors import BitfaceError
from bitface.limits import MOST_NODES, MOST_TENSORS

# Numbers in attributes, and names of inputs and outputs, of all nodes together.
_ENTRIES = 1 << 20
_LONGEST_NAME = 1000
# Numbers that are computed, over all nodes: beyond those of the file, of which a network's masks and positions are the
# largest with some 100,000, and times those of the file: as integers, dequantized, transposed, reshaped, scaled, ...
MORE, FORMS = 4 << 20, 8
# Tensors that share their numbers.
_SHARED = 64 << 20


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those of its branches and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner)


def check_limits(model: onnx.ModelProto) -> None:
    """Raises BitfaceError for more nodes, tensors, attributes or longer names than a face network has."""
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    if len(nodes) > MOST_NODES:
        raise BitfaceError(
            f"has {len(nodes):,} nodes, and face networks some hundreds; run it through onnxsim, or "
            "export the network without what unrolls its loops"
        )
    tensors = sum(len(graph.initializer) for graph in graphs(model.graph))
    if tensors > MOST_TENSORS:
        raise BitfaceError(f"has {tensors:,} tensors, and face networks some hundreds; no face network")
    entries = sum(
        len(node.input)
        + len(node.output)
        + sum(len(one.ints) + len(one.floats) + len(one.strings) for one in node.attribute)
        for node in nodes
    )
    if entries > _ENTRIES:
        raise BitfaceError(f"its nodes list {entries:,} inputs, outputs and attributes; no face network")
    names = (name for node in nodes for name in (node.name, node.op_type, *node.input, *node.output))
    if any(len(name) > _LONGEST_NAME for name in names):
        raise BitfaceError(f"has names of more than {_LONGEST_NAME:,} letters; export the network again")


def allowance(model: onnx.ModelProto) -> int:
    """How many numbers the weights of all nodes together may have, as each holds its own: some times the file's."""
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    nodes = (node for graph in graphs(model.graph) for node in graph.node)
    tensors += (attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t"))
    # Sides are what a file says, bytes what it has; two integers of four bits lie in one.
    sizes: list[int] = [min(abs(math.prod(one.dims)), 2 * one.ByteSize()) for one in tensors]
    return MORE + FORMS * sum(sizes)


def check_external(tensors: list[TensorProto], folder: Path) -> None:
    """Raises BitfaceError where tensors together would read far more than the files that they lie in."""
    total, sizes = 0, {}
    for tensor in tensors:
        facts = external_data_helper.ExternalDataInfo(tensor)
        file = folder / facts.location
        sizes[facts.location] = file.stat().st_size if file.is_file() else 0
        total += facts.length or max(sizes[facts.location] - (facts.offset or 0), 0)
        if math.prod(tensor.dims) < 0:
            raise BitfaceError(f"weight '{tensor.name}' has sides below zero; the file is damaged")
    if total > sum(sizes.values()) + _SHARED:
        raise BitfaceError(
            f"its weights would read {total:,} bytes from files of {sum(sizes.values()):,}; save the network again"
        )
