"""The linear layer: a product with a constant matrix."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node

from bitface.graph.attributes import construct, fill
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Shape, Traits, register
from bitface.graph.operators.arithmetic import Add, Mul


def linear(context: Context, x: Value, weight: np.ndarray, bias: np.ndarray | None) -> Node:
    """`weight` is `[out, in]`; one bias may stand for all."""
    outputs, inputs = weight.shape
    bias = None if bias is None else np.broadcast_to(bias, (outputs,))
    module = construct(nn.Linear, in_features=inputs, out_features=outputs, bias=bias is not None)
    return context.add(fill(module, weight=weight, bias=bias), x)


def multiply_adds(module: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Of a product, for one image."""
    return prod(output[1:]) * inputs[0][-1]


def weight_shape(values: Mapping[str, Any]) -> tuple[str, list[int]]:
    return "weight", [values["out_features"], values["in_features"]]


def _read_gemm(context: Context, x: Value, weight: Value, bias: Value = None) -> Node:
    if isinstance(weight, Node) or not isinstance(x, Node) or context.attribute("transA", 0):
        context.refuse("multiplies by something other than a constant matrix from the right")
    weight = weight if context.attribute("transB", 0) else weight.T
    weight, beta = weight * np.float32(context.attribute("alpha", 1.0)), np.float32(context.attribute("beta", 1.0))
    if isinstance(bias, Node):  # what another layer gives, or of the image itself
        scaled = bias if beta == 1 else context.add(Mul(), bias, context.node_of(beta), suffix="_bias")
        return context.add(Add(), linear(context, x, weight, None), scaled, suffix="_sum")
    if np.ndim(bias) == 2 and np.shape(bias)[0] != 1:
        context.refuse("adds another bias to every image")
    return linear(context, x, weight, None if bias is None else np.asarray(bias).reshape(-1) * beta)


def _write(writer: Writer, node: Node, module: nn.Linear, inputs: list[str]) -> str:
    return writer.matrix(str(node.target), module, writer.with_weights(node, module, inputs), len(shape_of(node)))


register(
    OpSpec(
        "Linear",
        nn.Linear,
        onnx={"Gemm": OnnxReader(_read_gemm)},
        write=_write,
        multiply_adds=multiply_adds,
        largest_tensor=weight_shape,
        traits=Traits(channels="kept"),
    )
)
