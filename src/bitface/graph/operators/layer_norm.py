"""LayerNorm: mean 0 and variance 1 over the last axes of every token, then a scale and a shift (Ba et al., 2016)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.attributes import fill
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer
from bitface.graph.op_spec import OnnxReader, OpSpec, Shape, Traits, register
from bitface.graph.torch_context import TorchContext


def layer_norm(shape: Sequence[int], weight: Any, bias: Any, eps: float) -> nn.LayerNorm:
    """A LayerNorm over axes of this shape; scale and shift may be of fewer axes, or None for one and zero."""
    module = nn.LayerNorm(tuple(shape), eps)
    numbers = {"weight": weight, "bias": bias}
    return fill(module, **{key: None if one is None else np.broadcast_to(one, shape) for key, one in numbers.items()})


def _read(context: Context, x: Node, weight: Value, bias: Value = None) -> Node:
    shape = shape_of(x)
    axis = axis_of(context.attribute("axis", -1), len(shape))
    if axis == 0 or isinstance(weight, Node) or isinstance(bias, Node):
        context.refuse("normalises over the batch, or by a scale that depends on the image")
    return context.add(layer_norm(shape[axis:], weight, bias, context.attribute("epsilon", 1e-5)), x)


def _call(
    context: TorchContext,
    x: Node,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Node:
    return context.add(layer_norm(normalized_shape, _array(weight), _array(bias), eps), x)


def _accept(module: nn.LayerNorm) -> nn.LayerNorm:
    return layer_norm(module.normalized_shape, _array(module.weight), _array(module.bias), module.eps)


def _array(value: Tensor | None) -> np.ndarray | None:
    return None if value is None else value.detach().numpy()


def _check(module: nn.LayerNorm, inputs: Sequence[Shape]) -> None:
    if len(module.normalized_shape) >= len(inputs[0]):
        raise ValueError("it would normalise over the batch")


def _write(writer: Writer, node: Node, module: nn.LayerNorm, inputs: list[str]) -> str:
    name = str(node.target)
    values = {"weight": module.weight, "bias": module.bias}
    numbers = [writer.constant(f"{name}.{key}", value) for key, value in values.items() if value is not None]
    axis = -len(module.normalized_shape)
    return writer.op("LayerNormalization", [*inputs, *numbers], name, axis=axis, epsilon=module.eps)


register(
    OpSpec(
        "LayerNorm",
        nn.LayerNorm,
        onnx={"LayerNormalization": OnnxReader(_read)},
        torch_calls=dict.fromkeys((nn.functional.layer_norm, torch.layer_norm), _call),
        accept=_accept,
        write=_write,
        check=_check,
        largest_tensor=lambda values: ("weight", list(values["normalized_shape"])),
        traits=Traits(in_float="divides by a deviation that is another one for every token"),
    )
)
