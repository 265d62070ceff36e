"""Walks a graph and writes the program that computes it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.passes import module_of
from bitface.targets.arithmetic import Rounding, rounding
from bitface.targets.base import NoKernel
from bitface.targets.c.program import FirstPixel, Levels, Name, PerRow, Program, Ref, Rows, Table, Value

# A tensor of the image, or a constant.
Operand = Any
Write = Callable[["Writer", Node, Any, list[Operand]], Value]


class Writer:
    """Collects calls while walking a graph."""

    def __init__(self, graph: GraphModule, writers: Mapping[str, Write]) -> None:
        self.graph, self.program = graph, Program()
        self._writers = writers
        self._values: dict[Node, Operand] = {}
        self._floats: dict[int, Value] = {}

    def write(self) -> Program:
        """Raises NoKernel: an operator that there is no kernel for."""
        buffers = dict(self.graph.named_buffers())
        for node in self.graph.graph.nodes:
            if node in self._values:  # computed with a node before it
                continue
            if node.op == "placeholder":
                self.program.image = self._values[node] = self.program.tensor(shape_of(node)[1:])
                self._read_image(self.program.image)
            elif node.op == "get_attr":
                self._values[node] = buffers[str(node.target)].detach().numpy().astype(np.float32)
            elif node.op == "call_module":
                operands = [self._values[source] for source in node.args if isinstance(source, Node)]
                module = module_of(self.graph, node)
                name = name_of(module)
                if name not in self._writers:
                    raise self.refusal(node, f"is a {name}")
                self._values[node] = self._writers[name](self, node, module, operands)
            else:
                self._finish(self._values[node.all_input_nodes[0]])
        return self.program

    def _read_image(self, image: Value) -> None:
        _, height, width = image.shape
        pixels = FirstPixel(width), PerRow(height * width, height)
        self.call("read_image", Name("crop"), Name("floats"), self.read(image), *pixels)

    def _finish(self, value: Value) -> None:
        value = self.listed(value)
        result = self.program.tensor(value.shape)
        self.call("copy", self.read(value), self.read(result), value.count)
        self.program.embedding = result

    def call(self, function: str, *arguments: object, rows: Rows | None = None) -> None:
        self.program.call(function, arguments, rows)

    def read(self, value: Value) -> Ref:
        return Ref(value.buffer, value.levels is None)

    def floats(self, value: Value) -> Value:
        """The numbers that integers stand for."""
        if value.levels is None:
            return value
        if value.buffer not in self._floats:
            result = self.program.tensor(value.shape, None, value.map)
            zero, scale = value.levels.zero, np.float32(value.levels.scale)
            self.call("dequantize", self.read(value), self.read(result), value.per_row(value.count), zero, scale)
            self._floats[value.buffer] = result
        return self._floats[value.buffer]

    def listed(self, value: Value) -> Value:
        """The floats of a tensor; of a list, in its own order in memory, too."""
        value = self.floats(value)
        if value.map is None:
            return value
        result, channels = self.program.tensor(value.shape), value.map[0]
        self.call("planes", self.read(value), self.read(result), value.count // channels, channels)
        return result

    def like(self, value: Value, levels: Levels | None = None) -> Value:
        """A new tensor of the same form."""
        return self.program.tensor(value.shape, levels, value.map)

    def rounded(self, node: Node, slopes: bool) -> tuple[Rounding, Levels] | None:
        """What rounds the output of a node that nothing else reads; see `rounding`."""
        result = rounding(self.graph, node, slopes)
        return None if result is None else (result, Levels.of(result.quantizer, result.integers()))

    def give(self, nodes: Sequence[Node], value: Value) -> Value:
        """Notes the value of nodes that are computed with the one at hand."""
        self._values |= dict.fromkeys(nodes, value)
        return value

    def per_channel(self, value: Value, numbers: Tensor | np.ndarray) -> Table:
        """One number for each channel of a tensor, in its order in memory."""
        values = np.asarray(numbers.detach() if isinstance(numbers, Tensor) else numbers, np.float32).reshape(-1)
        values = np.broadcast_to(values, (value.channels,))
        if value.map is not None:
            values = values.reshape(value.map).transpose(1, 2, 0).reshape(-1)
        return Table(np.ascontiguousarray(values))

    def refusal(self, node: Node, what: str) -> NoKernel:
        return NoKernel(
            f"'{node.target}' {what}, which there is no C for; export for another target, such as onnxruntime, or "
            "replace the operator in the network"
        )


def name_of(module: nn.Module | None) -> str:
    """Of an operator, as artifacts call it."""
    assert module is not None
    return ops.op_name(module) or type(module).__name__
