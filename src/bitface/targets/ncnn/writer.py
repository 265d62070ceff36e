"""Writes a graph, in float or with its integers, as an ncnn model.

Quantizers leave nothing of their own: an integer layer rounds what it reads by itself, and whatever else reads the
tensor reads it in float.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize
from bitface.graph.op_spec import op_name
from bitface.graph.passes import module_of
from bitface.targets.ncnn.model_files import EMBEDDING, IMAGE, ModelFiles, Parameter

# Appends a node: called with the writer, the node and its module.
WriteOperator = Callable[["Writer", Node, Any], None]

# The keys of the sides of a blob, the last axis first: w, h, d, c. Of three axes there is no d.
_SIDES = {1: (0,), 2: (0, 1), 3: (0, 1, 2), 4: (0, 1, 11, 2)}


class Writer:
    """Collects the layers of a model while walking a graph.

    Args:
        operators: name of an operator → how it is written.
        layers: the modules whose accumulator may compute the activation behind it.
        activations: that it may compute.
    """

    def __init__(
        self,
        graph: GraphModule,
        operators: Mapping[str, WriteOperator],
        layers: tuple[type[nn.Module], ...],
        activations: Collection[type[nn.Module]],
    ) -> None:
        self.graph, self.files = graph, ModelFiles()
        self._operators = operators
        self._blobs: dict[Node, list[str]] = {}
        # What leaves no layer of its own → whose value it is.
        self._same: dict[Node, Node] = {}
        self._fused: dict[Node, nn.Module] = {}
        for node in graph.graph.nodes:
            module = self.module_of(node)
            if isinstance(module, QuantizeDequantize):
                self._same[node] = node.all_input_nodes[0]
            elif type(module) in activations and module is not None:
                source = node.all_input_nodes[0]
                if isinstance(self.module_of(source), layers) and len(source.users) == 1:
                    self._same[node], self._fused[source] = source, module
        self._output = self._origin(graph.graph.output_node().all_input_nodes[0])

    def write(self) -> ModelFiles:
        """The whole model.

        Raises:
            BitfaceError: ncnn has no layer for an operator, or for this form of it.
        """
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.files.layer("Input", IMAGE, [], [IMAGE], self.sides(node, shape_of(node)[1:]))
                self._give(node, IMAGE)
            elif node.op == "call_module" and node not in self._same:
                module = self.module_of(node)
                assert module is not None
                name = op_name(module) or type(module).__name__
                if name not in self._operators:
                    raise self.refusal(node, f"is a {name}")
                self._operators[name](self, node, module)
        return self.files

    def module_of(self, node: Node) -> nn.Module | None:
        return module_of(self.graph, node)

    def fused(self, node: Node) -> nn.Module | None:
        """The activation that a layer's accumulator computes."""
        return self._fused.get(node)

    def readers(self, node: Node) -> list[Node]:
        """What reads a value, as often as it does, with what leaves no layer of its own passed through; the graph's
        output is one, too.
        """
        result: list[Node] = []
        for user in node.users:
            operands = [operand for operand in user.args if operand is node] or [node]
            result += self.readers(user) if user in self._same else [user] * len(operands)
        return result

    def layer(
        self, kind: str, node: Node, inputs: Sequence[str], parameters: Mapping[int, Parameter] | None = None
    ) -> None:
        """Appends the layer that gives a node's value."""
        single = len(self.readers(node)) == 1
        name = self.files.name(str(node.target))
        blob = EMBEDDING if node is self._output and single else name
        self.files.layer(kind, name, inputs, [blob], parameters)
        self._give(node, blob)

    def part(
        self,
        kind: str,
        node: Node,
        word: str,
        inputs: Sequence[str],
        parameters: Mapping[int, Parameter] | None = None,
    ) -> str:
        """Appends a layer on the way to a node's value, and gives the name of its blob, which is read once."""
        name = self.files.name(f"{node.target}_{word}")
        self.files.layer(kind, name, inputs, [name], parameters)
        return name

    def halves(self, node: Node, blob: str) -> list[str]:
        """A blob on the way to a node's value that is read twice."""
        names = [self.files.name(f"{blob}_{index}") for index in range(2)]
        self.files.layer("Split", self.files.name(f"{blob}_split"), [blob], names)
        return names

    def read(self, operand: object, rank: int | None = None) -> str:
        """The blob of a node that another one reads; of a constant with so many axes beside the batch."""
        assert isinstance(operand, Node)
        if operand.op == "get_attr":
            return self._constant(operand, rank)
        return self._blobs[self._origin(operand)].pop()

    def constant(self, operand: object) -> Tensor | None:
        """The value of a constant operand."""
        if not isinstance(operand, Node) or operand.op != "get_attr":
            return None
        return self.graph.get_buffer(str(operand.target)).detach()

    def number(self, operand: object) -> float | None:
        """The value of an operand that is a single constant number."""
        value = self.constant(operand)
        return float(value) if value is not None and value.numel() == 1 else None

    def sides(self, node: Node, shape: Sequence[int]) -> dict[int, Parameter]:
        """The parameters that say a shape, without the batch."""
        if len(shape) not in _SIDES:
            raise self.refusal(node, f"has {len(shape)} axes beside the batch")
        return dict(zip(_SIDES[len(shape)], reversed(shape), strict=True))

    def refusal(self, node: Node, what: str) -> BitfaceError:
        return BitfaceError(
            f"'{node.target}' {what}, which ncnn has no layer for; export for another target, such as onnxruntime, or "
            "replace the operator in the network"
        )

    def _origin(self, node: Node) -> Node:
        while node in self._same:
            node = self._same[node]
        return node

    def _give(self, node: Node, blob: str) -> None:
        """Notes the blob of a value, one name for each of its readers."""
        count = len(self.readers(node))
        if count <= 1:
            self._blobs[node] = [blob]
            return
        names = [self.files.name(f"{blob}_{index}") for index in range(count)]
        if node is self._output:
            names[-1] = EMBEDDING
            self._blobs[node] = names[:-1]
        else:
            self._blobs[node] = list(names)
        self.files.layer("Split", self.files.name(f"{blob}_split"), [blob], names)

    def _constant(self, node: Node, rank: int | None) -> str:
        value = self.constant(node)
        assert value is not None
        shape = list(value.shape)
        missing = 0 if rank is None else rank + 1 - len(shape)
        shape = [1] * missing + shape
        if missing < 0 or len(shape) < 2 or shape[0] != 1:
            raise self.refusal(node, f"is a constant of {list(value.shape)}")
        name = self.files.name(str(node.target))
        self.files.layer("MemoryData", name, [], [name], self.sides(node, shape[1:]))
        self.files.numbers(value.numpy().astype(np.float32))
        return name
