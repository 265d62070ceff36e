"""An ONNX file as it lies on disk: what may be read at all, and what it says of having been quantized."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import external_data_helper

from bitface.errors import BitfaceError, one_line
from bitface.graph.onnx_limits import check_external, check_limits, graphs
from bitface.limits import LARGEST_FILE

_OLDEST_OPSET = 7
_PAIR = ("QuantizeLinear", "DequantizeLinear")
# Whatever else computes in integers begins with "QLinear".
_QUANTIZING = (*_PAIR, "QGemm", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class QuantizedBefore:
    """What of a file was quantized before: its weights, perhaps its `activations`, and by which `nodes`."""

    activations: bool
    nodes: str

    @property
    def note(self) -> str:
        if not self.activations:
            return (
                f"its weights are stored in integers ({self.nodes}), and agreement is agreement with these rounded "
                "weights; the float file, where there is one, may make a better teacher"
            )
        if "DynamicQuantizeLinear" in self.nodes:
            return (
                f"was quantized before (weights and activations, by {self.nodes}); scales that it finds anew in each "
                "batch can't be fixed, so its activations aren't rounded here and its own numbers differ a little: "
                "give the float network that it was made from where you have it"
            )
        return (
            f"was quantized before (weights and activations, by {self.nodes}); agreement with it is agreement with its "
            "rounded numbers, not with the float network that it was made from: give that one where you have it"
        )


def quantized_by(model: onnx.ModelProto) -> QuantizedBefore | None:
    """What of a file was quantized; None: nothing."""
    nodes = [one for one in model.graph.node if one.op_type in _QUANTIZING or one.op_type.startswith("QLinear")]
    if not nodes:
        return None
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    of_weights = all(one.op_type == "DequantizeLinear" or {*one.input[:1]} <= constants for one in nodes)
    counts = Counter(one.op_type for one in nodes)
    return QuantizedBefore(not of_weights, ", ".join(f"{count} {name}" for name, count in counts.items()))


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a file is written in."""
    return next((entry.version for entry in model.opset_import if not entry.domain), 0)


def read_model(path: Path) -> onnx.ModelProto:
    """The model of a file, its weights of other files included.

    Raises:
        BitfaceError: no ONNX file, one that is too large or too old, or weights outside the model's folder.
    """
    if not os.path.isfile(path):
        raise BitfaceError("no such file")
    if path.stat().st_size > LARGEST_FILE:
        raise BitfaceError("larger than 2 GB; a face network isn't")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise BitfaceError(f"can't be read ({error.strerror})") from error
    except Exception as error:  # protobuf's decode errors have no common public base
        raise BitfaceError(f"not an ONNX file ({type(error).__name__})") from error
    if not model.graph.node or not model.opset_import:
        raise BitfaceError("not an ONNX file, or one without a network")
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    for entry in (*model.opset_import, *nodes):
        if entry.domain == "ai.onnx":  # the long name of the standard domain
            entry.domain = ""
    for node in nodes:
        if node.domain == "com.microsoft" and node.op_type in _PAIR:  # the standard's, before it had them of 16 bits
            node.domain = ""
    opset = opset_of(model)
    if opset < _OLDEST_OPSET:
        raise BitfaceError(
            f"opset {opset} is older than {_OLDEST_OPSET}; export it with a newer one (opset_version=17)"
        )
    if model.functions:
        raise BitfaceError(f"has functions of its own ({model.functions[0].name}); export it with them inlined")
    if any(graph.sparse_initializer for graph in graphs(model.graph)):
        raise BitfaceError("sparse weights aren't supported; export the network with dense ones")
    check_limits(model)
    tensors = [tensor for graph in graphs(model.graph) for tensor in _tensors(graph)]
    outside = [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]
    check_external(outside, path.parent)
    for tensor in outside:
        _load_external(path, tensor)
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph that may point to a file, `Constant` nodes among them."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            yield attribute.sparse_tensor.indices


def _load_external(path: Path, tensor: onnx.TensorProto) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or os.path.isabs(location) or not file.is_relative_to(folder):
        raise BitfaceError(
            f"weight '{tensor.name}' lies outside the model's folder ('{location}'): refused; "
            "save the network with its weights beside it"
        )
    if not file.is_file() or file.stat().st_size > LARGEST_FILE:
        raise BitfaceError(f"weight file '{location}' is missing or larger than 2 GB")
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:
        raise BitfaceError(f"weight '{tensor.name}' can't be read from '{location}': {one_line(error)}") from error
    tensor.data_location = onnx.TensorProto.DEFAULT
