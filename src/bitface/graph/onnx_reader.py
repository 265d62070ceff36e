"""Reads an ONNX file into a graph: opsets 9 to the newest, constants folded, the batch freed."""

from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.reference
import torch
from onnx import numpy_helper
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph.builder import Builder
from bitface.graph.onnx_ops import HANDLERS, Context, Value

_LARGEST = 2 << 30
_OLDEST_OPSET = 9


def from_onnx(path: Path) -> tuple[GraphModule, dict[str, str]]:
    """The graph of an ONNX file, and the file's own metadata.

    The network must take one image batch `[N, 3, H, W]` and give one output. A batch fixed in the file becomes free.

    Raises:
        BitfaceError: no ONNX file, an operator outside the vocabulary (named with its node), external data outside
            the model's folder, or inputs and outputs of another kind.
    """
    model = _read(Path(path))
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if model.graph.sparse_initializer:
        raise BitfaceError(f"{path}: sparse weights aren't supported; export the network with dense ones")
    read = {name for node in model.graph.node for name in node.input}
    # Old exporters list weights as inputs, and tools that replace weights forget to take them off the list.
    inputs = [value for value in model.graph.input if value.name in read and value.name not in initializers]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise BitfaceError(
            f"{path}: no face network: it has {len(inputs)} inputs and {len(model.graph.output)} outputs "
            f"({', '.join(value.name for value in model.graph.output)}), a face network has one image and one embedding"
        )
    batch, shape = _image_shape(path, inputs[0])
    builder = Builder(shape)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    values: dict[str, Value] = {**initializers, inputs[0].name: builder.input}
    for index, node in enumerate(model.graph.node):
        _import_node(path, node, index, values, builder, opset, batch)
    output = values.get(model.graph.output[0].name)
    if not isinstance(output, Node):
        raise BitfaceError(f"{path}: its output doesn't depend on the image; the file is damaged")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return builder.finish(output), metadata


def _import_node(
    path: Path,
    node: onnx.NodeProto,
    index: int,
    values: dict[str, Value],
    builder: Builder,
    opset: int,
    batch: int | None,
) -> None:
    name = node.name or next((output for output in node.output if output), f"{node.op_type}_{index}")
    where = f"{path}: node '{name}'"
    missing = [source for source in node.input if source and source not in values]
    if missing:
        raise BitfaceError(f"{where} reads '{missing[0]}', which nothing computes; the file is damaged")
    operands = [values[source] if source else None for source in node.input]
    context = Context(node, name, where, builder, opset, batch)
    if not any(isinstance(operand, Node) for operand in operands):
        results = _fold(node, where, operands, opset)
    elif node.domain in ("", "ai.onnx") and node.op_type in HANDLERS:
        try:
            results = HANDLERS[node.op_type](context, *operands)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            raise BitfaceError(f"{where} ({node.op_type}) isn't formed as ONNX says: {error}") from error
    else:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise BitfaceError(
            f"{where} is a '{kind}', an operator bitface doesn't know; report it with the file's name and this line, "
            "or export the network with simpler operators"
        )
    if not isinstance(results, list):
        results = [results]
    for target, result in zip(node.output, results, strict=False):
        if target:
            values[target] = result


def _fold(node: onnx.NodeProto, where: str, operands: list[Value | None], opset: int) -> list[Value]:
    """Computes a node of constants with ONNX's own reference implementation."""
    outputs = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(filter(None, node.input))],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", max(opset, 1))])
    feeds = dict(zip(node.input, operands, strict=True))
    feeds.pop("", None)
    try:
        results = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the reference evaluator raises whatever its operator raises
        raise BitfaceError(f"{where}: the constant '{node.op_type}' can't be computed: {error}") from error
    by_name = dict(zip(outputs, results, strict=True))
    return [np.asarray(by_name[name]) if name else None for name in node.output]


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise BitfaceError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST:
        raise BitfaceError(f"{path}: larger than 2 GB; a face network isn't")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's decode errors have no common public base
        raise BitfaceError(f"{path}: not an ONNX file ({type(error).__name__})") from error
    if not model.graph.node or not model.opset_import:
        raise BitfaceError(f"{path}: not an ONNX file, or one without a network")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise BitfaceError(
            f"{path}: opset {opset} is older than {_OLDEST_OPSET}; export the network with a newer one"
        )
    if model.functions:
        raise BitfaceError(
            f"{path}: has functions of its own ({model.functions[0].name}); export it with them inlined"
        )
    for tensor in model.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            _load_external(path, tensor)
    return model


def _load_external(path: Path, tensor: onnx.TensorProto) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder):
        raise BitfaceError(
            f"{path}: weight '{tensor.name}' lies outside the model's folder ('{location}'): refused"
        )
    if not file.is_file() or file.stat().st_size > _LARGEST:
        raise BitfaceError(f"{path}: weight file '{location}' is missing or larger than 2 GB")
    try:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:
        raise BitfaceError(
            f"{path}: weight '{tensor.name}' can't be read from '{location}': {error}"
        ) from error
    tensor.data_location = onnx.TensorProto.DEFAULT


def _image_shape(path: Path, value: onnx.ValueInfoProto) -> tuple[int | None, tuple[int, int, int]]:
    """The batch where it is fixed, and the image's channels, height and width (112 where free)."""
    sides = [
        side.dim_value if side.HasField("dim_value") else None for side in value.type.tensor_type.shape.dim
    ]
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(sides) != 4:
        raise BitfaceError(
            f"{path}: no face network: its input '{value.name}' isn't a float image batch [N, 3, H, W]"
        )
    batch, channels, height, width = sides
    if channels not in (3, None, 0):
        raise BitfaceError(
            f"{path}: its input '{value.name}' has {channels} channels; only colour images [N, 3, H, W]"
        )
    return (batch if batch and batch > 0 else None), (3, height or 112, width or 112)


def constant_tensor(value: np.ndarray) -> torch.Tensor:
    """A constant as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
