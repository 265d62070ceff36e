"""PReLU for ONNX Runtime, which has no integer kernel for it and a slow one in float.

After an integer layer there are two ways, and `split` is exact: a uint8 output with zero point 0 can't hold
anything negative, one with zero point 255 nothing positive, so the layer itself, run on scaled copies of its weights,
gives the parts of `PReLU(x) = max(x, 0) + a⁺·min(x, 0) + max(a⁻·x, 0)` (a⁺, a⁻: the positive and negative slopes),
each rounded to the levels of the sum, of which only one part is not zero. What remains is integer addition. Where the
layer costs more than arithmetic on its output, its output is rounded once more instead and the PReLU runs in float.
Before a reader of 16 bits it runs in float as it is.
"""

import numpy as np
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.builder import gives_embedding, shape_of
from bitface.graph.integer import IntegerConv2d, IntegerLinear, QuantizeDequantize
from bitface.graph.onnx_writer import Writer

# Multiplications per output up to which running the layer again is cheaper than float arithmetic on the output
# (`benchmarks/onnxruntime_prelu.py`).
SPLIT_UP_TO = 128

_BYTE = np.dtype(np.uint8)
# What sums of channels that a part has nothing of are multiplied by: no sum of 32 bits reaches an integer.
_NEXT_TO_NOTHING = 1e-20


def emit_layer(writer: Writer, node: Node, module: IntegerConv2d | IntegerLinear, x: str) -> str:
    """An integer layer, its output rounded where floats follow; before a PReLU it is left to `emit_prelu`."""
    if _joined(writer, node):
        return x
    output = writer.layer(str(node.target), module, x, rank=len(shape_of(node)))
    if not module.output_scale or gives_embedding(writer.graph, node):
        return output
    name = f"{node.target}_rounded"
    return writer.quantize(output, name, module.output_scale, module.output_zero_point, _BYTE)


def emit_prelu(writer: Writer, node: Node, module: nn.PReLU, x: str) -> str:
    """A PReLU; after an integer layer, the layer too (`x` is then the layer's input)."""
    source = node.all_input_nodes[0]
    layer = writer.module_of(source)
    if not isinstance(layer, IntegerConv2d | IntegerLinear) or not _joined(writer, source):
        return _in_float(writer, node, module, x)
    quantizer = writer.only_quantizer(node) if layer.input_scale else None
    if quantizer is not None and quantizer.bits > 8:
        quantizer = None  # eight bits between the two would lose what it keeps
    if quantizer is not None and layer.weight[0].numel() <= SPLIT_UP_TO:
        return _split(writer, node, module, layer, quantizer, x)
    name = str(source.target)
    output = writer.layer(name, layer, x)
    if quantizer is not None and layer.output_scale:
        output = writer.quantize(output, name + "_rounded", layer.output_scale, layer.output_zero_point, _BYTE)
    return _in_float(writer, node, module, output)


def _joined(writer: Writer, node: Node) -> bool:
    """Whether a layer is read by a PReLU alone, whose channels are the layer's."""
    reader = next(iter(node.users))
    return len(node.users) == 1 and isinstance(writer.module_of(reader), nn.PReLU) and len(shape_of(node)) != 3


def _split(
    writer: Writer,
    node: Node,
    module: nn.PReLU,
    layer: IntegerConv2d | IntegerLinear,
    quantizer: QuantizeDequantize,
    x: str,
) -> str:
    name, source = str(node.target), str(node.all_input_nodes[0].target)
    slope = module.weight.detach().expand(layer.weight.shape[0])
    first = f"{source}.positive"
    parts: list[tuple[str, Tensor | None, int]] = [(first, None, 0)]
    if (slope > 0).any():
        parts.append((f"{source}.falling", slope.clamp(min=_NEXT_TO_NOTHING), 255))
    if (slope < 0).any():
        parts.append((f"{source}.rising", slope.clamp(max=-_NEXT_TO_NOTHING), 0))
    total = ""
    for part, factor, zero_point in parts:
        output = writer.layer(part, layer, x, copy=None if factor is None else (first, factor))
        value = writer.quantize(output, part + "_q", quantizer.scale, zero_point, _BYTE)
        if total:
            value = writer.op("Add", [total, value], name if part == parts[-1][0] else part + "_sum")
            if part != parts[-1][0]:
                value = writer.quantize(value, part + "_sum_q", quantizer.scale, *writer.integer_type(quantizer)[::-1])
        total = value
    return total


def _in_float(writer: Writer, node: Node, module: nn.PReLU, x: str) -> str:
    """`max(x, 0) + a·min(x, 0)`, in operators that keep ONNX Runtime's blocked layout."""
    name = str(node.target)
    slope = module.weight.detach()
    shape = (-1, *[1] * (len(shape_of(node)) - 2)) if slope.numel() > 1 else (1,)
    positive = writer.op("Relu", [x], name + "_positive")
    negative = writer.op("Min", [x, writer.number(0.0)], name + "_negative")
    scaled = writer.op("Mul", [negative, writer.constant(name + ".slope", slope.reshape(shape))], name + "_scaled")
    return writer.op("Add", [positive, scaled], name)
