"""What compilers ask of the QDQ pairs of an ONNX file, as checks of a written file.

Each check gives what breaks it, one line with the node's name. A vendor's profile picks those that its pages ask for.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

Check = Callable[["QdqFile"], Iterator[str]]

_LAYERS = ("Conv", "Gemm", "MatMul")
_PAIR = ("QuantizeLinear", "DequantizeLinear")


class QdqFile:
    """An ONNX file, its constants as arrays, and who makes and reads each of its tensors."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path / "model.onnx" if path.is_dir() else path)
        self.nodes: list[NodeProto] = list(self.model.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def maker(self, name: str) -> str:
        """The operator that makes a tensor; empty for constants and the image."""
        return self.makers[name].op_type if name in self.makers else ""

    def of_constant(self, node: NodeProto) -> bool:
        """Whether a DequantizeLinear reads integers that are in the file, such as weights."""
        return node.input[0] in self.constants

    def title(self, node: NodeProto) -> str:
        """The name of an operator; of a half of a pair without one, that of the operator around it."""
        names = (one.name for name in node.output for one in self.readers.get(name, []) if one.name)
        before = (self.makers[name].name for name in node.input if name in self.makers)
        return node.name or next(names, "") or next(before, "") or node.output[0]

    def kind(self, node: NodeProto) -> str:
        """The integers of a half of a pair, such as uint8: those of its zero point, or of the constant it reads."""
        return str(self.constants[node.input[2 if len(node.input) > 2 else 0]].dtype)

    def zeros(self, node: NodeProto) -> np.ndarray:
        """The zero points of a half of a pair."""
        return self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(1, np.int32)

    def integers(self, name: str) -> str:
        """The type of the integers that a tensor stands for, such as uint8; empty where it is in float."""
        return self.kind(self.makers[name]) if self.maker(name) == _PAIR[1] else ""

    def rounded_to(self, name: str) -> set[str]:
        """The types that the readers of a tensor round it to; empty for those that read it in float."""
        return {self.kind(one) if one.op_type == _PAIR[0] else "" for one in self.readers.get(name, [])}

    def activations(self) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type == _PAIR[0])

    def weights(self) -> Iterator[tuple[NodeProto, NodeProto]]:
        """The layers with integer weights, and the DequantizeLinear of these."""
        for node in self.nodes:
            source = self.makers.get(node.input[1]) if node.op_type in _LAYERS else None
            while source is not None and source.op_type == "Transpose":
                source = self.makers.get(source.input[0])
            if source is not None and source.op_type == _PAIR[1] and self.of_constant(source):
                yield node, source


def checked(check: Check) -> Callable[[Path], list[str]]:
    """A check as `Rule.broken` wants it."""
    return lambda path: list(check(QdqFile(path)))


def activation_types(*kinds: str) -> Check:
    """Activations are rounded to these types."""

    def check(file: QdqFile) -> Iterator[str]:
        for node in file.activations():
            if (kind := file.kind(node)) not in kinds:
                yield f"'{file.title(node)}' rounds to {kind}"

    return check


def zero_points_zero(file: QdqFile) -> Iterator[str]:
    """No pair has a zero point."""
    for node in file.nodes:
        if node.op_type in _PAIR and (zeros := file.zeros(node)).any():
            yield f"'{file.title(node)}' has the zero point {zeros.flat[0]}"


def scales_positive(file: QdqFile) -> Iterator[str]:
    """Scales are constants above zero."""
    for node in file.nodes:
        if node.op_type in _PAIR and not (
            node.input[1] in file.constants and (file.constants[node.input[1]] > 0).all()
        ):
            yield f"'{file.title(node)}' has a scale that isn't a positive constant"


def weights_signed(file: QdqFile) -> Iterator[str]:
    """Weights are int8 without zero points."""
    for layer, source in file.weights():
        kind, zeros = file.kind(source), file.zeros(source)
        if kind != "int8" or zeros.any():
            yield f"'{layer.name}' has weights of {kind}" + (" with zero points" if zeros.any() else "")


def weights_per_output(file: QdqFile) -> Iterator[str]:
    """Weights have one scale, or one for each output channel, along the first axis."""
    for layer, source in file.weights():
        count, axis = file.constants[source.input[1]].size, _attribute(source, "axis", 1)
        if count > 1 and (axis != 0 or count != len(file.constants[source.input[0]])):
            yield f"'{layer.name}' has {count} scales along axis {axis}"


def no_weights_of_sequences(file: QdqFile) -> Iterator[str]:
    """No linear layer with integer weights reads a sequence of vectors, which is a MatMul."""
    for layer, _ in file.weights():
        if layer.op_type == "MatMul":
            yield f"'{layer.name}' is a linear layer of a sequence, with integer weights"


def activations_per_tensor(file: QdqFile) -> Iterator[str]:
    """Activations have one scale each."""
    for node in file.activations():
        if (count := file.constants[node.input[1]].size) > 1:
            yield f"'{file.title(node)}' has {count} scales"


def bias_in_float(file: QdqFile) -> Iterator[str]:
    """Nothing dequantizes int32, as which biases are stored elsewhere."""
    for node in file.nodes:
        if node.op_type == _PAIR[1] and file.of_constant(node) and file.kind(node) == "int32":
            yield f"'{file.title(node)}' dequantizes int32"


def bias_in_integers(file: QdqFile) -> Iterator[str]:
    """The bias of a layer with integer weights is int32."""
    for layer, _ in file.weights():
        if len(layer.input) == 3 and file.integers(layer.input[2]) != "int32":
            yield f"'{layer.name}' has a bias in float"


def one_type(file: QdqFile) -> Iterator[str]:
    """What an operator reads and gives has one integer type, where it is in integers; weights may have another."""
    for node in file.nodes:
        if node.op_type not in _PAIR:
            names = node.input[:1] if node.op_type in _LAYERS else node.input
            kinds = {file.integers(name) for name in names} | file.rounded_to(node.output[0])
            kinds -= {"", "int32"}  # floats, and the bias of a product
            if len(kinds) > 1:
                yield f"'{node.name}' computes with {' and '.join(sorted(kinds))}"


def no_layer_before(*operators: str) -> Check:
    """These operators don't read a layer's sums: a pair stands between them."""

    def check(file: QdqFile) -> Iterator[str]:
        layers = {layer.output[0] for layer, _ in file.weights()}
        for node in file.nodes:
            if node.op_type in operators and node.input[0] in layers:
                yield f"'{node.name}' reads the sums of '{file.makers[node.input[0]].name}'"

    return check


def fixed_shapes(file: QdqFile) -> Iterator[str]:
    """The shapes of the image and of the embedding are numbers."""
    for value in (*file.model.graph.input, *file.model.graph.output):
        if not all(side.dim_value for side in value.type.tensor_type.shape.dim):
            sides = [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
            yield f"'{value.name}' has the shape {sides}"


def opset_within(low: int, high: int) -> Check:
    def check(file: QdqFile) -> Iterator[str]:
        opset = next(entry.version for entry in file.model.opset_import if entry.domain in ("", "ai.onnx"))
        if not low <= opset <= high:
            yield f"the file has opset {opset}"

    return check


def ir_up_to(version: int) -> Check:
    def check(file: QdqFile) -> Iterator[str]:
        if file.model.ir_version > version:
            yield f"the file has IR version {file.model.ir_version}"

    return check


def operators_of(names: str) -> Check:
    """The file has these operators alone."""
    known = set(names.split())

    def check(file: QdqFile) -> Iterator[str]:
        for node in file.nodes:
            if node.op_type not in known or node.domain not in ("", "ai.onnx"):
                yield f"'{node.name}' is a {node.op_type}"

    return check


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
