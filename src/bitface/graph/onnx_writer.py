"""Writes a graph as an ONNX model: in float, or with QDQ pairs for one of two engines.

`openvino`: pairs where the graph has its quantizers, PReLU as one operator (OpenVINO fuses it).
`onnxruntime`: uint8 activations, a pair on both sides of every layer, and PReLU in operators that have integer
kernels; see `onnx_prelu`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from bitface.graph import onnx_prelu, ops
from bitface.graph.builder import shape_of
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize, limits

Profile = Literal["openvino", "onnxruntime"]
PROFILES: tuple[Profile, ...] = ("openvino", "onnxruntime")

# Both engines of the last years read it; nothing here needs a newer one.
OPSET = 17
IR_VERSION = 8


def to_onnx(
    graph: GraphModule,
    profile: Profile = "openvino",
    metadata: dict[str, Any] | None = None,
    input_name: str = "image",
    output_name: str = "embedding",
) -> onnx.ModelProto:
    """The ONNX model of a graph: one float input `[batch, 3, H, W]`, one float output `[batch, D]`, batch free.

    Args:
        graph: in float, or with the modules of `integer`.
        profile: the engine it is written for.
        metadata: goes into the file's own properties; values other than strings as JSON.
    """
    writer = Writer(graph, profile)
    nodes = writer.write(input_name, output_name)
    image = shape_of(next(iter(graph.graph.nodes)))
    embedding = shape_of(graph.graph.output_node().all_input_nodes[0])
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "bitface",
            [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", *image[1:]])],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", *embedding[1:]])],
            writer.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="bitface",
    )
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    return model


class Writer:
    """Collects ONNX nodes and initialisers while walking a graph."""

    def __init__(self, graph: GraphModule, profile: Profile) -> None:
        self.graph, self.profile = graph, profile
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
                self._names[node] = self._emit(node, module, sources)
            else:
                self._finish(self._names[node.all_input_nodes[0]], output_name)
        return self.nodes

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Appends an ONNX node and gives the name of its output: the one wanted, or a free one like it."""
        while output in self._taken:
            output += "_"
        self._taken.add(output)
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
        """The ONNX integer type of an activation, and the zero point in it.

        ONNX Runtime's fast kernels take uint8 activations: a signed one is shifted by 128, which changes no value.
        """
        if quantizer.signed and self.profile == "onnxruntime":
            return np.dtype(np.uint8), quantizer.zero_point + 128
        return np.dtype(np.int8 if quantizer.signed else np.uint8), quantizer.zero_point

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
        factor: Tensor | None = None,
        rank: int = 2,
    ) -> str:
        """A convolution or linear layer on dequantized integers.

        Args:
            factor: multiplies the output channels, by the scales and the signs of the integers alone; a channel of
                factor 0 gets integers 0. Weights of 8 bits are never -128, so that the sign can always turn.
            rank: of the value, where a linear layer's may be other than 2.
        """
        weight, scale, bias, zero_point = module.weight, module.scale, module.bias, module.zero_point
        if factor is not None:
            sign = factor.sign().to(torch.int8)
            weight = weight * sign.view(-1, *[1] * (weight.dim() - 1))
            bias = None if bias is None else bias * sign
            zero_point = None if zero_point is None else zero_point * sign
            scale = scale * torch.where(sign == 0, torch.ones_like(factor), factor.abs())
        inputs = [x, self._dequantized(name + ".weight", weight, scale, zero_point)]
        if bias is not None and module.input_scale:
            bias_scale = (scale * module.input_scale).expand(bias.numel())
            inputs.append(self._dequantized(name + ".bias", bias, bias_scale, None))
        elif bias is not None:
            inputs.append(self.constant(name + ".bias", bias))
        return self._matrix(name, module, inputs, rank)

    def _dequantized(self, name: str, integers: Tensor, scale: Tensor, zero_point: Tensor | None) -> str:
        per_channel = scale.numel() > 1
        zeros = torch.zeros(scale.numel(), dtype=integers.dtype) if zero_point is None else zero_point
        parts = [
            self.constant(name + "_integers", integers),
            self.constant(name + "_scale", scale if per_channel else scale.reshape(())),
            self.constant(name + "_zero_point", zeros if per_channel else zeros.reshape(())),
        ]
        return self.op("DequantizeLinear", parts, name, **({"axis": 0} if per_channel else {}))

    def _matrix(self, name: str, module: nn.Module, inputs: list[str], rank: int) -> str:
        if isinstance(module, nn.Conv2d | IntegerConv2d):
            return self.op(
                "Conv", inputs, name, kernel_shape=list(module.kernel_size), strides=list(module.stride),
                pads=[int(side) for side in module.padding] * 2, dilations=list(module.dilation), group=module.groups,
            )  # fmt: skip
        if rank == 2:
            return self.op("Gemm", inputs, name, transB=1)
        product = self.op("MatMul", [inputs[0], self.op("Transpose", [inputs[1]], name + "_turned")], name + "_product")
        return self.op("Add", [product, inputs[2]], name) if len(inputs) == 3 else product

    def _emit(self, node: Node, module: nn.Module, sources: list[str]) -> str:
        name = str(node.target)
        if self.profile == "onnxruntime" and isinstance(module, IntegerConv2d | IntegerLinear):
            return onnx_prelu.emit_layer(self, node, module, sources[0])
        if self.profile == "onnxruntime" and isinstance(module, nn.PReLU):
            return onnx_prelu.emit_prelu(self, node, module, sources[0])
        if isinstance(module, QuantizeDequantize):
            return self._emit_quantizer(node, module, sources[0])
        if isinstance(module, IntegerConv2d | IntegerLinear):
            return self.layer(name, module, sources[0], rank=len(shape_of(node)))
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = [sources[0], self.constant(name + ".weight", module.weight)]
            if module.bias is not None:
                inputs.append(self.constant(name + ".bias", module.bias))
            return self._matrix(name, module, inputs, len(shape_of(node)))
        return _EMITTERS[ops.op_name(module) or ""](self, name, module, sources, node)

    def _emit_quantizer(self, node: Node, module: QuantizeDequantize, x: str) -> str:
        name = str(node.target)
        dtype, zero_point = self.integer_type(module)
        if module.bits == 8:
            return self.quantize(x, name, module.scale, zero_point, dtype)
        # The engine's integers are wider, so the limits must be said: to ONNX Runtime after the rounding, as a float
        # limit would keep the layer before it from running in integers; to OpenVINO, which fuses it, before.
        bounds = [bound - module.zero_point for bound in limits(module.bits, module.signed)]
        if self.profile == "onnxruntime":
            inside = [self.number(bound + zero_point, dtype.type) for bound in bounds]
            return self.quantize(x, name, module.scale, zero_point, dtype, inside)
        if all(isinstance(self.module_of(user), ops.Add) for user in node.users):
            return self._rounded(x, name, module.scale, bounds)
        around = [self.number(bound * module.scale) for bound in bounds]
        return self.quantize(self.op("Clip", [x, *around], name + "_clipped"), name, module.scale, zero_point, dtype)

    def _rounded(self, x: str, name: str, scale: float, bounds: Sequence[int]) -> str:
        """A quantizer as arithmetic in float, which `onnx_ops` reads back.

        OpenVINO leaves the rounding of a pair out where an addition alone reads it. With 256 levels that hardly shows;
        of 16 levels it was half of what the embedding had lost. The addition is in float in any case.
        """
        by = self.number(scale)
        levels = self.op("Round", [self.op("Div", [x, by], name + "_levels")], name + "_rounded")
        return self.op("Mul", [self.op("Clip", [levels, *map(self.number, bounds)], name + "_limited"), by], name)

    def _finish(self, source: str, output_name: str) -> None:
        """Lets the operator that computes the output write it under its name."""
        if not any(source in node.output for node in self.nodes):  # a graph that computes nothing
            self.nodes.append(helper.make_node("Identity", [source], [output_name]))
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [output_name if name == source else name for name in names]


Emitter = Callable[[Writer, str, Any, list[str], Node], str]


def _simple(kind: str, attributes: Callable[[Any], dict[str, Any]] = lambda module: {}) -> Emitter:
    return lambda writer, name, module, sources, node: writer.op(kind, sources, name, **attributes(module))


def _shaped(value: Tensor, node: Node) -> Tensor:
    """A per-channel tensor in the shape that broadcasts along axis 1."""
    return value.reshape(-1, *[1] * (len(shape_of(node)) - 2)) if value.numel() > 1 else value.reshape(1)


def _prelu(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    return writer.op("PRelu", [sources[0], writer.constant(name + ".slope", _shaped(module.weight, node))], name)


def _affine(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    scaled = writer.op(
        "Mul", [sources[0], writer.constant(name + ".scale", _shaped(module.scale, node))], name + "_scaled"
    )
    return writer.op("Add", [scaled, writer.constant(name + ".shift", _shaped(module.shift, node))], name)


def _batch_norm(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    tensors = {key: getattr(module, key) for key in ("weight", "bias", "running_mean", "running_var")}
    inputs = [writer.constant(f"{name}.{key}", value) for key, value in tensors.items()]
    return writer.op("BatchNormalization", [*sources, *inputs], name, epsilon=module.eps)


def _clip(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    quantizer = writer.only_quantizer(node)
    if quantizer is not None:
        low, high = (bound - quantizer.zero_point for bound in limits(quantizer.bits, quantizer.signed))
        if round(module.low / quantizer.scale) <= low and high <= round(module.high / quantizer.scale):
            return sources[0]  # the quantizer cuts off at least as much
    return writer.op("Clip", [sources[0], writer.number(module.low), writer.number(module.high)], name)


def _reshape(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    # Never a Flatten: ONNX Runtime doesn't move integers through one, and the layer after it would run in float.
    return writer.op("Reshape", [*sources, writer.constant(name + ".shape", np.array([0, *module.tail]))], name)


def _slice(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    end = np.iinfo(np.int64).max if module.end is None else module.end
    values = [("start", module.start), ("end", end), ("axis", module.dim), ("step", module.step)]
    inputs = [writer.constant(f"{name}.{key}", np.array([value])) for key, value in values]
    return writer.op("Slice", [*sources, *inputs], name)


def _pad(writer: Writer, name: str, module: Any, sources: list[str], node: Node) -> str:
    left, right, top, bottom = module.pads
    pads = writer.constant(name + ".pads", np.array([0, 0, top, left, 0, 0, bottom, right]))
    return writer.op("Pad", [*sources, pads, writer.number(module.value)], name)


def _pool(module: Any) -> dict[str, Any]:
    def pair(value: Any) -> list[int]:
        return [value, value] if isinstance(value, int) else list(value)

    padding = pair(module.padding)
    result = {
        "kernel_shape": pair(module.kernel_size), "strides": pair(module.stride), "pads": padding * 2,
        "ceil_mode": int(module.ceil_mode),
    }  # fmt: skip
    if isinstance(module, nn.MaxPool2d):
        return {**result, "dilations": pair(module.dilation)}
    return {**result, "count_include_pad": int(module.count_include_pad)}


def _reduce(module: Any) -> dict[str, Any]:
    return {"axes": list(module.dims), "keepdims": int(module.keepdim)}


_EMITTERS: dict[str, Emitter] = {
    **{
        kind: _simple(kind)
        for kind in ("Add", "Sub", "Mul", "Div", "MatMul", "Relu", "Sigmoid", "Tanh", "HardSwish", "Round")
    },
    "PRelu": _prelu,
    "LeakyRelu": _simple("LeakyRelu", lambda module: {"alpha": module.negative_slope}),
    "Clip": _clip,
    "HardSigmoid": _simple("HardSigmoid", lambda module: {"alpha": module.alpha, "beta": module.beta}),
    "BatchNorm": _batch_norm,
    "BatchNorm1d": _batch_norm,
    "ChannelAffine": _affine,
    "MaxPool": _simple("MaxPool", _pool),
    "AveragePool": _simple("AveragePool", _pool),
    "Concat": _simple("Concat", lambda module: {"axis": module.dim}),
    "Reshape": _reshape,
    "Transpose": _simple("Transpose", lambda module: {"perm": list(module.dims)}),
    "Slice": _slice,
    "Pad": _pad,
    "ReduceMean": _simple("ReduceMean", _reduce),
    "ReduceL2": _simple("ReduceL2", _reduce),
    "Normalize": _simple("LpNormalization", lambda module: {"axis": module.dim, "p": module.p}),
}
