"""Reads an ONNX file into a graph: opsets 9 to the newest, constants folded, the batch freed."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from onnx import external_data_helper, numpy_helper
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph.arranged import from_onnx as arranged_onnx
from bitface.graph.arranged.form import OUTPUT_ARRANGED, Arranged
from bitface.graph.builder import Builder, ShapeError, one_line, shape_of, shape_text
from bitface.graph.image_size import WantedSize
from bitface.graph.onnx_context import FLOATS, Context
from bitface.graph.onnx_folding import Folding
from bitface.graph.onnx_integers import IMAGE_VALUES, Integers, Value
from bitface.graph.onnx_limits import allowance, check_external, check_limits
from bitface.graph.onnx_patterns import PATTERNS
from bitface.graph.onnx_ways import unknown_operator
from bitface.graph.op_spec import onnx_reader
from bitface.graph.recognition import recognise
from bitface.preprocess import LARGEST_SIDE

_LARGEST = 2 << 30
_OLDEST_OPSET = 9
# Whatever else computes in integers begins with "QLinear".
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# The key of a graph's `meta`.
_BEFORE = "quantized before"


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
        return (
            f"was quantized before (weights and activations, by {self.nodes}); agreement with it is agreement with its "
            "rounded numbers, not with the float network that it was made from: give that one where you have it"
        )


def quantized_before(graph: GraphModule) -> QuantizedBefore | None:
    """What of the file that a graph was read from was quantized; None: nothing, or it was no ONNX file."""
    return graph.meta.get(_BEFORE)


def from_onnx(path: Path, size: WantedSize | None = None) -> tuple[GraphModule, dict[str, str]]:
    """The graph of an ONNX file (see `quantized_before`), and the file's own metadata.

    The network must take one image batch `[N, 3, H, W]` and give one output. A batch fixed in the file becomes
    free, and numbers of 16 or 64 bits become float32. Height and width that are free become those of `size`.

    Raises:
        ShapeError: shapes that don't fit, perhaps at this size only.
        BitfaceError: no ONNX file, an operator outside the vocabulary (named with its node), external data
            outside the model's folder, inputs and outputs of another kind, or a size that the file doesn't have.
    """
    try:
        model = _read(Path(path))
        graph = _convert(model, size or WantedSize())
        graph.meta[_BEFORE] = _quantized(model)
        return graph, {entry.key: entry.value for entry in model.metadata_props}
    except BitfaceError as error:
        # Names in the file may hold line breaks, or worse for a terminal.
        text = "".join(letter if letter.isprintable() else " " for letter in str(error))
        raise type(error)(f"{path}: {text}") from error
    except Exception as error:  # a damaged file can make onnx and protobuf raise anything
        raise BitfaceError(f"{path}: damaged, or not as ONNX says ({one_line(error)})") from error


def _quantized(model: onnx.ModelProto) -> QuantizedBefore | None:
    nodes = [one for one in model.graph.node if one.op_type in _QUANTIZING or one.op_type.startswith("QLinear")]
    if not nodes:
        return None
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    of_weights = all(one.op_type == "DequantizeLinear" or {*one.input[:1]} <= constants for one in nodes)
    counted = Counter(one.op_type for one in nodes)
    return QuantizedBefore(not of_weights, ", ".join(f"{count} {name}" for name, count in counted.items()))


def _convert(model: onnx.ModelProto, size: WantedSize) -> GraphModule:
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    read = {name for node in model.graph.node for name in node.input}
    # Old exporters list weights as inputs, and tools that replace weights forget to take them off the list.
    inputs = [value for value in model.graph.input if value.name in read and value.name not in initializers]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise BitfaceError(
            f"no face network: it has {len(inputs)} inputs and {len(model.graph.output)} outputs "
            f"({', '.join(value.name for value in model.graph.output)}), "
            "a face network has one image and one embedding"
        )
    batch, channels, height, width = _image_shape(inputs[0])
    builder = Builder((channels, *size.settle(height, width)), allowance(model))
    folding = Folding(_opset(model), sum(array.size for array in initializers.values()))
    values: dict[str, Value] = {**initializers, inputs[0].name: builder.input}
    for index, node in enumerate(model.graph.node):
        results = _import_node(node, index, values, builder, folding, batch)
        values.update((name, value) for name, value in zip(node.output, results, strict=False) if name)
        for name in node.output[len(results) :]:
            if name in read:
                raise BitfaceError(
                    f"'{name}' is a further output of a {node.op_type}, which bitface doesn't compute, though "
                    "another node reads it; export the network without it"
                )
    output = values.get(model.graph.output[0].name)
    if isinstance(output, Integers):
        raise BitfaceError("its output is in integers; export the network with a DequantizeLinear at its end")
    if isinstance(output, Arranged):
        raise BitfaceError(OUTPUT_ARRANGED)
    if not isinstance(output, Node):
        raise BitfaceError("its output doesn't depend on the image; the file is damaged")
    said = [side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim][-1:]
    if size.free and said not in ([], [0], [shape_of(output)[-1]]):
        raise ShapeError(f"it gives {shape_text(output)}, and by its file vectors of {said[0]} numbers")
    return recognise(builder.finish(output))


def _import_node(
    node: onnx.NodeProto,
    index: int,
    values: dict[str, Value],
    builder: Builder,
    folding: Folding,
    batch: int | None,
) -> list[Value]:
    name = node.name or next(filter(None, node.output), f"{node.op_type}_{index}")
    missing = [source for source in node.input if source and source not in values]
    if missing:
        raise BitfaceError(f"node '{name}' reads '{missing[0]}', which nothing computes; the file is damaged")
    operands = [values[source] if source else None for source in node.input]
    constant = not any(isinstance(operand, (*IMAGE_VALUES, Arranged)) for operand in operands)
    # A loop of constants may run for ever.
    nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    if node.domain or nested or not (constant or onnx_reader(node.op_type)):
        raise BitfaceError(unknown_operator(name, node.op_type, node.domain, folding.opset))
    context = Context(node, name, builder, batch, folding.opset)
    try:
        _refuse_training(context, operands)
        return folding.results(context, operands) if constant else _compute(context, operands)
    except BitfaceError:
        raise
    except Exception as error:  # onnx's reference operators, numpy and torch raise whatever they like
        raise BitfaceError(f"node '{name}' ({node.op_type}) isn't as ONNX says: {one_line(error)}") from error


def _compute(context: Context, operands: Sequence[Value]) -> list[Value]:
    """What a node gives for its operands, of which at least one depends on the image.

    Raises:
        BitfaceError: the node has a form that isn't supported.
    """
    reader = onnx_reader(context.node.op_type)
    assert reader is not None
    integers = next((operand for operand in operands if isinstance(operand, Integers)), None)
    if integers is None or reader.on_integers:
        pattern = PATTERNS.get(context.node.op_type)
        together = pattern(context, *operands) if pattern else None
        results = context.add(*together) if together else arranged_onnx.read(context, reader, operands)
        return results if isinstance(results, list) else [results]
    meanings = {
        (operand.scale, operand.zero_point, operand.dtype) if isinstance(operand, Integers) else None
        for operand in operands
        if isinstance(operand, IMAGE_VALUES)
    }
    if not reader.moves_integers or len(meanings) > 1:
        context.refuse("computes with the integers of a QuantizeLinear before they are dequantized")
    moved = _compute(context, [operand.numbers if isinstance(operand, Integers) else operand for operand in operands])
    return [replace(integers, numbers=result) if isinstance(result, Node) else result for result in moved]


def _refuse_training(context: Context, operands: Sequence[Value]) -> None:
    """Raises BitfaceError for a node, of constants or not, that doesn't do the same at every inference."""
    kind = context.node.op_type
    reader = onnx_reader(kind)
    training = reader is not None and reader.in_training is not None and reader.in_training(context, operands)
    if training or kind in _RANDOM:
        reason = "is in training mode" if training else "draws random numbers, as in training"
        raise BitfaceError(f"node '{context.name}' ({kind}) {reason}; export the network again, after `.eval()`")


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if not entry.domain), 0)


def _read(path: Path) -> onnx.ModelProto:
    if not os.path.isfile(path):
        raise BitfaceError("no such file")
    if path.stat().st_size > _LARGEST:
        raise BitfaceError("larger than 2 GB; a face network isn't")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise BitfaceError(f"can't be read ({error.strerror})") from error
    except Exception as error:  # protobuf's decode errors have no common public base
        raise BitfaceError(f"not an ONNX file ({type(error).__name__})") from error
    if not model.graph.node or not model.opset_import:
        raise BitfaceError("not an ONNX file, or one without a network")
    for entry in (*model.opset_import, *model.graph.node):
        if entry.domain == "ai.onnx":  # the long name of the standard domain
            entry.domain = ""
    if _opset(model) < _OLDEST_OPSET:
        raise BitfaceError(
            f"opset {_opset(model)} is older than {_OLDEST_OPSET}; export it with a newer one (opset_version=17)"
        )
    if model.functions:
        raise BitfaceError(f"has functions of its own ({model.functions[0].name}); export it with them inlined")
    if model.graph.sparse_initializer:
        raise BitfaceError("sparse weights aren't supported; export the network with dense ones")
    check_limits(model)
    outside = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    check_external(outside, path.parent)
    for tensor in outside:
        _load_external(path, tensor)
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that may point to a file, `Constant` nodes among them."""
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
    if not file.is_file() or file.stat().st_size > _LARGEST:
        raise BitfaceError(f"weight file '{location}' is missing or larger than 2 GB")
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:
        raise BitfaceError(f"weight '{tensor.name}' can't be read from '{location}': {one_line(error)}") from error
    tensor.data_location = onnx.TensorProto.DEFAULT


def _image_shape(value: onnx.ValueInfoProto) -> tuple[int | None, int, int | None, int | None]:
    """The batch, and the image's channels, height and width; None where they are free."""
    kind = value.type.tensor_type
    sides = [side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim]
    if kind.elem_type not in FLOATS or len(sides) != 4:
        raise BitfaceError(f"no face network: its input '{value.name}' isn't a float image batch [N, 3, H, W]")
    batch, channels, height, width = sides
    if channels not in (3, None):
        raise BitfaceError(f"its input '{value.name}' has {channels} channels; only colour images [N, 3, H, W]")
    if max(height or 1, width or 1) > LARGEST_SIDE:
        raise BitfaceError(f"its input '{value.name}' is {height} x {width} pixels, no face image")
    return batch, 3, height, width
