"""Writes a graph as an ONNX model: in float, or with QDQ pairs in the form that its reader wants (`onnx_form`)."""

import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.errors import BitfaceError
from bitface.graph.builder import shape_of
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from bitface.graph.onnx_form import OnnxForm
from bitface.graph.op_spec import spec_of

# Both engines of the last years read it; only pairs of 16 bits need a newer one.
OPSET, IR_VERSION = 17, 8
OPSET_16_BITS, IR_VERSION_16_BITS = 21, 10


def to_onnx(
    graph: GraphModule,
    form: OnnxForm = OnnxForm(),
    metadata: dict[str, Any] | None = None,
    input_name: str = "image",
    output_name: str = "embedding",
) -> onnx.ModelProto:
    """The ONNX model of a graph: one float input `[batch, channels, H, W]`, one float output `[batch, D]`.

    Args:
        graph: in float, or with the modules of `integer`.
        form: of its integers, as the reader wants them.
        metadata: goes into the file's own properties; values other than strings as JSON.
    """
    writer = Writer(graph, form)
    nodes = writer.write(input_name, output_name)
    _shorten(nodes, writer.initializers, (input_name, output_name))
    image = shape_of(next(iter(graph.graph.nodes)))
    embedding = shape_of(graph.graph.output_node().all_input_nodes[0])
    batch = form.batch or "batch"
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "bitface",
            [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, *image[1:]])],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, *embedding[1:]])],
            writer.initializers,
        ),
        opset_imports=[helper.make_opsetid("", writer.opset)],
        ir_version=IR_VERSION_16_BITS if writer.opset == OPSET_16_BITS else IR_VERSION,
        producer_name="bitface",
    )
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    return model


def _shorten(nodes: list[onnx.NodeProto], initializers: list[TensorProto], ends: tuple[str, str]) -> None:
    """Numbers instead of names for what pairs read and give, but for weights: they would take a tenth of a file."""
    constants = {tensor.name for tensor in initializers}
    taken = {name for node in nodes for name in (*node.input, *node.output)}
    free = (str(number) for number in count() if str(number) not in taken)
    names = {name: name for name in ends}
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""
            integers = node.input[:1] if node.input[0] in constants else []
            for name in (*node.input, *node.output):
                if name not in names and name not in integers:
                    names[name] = next(free)
    for node in nodes:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for tensor in initializers:
        tensor.name = names.get(tensor.name, tensor.name)


class Writer:
    """Collects ONNX nodes and initialisers while walking a graph."""

    def __init__(self, graph: GraphModule, form: OnnxForm) -> None:
        self.graph, self.form = graph, form
        widths = {module.bits for module in graph.modules() if isinstance(module, QuantizeDequantize)}
        self.opset = OPSET_16_BITS if 16 in widths else OPSET
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._names: dict[Node, str] = {}
        self._initializer_names: set[str] = set()
        self._taken: set[str] = set()

    def write(self, input_name: str, output_name: str) -> list[onnx.NodeProto]:
        self._taken |= {input_name, output_name}
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self._names[node] = input_name
            elif node.op == "get_attr":
                value = dict(self.graph.named_buffers())[str(node.target)]
                self._names[node] = self.constant(str(node.target), value)
            elif node.op == "call_module":
                module = self.graph.get_submodule(str(node.target))
                sources = [self._names[source] for source in node.args if isinstance(source, Node)]
                spec = spec_of(module)
                if spec is None or spec.write is None:
                    raise BitfaceError(f"'{node.target}' is a {type(module).__name__}, which can't be written to ONNX")
                self._names[node] = spec.write(self, node, module, sources)
            else:
                self._finish(self._names[node.all_input_nodes[0]], output_name)
        return self.nodes

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Appends an ONNX node and gives the name of its output: the one wanted, or a free one like it."""
        while output in self._taken or output in self._initializer_names:
            output += "_"
        self._taken.add(output)
        if "axes" in attributes and self.opset > OPSET:  # an input since opset 18
            inputs = [*inputs, self.constant(f"{output}.axes", np.array(attributes.pop("axes"), np.int64))]
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Tensor | np.ndarray) -> str:
        """Appends an initialiser; the same name twice is the same tensor."""
        if name not in self._initializer_names:
            array = value.detach().numpy() if isinstance(value, Tensor) else value
            self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
            self._initializer_names.add(name)
        return name

    def number(self, value: float, dtype: type = np.float32) -> str:
        return self.constant(f"{np.dtype(dtype).name}_{value!r}", np.array(value, dtype))

    def module_of(self, node: Node) -> nn.Module | None:
        return self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None

    def only_quantizer(self, node: Node) -> QuantizeDequantize | None:
        """The quantizer that alone reads a node."""
        module = self.module_of(next(iter(node.users))) if len(node.users) == 1 else None
        return module if isinstance(module, QuantizeDequantize) else None

    def integer_type(self, quantizer: QuantizeDequantize) -> tuple[np.dtype, int]:
        """The ONNX integer type of an activation, and the zero point in it."""
        width = 16 if quantizer.bits > 8 else 8
        if quantizer.signed and not self.form.signed_activations:
            return np.dtype(f"uint{width}"), quantizer.zero_point + (1 << (width - 1))
        return np.dtype(f"int{width}" if quantizer.signed else f"uint{width}"), quantizer.zero_point

    def quantize(
        self, x: str, name: str, scale: float, zero_point: int, dtype: np.dtype, limits: Sequence[str] = ()
    ) -> str:
        """A Quantize and Dequantize pair, with limits of the integers between them where they are given."""
        scale_name, zero_name = self.number(scale), self.number(zero_point, dtype.type)
        integers = self.op("QuantizeLinear", [x, scale_name, zero_name], name + "_quantized")
        if limits:
            integers = self.op("Clip", [integers, *limits], name + "_limited")
        return self.op("DequantizeLinear", [integers, scale_name, zero_name], name)

    def layer(
        self,
        name: str,
        module: IntegerConv2d | IntegerLinear,
        x: str,
        rank: int = 2,
        copy: tuple[str, Tensor] | None = None,
    ) -> str:
        """A convolution or linear layer on dequantized integers.

        Args:
            rank: of the value, where a linear layer's may be other than 2.
            copy: the name of the layer as it was written, and what each of its output channels is multiplied by, all
                by numbers of one sign. The copy has integers that are computed from that layer's, which takes no bytes.
        """
        scale, bias, zero_point = module.scale, module.bias, module.zero_point
        if copy is None:
            integers = self.constant(name + ".weight", module.weight)
        else:
            original, factor = copy
            turns = bool((factor < 0).any())
            integers, scale = original + ".weight", scale * factor.abs()
            # ONNX Runtime doesn't let two layers read one initialiser, but one that it computes when it loads the file.
            # Weights of 8 bits are never -128, so that the sign can always turn.
            for _ in range(1 if turns else 2):
                integers = self.op("Neg", [integers], name + ".weight_turned")
            if turns:
                bias, zero_point = (None if one is None else -one for one in (bias, zero_point))
        zeros = torch.zeros(1, dtype=module.weight.dtype) if zero_point is None else zero_point
        inputs = [x, self._dequantized(name + ".weight", integers, scale, zeros.expand(scale.numel()))]
        kind = "Conv" if isinstance(module, IntegerConv2d) else "Gemm" if rank == 2 else "MatMul"
        if bias is not None and module.input_scale and kind in self.form.integer_bias:
            integers = self.constant(name + ".bias", bias)
            inputs.append(
                self._dequantized(name + ".bias", integers, (scale * module.input_scale).expand(bias.numel()))
            )
        elif bias is not None:
            numbers = bias.double() * (scale * module.input_scale).double() if module.input_scale else bias
            inputs.append(self.constant(name + ".bias", numbers.float()))
        return self.matrix(name, module, inputs, rank)

    def _dequantized(self, name: str, integers: str, scale: Tensor, zero_point: Tensor | None = None) -> str:
        """The numbers of constant integers; readers want zero points of weights even where they are 0."""
        axis = {"axis": 0} if scale.numel() > 1 else {}
        parts = {"scale": scale} if zero_point is None else {"scale": scale, "zero_point": zero_point}
        names = [self.constant(f"{name}_{key}", one if axis else one.reshape(())) for key, one in parts.items()]
        return self.op("DequantizeLinear", [integers, *names], name, **axis)

    def with_weights(self, node: Node, module: nn.Conv2d | nn.Linear, inputs: list[str]) -> list[str]:
        """The inputs of a layer in float, and its weights."""
        weights = {"weight": module.weight, "bias": module.bias}
        names = [self.constant(f"{node.target}.{key}", value) for key, value in weights.items() if value is not None]
        return [*inputs, *names]

    def matrix(self, name: str, module: nn.Module, inputs: list[str], rank: int = 2) -> str:
        """A convolution, or a linear layer of a value of this rank; inputs: the value, the weights, perhaps a bias."""
        if isinstance(module, nn.Conv2d | IntegerConv2d):
            return self.op(
                "Conv", inputs, name, kernel_shape=list(module.kernel_size), strides=list(module.stride),
                pads=[int(side) for side in module.padding] * 2, dilations=list(module.dilation), group=module.groups,
            )  # fmt: skip
        if rank == 2:
            return self.op("Gemm", inputs, name, transB=1)
        product = self.op("MatMul", [inputs[0], self.op("Transpose", [inputs[1]], name + "_turned")], name + "_product")
        return self.op("Add", [product, inputs[2]], name) if len(inputs) == 3 else product

    def _finish(self, source: str, output_name: str) -> None:
        """Lets the operator that computes the output write it under its name."""
        if not any(source in node.output for node in self.nodes):  # a graph that computes nothing
            self.nodes.append(helper.make_node("Identity", [source], [output_name]))
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [output_name if name == source else name for name in names]


def one_node(
    kind: str, attributes: Callable[[Any], dict[str, Any]] = lambda module: {}
) -> Callable[[Writer, Node, Any, list[str]], str]:
    """Writes an operator as one ONNX node with these attributes, which reads what the operator reads."""
    return lambda writer, node, module, inputs: writer.op(kind, inputs, str(node.target), **attributes(module))


def per_channel(value: Tensor, node: Node) -> Tensor:
    """A tensor of a number per channel in the shape that broadcasts along axis 1 of a node's value."""
    return value.reshape(-1, *[1] * (len(shape_of(node)) - 2)) if value.numel() > 1 else value.reshape(1)
