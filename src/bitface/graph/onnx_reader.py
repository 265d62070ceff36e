"""Reads an ONNX file into a graph: constants folded, the batch freed, and only what the embedding is computed from."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError, one_line
from bitface.graph.arranged import from_onnx as arranged_onnx
from bitface.graph.arranged.channels_last import CHANNELS_LAST
from bitface.graph.arranged.form import OUTPUT_ARRANGED, Arranged
from bitface.graph.builder import Builder, ShapeError, shape_of, shape_text, uncollected
from bitface.graph.image_size import WantedSize
from bitface.graph.onnx_context import Context, true_shape, with_one_image, without_stand_in
from bitface.graph.onnx_file import QuantizedBefore, opset_of, quantized_by, read_model
from bitface.graph.onnx_folding import Folding
from bitface.graph.onnx_integers import IMAGE_VALUES, STILL_INTEGERS, Integers, Value
from bitface.graph.onnx_limits import allowance
from bitface.graph.onnx_patterns import PATTERNS
from bitface.graph.onnx_ports import Inputs, Output, choose_output, inputs_of, output_named
from bitface.graph.onnx_ways import unknown_operator
from bitface.graph.op_spec import onnx_reader
from bitface.graph.operators.views import Transpose
from bitface.graph.recognition import recognise

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# Letters of a message.
_LONGEST = 1000
# The key of a graph's `meta`.
_FILE = "file"


@dataclass(frozen=True)
class FileFacts:
    """What a graph's ONNX file was, beyond the graph.

    Attributes:
        quantized: None: nothing of it was quantized.
        inputs: as the file takes them.
        notes: what was chosen or taken for granted.
    """

    quantized: QuantizedBefore | None
    inputs: Inputs
    notes: tuple[str, ...] = ()


def file_facts(graph: GraphModule) -> FileFacts | None:
    """What the file that a graph was read from was; None: it was no ONNX file."""
    return graph.meta.get(_FILE)


def from_onnx(
    path: Path, size: WantedSize | None = None, output: str | None = None
) -> tuple[GraphModule, dict[str, str]]:
    """The graph of an ONNX file (see `file_facts`), and the file's own metadata.

    The network must take one image batch and give an embedding for each image. A batch fixed in the file becomes
    free, and numbers of 16 or 64 bits become float32. Height and width that are free become those of `size`. An image
    `[N, H, W, C]` becomes `[N, C, H, W]`, one of uint8 float32 with the same values.

    Args:
        output: which of its tensors is the embedding; None: its only output, or the one that looks like an embedding.

    Raises:
        ShapeError: shapes that don't fit, perhaps at this size only.
        UsageError: there is no such output.
        BitfaceError: no ONNX file, an operator outside the vocabulary (named with its node), external data
            outside the model's folder, inputs and outputs of another kind, or a size that the file doesn't have.
    """
    try:
        model = read_model(Path(path))
        with uncollected():
            graph = _convert(model, size or WantedSize(), output)
        return graph, {entry.key: entry.value for entry in model.metadata_props}
    except BitfaceError as error:
        # Names in the file may hold line breaks, or worse for a terminal, and be of any length.
        text = "".join(letter if letter.isprintable() else " " for letter in str(error))
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
        raise type(error)(f"{path}: {text}") from error
    except Exception as error:  # a damaged file can make onnx and protobuf raise anything
        raise BitfaceError(f"{path}: damaged, or not as ONNX says ({one_line(error)})") from error


def _convert(model: onnx.ModelProto, size: WantedSize, output: str | None) -> GraphModule:
    names = [value.name for value in model.graph.output]
    reading = _Reading(model, size)
    notes = list(reading.inputs.notes)
    if output is not None:
        name = output_named(output, names)
    elif len(names) == 1:
        name = names[0]
    else:
        choice, note = choose_output([_examined(reading, one) for one in model.graph.output], reading.depends)
        name, notes = choice.name, [note, *notes]
    embedding = reading.output(name)
    if isinstance(embedding, Integers):
        raise BitfaceError("its output is in integers; export the network with a DequantizeLinear at its end")
    if isinstance(embedding, Arranged):
        raise BitfaceError(OUTPUT_ARRANGED)
    if not isinstance(embedding, Node):
        raise BitfaceError("its output doesn't depend on the image; the file is damaged")
    dims = next(value for value in model.graph.output if value.name == name).type.tensor_type.shape.dim
    if size.free and len(dims) == 2 and dims[1].dim_value not in (0, shape_of(embedding)[-1]):
        raise ShapeError(f"it gives {shape_text(embedding)}, and by its file vectors of {dims[1].dim_value} numbers")
    graph = recognise(reading.builder.finish(embedding))
    graph.meta[_FILE] = FileFacts(quantized_by(model), reading.inputs, tuple(notes))
    return graph


def _examined(reading: "_Reading", value: onnx.ValueInfoProto) -> Output:
    """An output with its shape, as computed, or as the file says where it isn't computed."""
    kinds = reading.kinds_before(value.name)
    probability = next(kinds, "") in ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK")
    try:
        result = reading.output(value.name)
    except BitfaceError:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim][1:]
        return Output(value.name, tuple(sides) if sides and all(sides) else None, probability)
    return Output(value.name, shape_of(result)[1:] if isinstance(result, Node) else None, probability)


@dataclass
class _Reading:
    """The tensors of a file, each computed when something asks for it or for what is computed from it."""

    model: onnx.ModelProto
    size: WantedSize
    builder: Builder = field(init=False)
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.inputs = inputs_of(graph)
        image = self.inputs.image
        self.builder = Builder((image.channels, *self.size.settle(image.height, image.width)), allowance(self.model))
        self._values: dict[str, Value] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._folding = Folding(opset_of(self.model), sum(array.size for array in self._values.values()))
        self._values |= {name: np.array(False) for name in self.inputs.flags}
        entering = self.builder.input
        if image.channels_last:
            entering = self.builder.add("channels_last", Transpose(CHANNELS_LAST), entering)
        self._values[image.name] = Integers(entering, 1.0, 0, np.dtype(np.uint8)) if image.integers else entering
        self._nodes = list(graph.node)
        self._by = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
        self._done: set[int] = set()
        # Of constants in which the batch is a number, which `_values` has for `BATCH`: what they are for the file's own
        # batch, or for one image where that is free.
        self._true: dict[str, Value] = {}

    def value(self, name: str) -> Value:
        """The value of a tensor; None: nothing computes it.

        Raises:
            BitfaceError: a node on the way to it can't be read.
        """
        for index in sorted(self._before(name, self._values)):
            if index not in self._done:  # a branch asks for what it reads of the file around it
                self._import(index)
                self._done.add(index)
        return self._values.get(name)

    def output(self, name: str) -> Value:
        """The value of an output, with the batch in front again where the file has squeezed it away."""
        value = self.value(name)
        return value.with_batch() if isinstance(value, Arranged) else value

    def depends(self, name: str, on: str) -> bool:
        """Whether one tensor is computed from another."""
        return self._by.get(on) in self._before(name) and self._by.get(on) != self._by.get(name)

    def kinds_before(self, name: str) -> Iterator[str]:
        """The operators on the way back from a tensor along first inputs, without those that only move numbers."""
        last = len(self.model.graph.node)
        while last > (index := self._by.get(name, last)):
            node, last = self._nodes[index], index
            reader = onnx_reader(node.op_type)
            if not (reader and reader.moves_integers) and node.op_type != "Cast":
                yield node.op_type
            name = next(iter(node.input), "")

    def _before(self, name: str, known: Container[str] = ()) -> set[int]:
        """The nodes that a tensor is computed by, or only those behind what is known."""
        indices: set[int] = set()
        names = [name]
        while names:
            name = names.pop()
            index = None if name in known else self._by.get(name)
            if index is not None and index not in indices:
                indices.add(index)
                names += self._nodes[index].input
        return indices

    def _import(self, index: int) -> None:
        node = self._nodes[index]
        name = node.name or next(filter(None, node.output), f"{node.op_type}_{index}")
        for source in filter(None, node.input):
            if source in self.inputs.others:
                raise BitfaceError(f"node '{name}' reads '{source}', an input beside the image: no face network")
            if source in self._by and source not in self._values and self._by[source] in self._done:
                kind = self._nodes[self._by[source]].op_type
                raise BitfaceError(
                    f"'{source}' is a further output of a {kind}, which bitface doesn't compute, though "
                    "another node reads it; export the network without it"
                )
            if source not in self._values:
                raise BitfaceError(f"node '{name}' reads '{source}', which nothing computes; the file is damaged")
        operands = [self._values[source] if source else None for source in node.input]
        context = Context(node, name, self.builder, self.inputs.image.batch, self._folding.opset)
        true = [self._true.get(source, operand) for source, operand in zip(node.input, operands, strict=True)]
        by_batch = any(source in self._true for source in node.input)
        if by_batch and (_kind(node) == "If" or not _constant(operands)):
            operands, by_batch = without_stand_in(context, operands, true), False
        branch = _branch(context, operands)
        if branch is not None:
            results = self._inlined(context, branch)
            true = [self._true.get(output.name, one) for output, one in zip(branch.output, results, strict=True)]
        else:
            results = _computed(context, operands, self._folding)
            if by_batch:
                true = _computed(context, with_one_image(node.op_type, operands, true), self._folding)
            else:
                true = results if _constant(operands) else [true_shape(one, context.batch) for one in results]
        for output, one, other in zip(node.output, results, true, strict=False):
            if output:
                self._values[output] = one
                if one is not other and not np.array_equal(one, other):
                    self._true[output] = other

    def _inlined(self, context: Context, branch: onnx.GraphProto) -> list[Value]:
        """What the nodes of a branch give, as nodes of the file."""
        names = {tensor.name for tensor in branch.initializer} | {name for node in branch.node for name in node.output}
        if names & (self._by.keys() | self._values.keys()) - {""}:
            context.refuse("names a tensor of its branch as another one is named")
        self._values |= {tensor.name: numpy_helper.to_array(tensor) for tensor in branch.initializer}
        first = len(self._nodes)
        self._nodes += branch.node
        self._by |= {name: first + at for at, node in enumerate(branch.node) for name in node.output if name}
        return [self.value(output.name) for output in branch.output]


def _branch(context: Context, operands: Sequence[Value]) -> onnx.GraphProto | None:
    """The branch that an If always takes; None: no If, or the image decides."""
    if _kind(context.node) != "If" or not isinstance(operands[0], np.ndarray) or operands[0].size != 1:
        return None
    branch: onnx.GraphProto | None = context.attribute("then_branch" if operands[0].item() else "else_branch")
    return branch


def _computed(context: Context, operands: Sequence[Value], folding: Folding) -> list[Value]:
    """What a node gives, of constants or of the image.

    Raises:
        BitfaceError: an operator outside the vocabulary, or a form of one that isn't supported.
    """
    node, name = context.node, context.name
    constant = _constant(operands)
    # A loop of constants may run for ever.
    nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    kind = _kind(node)
    if nested or not (onnx_reader(kind) or (constant and not node.domain)):
        raise BitfaceError(unknown_operator(name, node.op_type, node.domain, folding.opset))
    try:
        _refuse_training(context, operands)
        return folding.results(context, operands) if constant else _read(context, operands)
    except BitfaceError:
        raise
    except Exception as error:  # onnx's reference operators, numpy and torch raise whatever they like
        raise BitfaceError(f"node '{name}' ({node.op_type}) isn't as ONNX says: {one_line(error)}") from error


def _constant(operands: Sequence[Value]) -> bool:
    return not any(isinstance(operand, (*IMAGE_VALUES, Arranged)) for operand in operands)


def _kind(node: onnx.NodeProto) -> str:
    """The operator's name, with its domain where that isn't ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _read(context: Context, operands: Sequence[Value]) -> list[Value]:
    """What a node gives for its operands, of which at least one depends on the image.

    Raises:
        BitfaceError: the node has a form that isn't supported.
    """
    reader = onnx_reader(_kind(context.node))
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
        context.refuse(STILL_INTEGERS)
    numbers = _read(context, [operand.numbers if isinstance(operand, Integers) else operand for operand in operands])
    return [replace(integers, numbers=result) if isinstance(result, Node | Arranged) else result for result in numbers]


def _refuse_training(context: Context, operands: Sequence[Value]) -> None:
    """Raises BitfaceError for a node, of constants or not, that doesn't do the same at every inference."""
    kind = _kind(context.node)
    reader = onnx_reader(kind)
    training = reader is not None and reader.in_training is not None and reader.in_training(context, operands)
    if training or kind in _RANDOM:
        reason = "is in training mode" if training else "draws random numbers, as in training"
        raise BitfaceError(f"node '{context.name}' ({kind}) {reason}; export the network again, after `.eval()`")
