"""Writes a graph as a TensorFlow Lite file: in float, or in integers wherever its quantizers say so.

Maps lie in memory with the channels last, as LiteRT's operators want them; everything else as the graph has it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph import ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import QuantizeDequantize, limits
from bitface.graph.passes import module_of
from bitface.preprocess import Preprocess
from bitface.targets.litert.rounding import output_quantizer
from bitface.targets.litert.schema import Op, Options, Type, along, picks, version
from bitface.targets.litert.tflite_file import Scales, TfliteFile

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Levels:
    """The integers that a tensor holds: `(q - zero_point) · scale`, from `low` to `high`, which its type may exceed."""

    scale: float
    zero_point: int
    element: Type
    low: int
    high: int

    @staticmethod
    def of(quantizer: QuantizeDequantize) -> "Levels":
        """Of a quantizer; unsigned ones of 8 bits are signed ones here, shifted."""
        kind = Type.INT8 if quantizer.bits <= 8 else Type.INT16
        shift = 0 if quantizer.signed else 128
        low, high = (bound - shift for bound in limits(quantizer.bits, quantizer.signed))
        return Levels(quantizer.scale, quantizer.zero_point - shift, kind, low, high)

    @property
    def scales(self) -> Scales:
        return Scales((self.scale,), self.zero_point)

    @property
    def dtype(self) -> type:
        return np.int8 if self.element is Type.INT8 else np.int16

    def place(self, number: float) -> int:
        """The integer of a number."""
        return int(np.clip(np.rint(number / self.scale) + self.zero_point, self.low, self.high))


@dataclass(frozen=True)
class Value:
    """A tensor of the file.

    Attributes:
        shape: as the graph knows it, with a batch of 1.
        image: channels, height and width of a map that lies with its channels last, flat or not; None: it lies as
            `shape` says.
        levels: of integers; None: floats.
    """

    tensor: int
    shape: Shape
    image: tuple[int, int, int] | None = None
    levels: Levels | None = None

    @property
    def sides(self) -> Shape:
        """The shape in memory."""
        if self.image is None or len(self.shape) != 4:
            return self.shape
        channels, height, width = self.image
        return 1, height, width, channels

    def axis(self, axis: int) -> int:
        """An axis of the graph's shape in memory."""
        return axis if self.image is None or len(self.shape) != 4 else (0, 3, 1, 2)[axis]


# What an operator reads: a tensor that depends on the image, or a constant.
Operand = Any
Write = Callable[["Writer", Node, Any, list[Operand]], Value]


class Writer:
    """Collects operators while walking a graph, of which `rounding.rounded` has made the roundings explicit."""

    def __init__(self, graph: GraphModule, writers: Mapping[str, Write]) -> None:
        self.graph, self.file = graph, TfliteFile()
        self._writers = writers
        self._values: dict[Node, Operand] = {}
        self._forms: dict[tuple[int, str], Value] = {}
        # Activations that are part of the operator before them.
        self.fused: set[Node] = set()

    def write(self, pixels: Preprocess | None = None) -> TfliteFile:
        """The whole file.

        Args:
            pixels: the image is uint8 in RGB, and the file makes of it what the network reads.

        Raises:
            BitfaceError: an operator that LiteRT hasn't.
        """
        buffers = dict(self.graph.named_buffers())
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._image(shape_of(node), pixels)
            elif node.op == "get_attr":
                self._values[node] = buffers[str(node.target)].detach().numpy().astype(np.float32)
            elif node.op == "call_module":
                operands = [self._values[source] for source in node.args if isinstance(source, Node)]
                self._values[node] = self._write(node, operands)
            else:
                result = self.plain(self.floats(self._values[node.all_input_nodes[0]]))
                self.file.finish(result.tensor)
        return self.file

    def _image(self, shape: Shape, pixels: Preprocess | None) -> Value:
        channels, height, width = shape[1:]
        value = Value(0, (1, *shape[1:]), (channels, height, width))
        if pixels is None:
            self.file.tensor("image", value.sides, Type.FLOAT32)
            return value
        means, deviations = pixels.mean[:channels], pixels.std[:channels]
        mean, deviation = means[0], deviations[0]
        # Where the integers' own scale and zero point say it, nothing has to be computed.
        own = len({*means}) == len({*deviations}) == 1 and mean in range(256) and deviation > 0
        scales = Scales((1 / deviation,), int(mean)) if own else Scales((1.0,))
        self.file.tensor("image", value.sides, Type.UINT8, scales)
        value = self.op(Op.DEQUANTIZE, "image_floats", [value], like=value)
        if pixels.color == "bgr":
            order = self.file.constant("image_order", np.array([2, 1, 0], np.int32))
            value = self.op(Op.GATHER, "image_bgr", [value, order], like=value, options=picks(3))
        if own:
            return value
        for op, name, numbers in ((Op.SUB, "image_mean", means), (Op.DIV, "image_std", deviations)):
            row = self.file.constant(name, np.array(numbers, np.float32).reshape(1, 1, 1, -1))
            value = self.op(op, f"{name}_out", [value, row], like=value)
        return value

    def _write(self, node: Node, operands: list[Operand]) -> Value:
        module = self.module_of(node)
        assert module is not None
        name = ops.op_name(module) or type(module).__name__
        if name not in self._writers:
            raise self.obstacle(node, "which LiteRT hasn't")
        if node in self.fused:
            assert isinstance(operands[0], Value)
            return operands[0]
        return self._writers[name](self, node, module, operands)

    def obstacle(self, node: Node, reason: str) -> BitfaceError:
        """What to raise where an operator can't be written."""
        name = ops.op_name(self.module_of(node) or nn.Identity()) or "module"
        return BitfaceError(
            f"'{node.target}' is a {name}, {reason}; write the network for openvino or onnxruntime, or train one "
            "without it"
        )

    def module_of(self, node: Node) -> nn.Module | None:
        return module_of(self.graph, node)

    def levels_of(self, node: Node) -> Levels | None:
        """The levels that a node's value is rounded to wherever it is read."""
        quantizer = output_quantizer(self.graph, node)
        return None if quantizer is None else Levels.of(quantizer)

    def op(
        self,
        op: Op,
        name: str,
        inputs: Sequence[Value | int],
        like: Value,
        levels: Levels | None = None,
        options: Options | None = None,
    ) -> Value:
        """Appends an operator on tensors and constants.

        Args:
            like: has the shape of its result.
            levels: of its result; None: floats.
        """
        first = inputs[0]
        kind = levels or (first.levels if isinstance(first, Value) else None)
        scales, element = (levels.scales, levels.element) if levels else (None, Type.FLOAT32)
        output = self.file.tensor(name, like.sides, element, scales)
        tensors = [one.tensor if isinstance(one, Value) else one for one in inputs]
        self.file.operator(op, version(op, kind.element if kind else Type.FLOAT32), tensors, output, options)
        return Value(output, like.shape, like.image, levels)

    def floats(self, x: Value) -> Value:
        """The numbers that integers stand for."""
        if x.levels is None:
            return x
        return self._form(x, "floats", lambda: self.op(Op.DEQUANTIZE, self._name(x, "floats"), [x], like=x))

    def quantized(self, x: Value, levels: Levels, name: str) -> Value:
        if x.levels == levels:
            return x
        return self.limited(self.op(Op.QUANTIZE, name, [self.floats(x)], like=x, levels=self.whole(levels)), levels)

    def whole(self, levels: Levels) -> Levels:
        """Levels without limits other than their type's."""
        low, high = limits(8 if levels.element is Type.INT8 else 16, True)
        return replace(levels, low=low, high=high)

    def limited(self, x: Value, levels: Levels) -> Value:
        """Integers within the limits of levels of the same scale."""
        assert x.levels is not None
        whole = self.whole(levels)
        for op, bound, widest in ((Op.MAXIMUM, levels.low, whole.low), (Op.MINIMUM, levels.high, whole.high)):
            if bound != widest:
                number = self.file.constant("bound", np.array([bound], levels.dtype), levels.scales)
                x = self.op(op, self._name(x, "limited"), [x, number], like=x, levels=whole)
        return replace(x, levels=levels)

    def channels_last(self, x: Value) -> Value:
        """A map as the operators on maps read it."""
        if x.image is not None or len(x.shape) != 4:
            return x
        channels, height, width = x.shape[1:]
        like = Value(x.tensor, x.shape, (channels, height, width), x.levels)
        return self._form(x, "last", lambda: self.moved(x, like, (0, 2, 3, 1)))

    def plain(self, x: Value) -> Value:
        """A tensor that lies as the graph has it."""
        if x.image is None:
            return x
        channels, height, width = x.image
        like = replace(x, image=None)
        if len(x.shape) == 4:
            return self._form(x, "plain", lambda: self.moved(x, like, (0, 3, 1, 2)))
        if channels == 1 or height * width == 1:
            return like
        apart = replace(x, shape=(1, channels, height, width))
        return self._form(x, "plain", lambda: self.reshaped(self.plain(self.reshaped(x, apart)), like))

    def moved(self, x: Value, like: Value, order: Shape) -> Value:
        """A tensor with its axes in memory in another order; no work where only sides of 1 move."""
        long = [axis for axis in order if x.sides[axis] != 1]
        if long == sorted(long):
            return self.reshaped(x, like)
        places = self.file.constant("order", np.array(order, np.int32))
        return self.op(Op.TRANSPOSE, self._name(x, "turned"), [x, places], like=like, levels=x.levels)

    def reshaped(self, x: Value, like: Value) -> Value:
        """The same numbers in another shape in memory; the batch is free."""
        if x.sides == like.sides:
            return replace(like, tensor=x.tensor, levels=x.levels)
        shape = self.file.constant("shape", np.array([-1, *like.sides[1:]], np.int32))
        return self.op(Op.RESHAPE, self._name(x, "view"), [x, shape], like=like, levels=x.levels)

    def alike(self, *operands: Operand) -> list[Value]:
        """Operands of an operator on numbers, arranged alike: tensors, and constants as floats."""
        values = [one for one in operands if isinstance(one, Value)]
        first = values[0]
        same = {(len(one.shape), one.image if len(one.shape) != 4 else None) for one in values}
        rows = [one for one in operands if not isinstance(one, Value)]
        last = len(same) == 1 and any(one.image is not None for one in values)
        if last and len(first.shape) != 4 and any(np.size(row) > 1 for row in rows):
            last = False
        form = (self.channels_last if len(first.shape) == 4 else lambda x: x) if last else self.plain
        turned = last and len(first.shape) == 4
        return [form(one) if isinstance(one, Value) else self.constant(one, turned) for one in operands]

    def constant(self, array: np.ndarray, channels_last: bool = False) -> Value:
        """Floats; of a map in the graph's order, with its channels last."""
        array = np.asarray(array, np.float32)
        array = array.reshape((1,) * max(4 - array.ndim if channels_last else 1 - array.ndim, 0) + array.shape)
        if channels_last:
            shape = array.shape
            return Value(
                self.file.constant("constant", array.transpose(0, 2, 3, 1)), shape, (shape[1], shape[2], shape[3])
            )
        return Value(self.file.constant("constant", array), array.shape)

    def joined(self, name: str, parts: Sequence[Value], axis: int, like: Value) -> Value:
        """Parts that lie alike, one after the other along an axis of the graph's shape."""
        if any(part.levels != parts[0].levels for part in parts):
            parts = [self.floats(part) for part in parts]
        options = along(like.axis(axis))
        return self.op(Op.CONCATENATION, name, parts, like=like, levels=parts[0].levels, options=options)

    def _form(self, x: Value, form: str, make: Callable[[], Value]) -> Value:
        """A form of a tensor, which is made once."""
        key = (x.tensor, f"{form} {x.shape} {x.image}")
        if key not in self._forms:
            self._forms[key] = make()
        return self._forms[key]

    def _name(self, x: Value, what: str) -> str:
        return what
