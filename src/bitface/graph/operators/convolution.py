"""The convolution in two dimensions, and in one."""

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
from bitface.graph.operators.padding import padded
from bitface.graph.operators.windows import along_line, line
from bitface.graph.torch_context import TorchContext


def multiply_adds(module: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Of a convolution, for one image."""
    result: int = prod(output[1:]) * (module.in_channels // module.groups) * prod(module.kernel_size)
    return result


def weight_shape(values: Mapping[str, Any]) -> tuple[str, list[int]]:
    inputs = values["in_channels"] // values.get("groups", 1)
    return "weight", [values["out_channels"], inputs, *values["kernel_size"]]


def traits(module: Any) -> Traits:
    return Traits(zero_padded=any(module.padding), channels="kept")


def _read(context: Context, x: Node, weight: Value, bias: Value = None) -> Node:
    if isinstance(weight, Node) or isinstance(bias, Node):
        context.refuse("has weights computed from the image")
    axes = np.ndim(weight) - 2
    if axes not in (1, 2) or len(shape_of(x)) != axes + 2:
        context.refuse(f"is a convolution in {axes} dimensions, of a tensor of {len(shape_of(x))} axes")
    if axes == 1:
        return along_line(context, x, lambda plane: _read(line(context), plane, weight[:, :, None], bias))
    x, padding = padded(context, x, weight.shape[2:])
    module = construct(
        nn.Conv2d,
        in_channels=weight.shape[1] * context.attribute("group", 1),
        out_channels=weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        stride=context.pair("strides"),
        padding=padding,
        dilation=context.pair("dilations"),
        groups=context.attribute("group", 1),
        bias=bias is not None,
    )
    return context.add(fill(module, weight=weight, bias=bias), x)


def _accept(module: nn.Conv2d) -> nn.Conv2d | None:
    """Padding in numbers, the same on both sides, with zeros."""
    if module.padding_mode != "zeros":
        return None
    if isinstance(module.padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if module.padding == "same" and any(side % 2 for side in reach):
            return None
        module.padding = (0, 0) if module.padding == "valid" else (reach[0] // 2, reach[1] // 2)
    return module


def _in_one_dimension(context: TorchContext, module: nn.Conv1d, x: Node) -> Node | None:
    values = {"padding": module.padding if isinstance(module.padding, str) else (0, *module.padding)}
    plane = construct(
        nn.Conv2d,
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel_size=(1, *module.kernel_size),
        stride=(1, *module.stride),
        dilation=(1, *module.dilation),
        groups=module.groups,
        bias=module.bias is not None,
        padding_mode=module.padding_mode,
        **values,
    )
    numbers = {key: value.detach() for key, value in module.named_parameters()}
    replacement = _accept(fill(plane, **numbers))
    if replacement is None:
        return None
    return along_line(context, x, lambda images: context.add(replacement, images))


def _write(writer: Writer, node: Node, module: nn.Conv2d, inputs: list[str]) -> str:
    return writer.matrix(str(node.target), module, writer.with_weights(node, module, inputs))


register(
    OpSpec(
        "Conv",
        nn.Conv2d,
        onnx={"Conv": OnnxReader(_read)},
        torch_modules={nn.Conv1d: _in_one_dimension},
        accept=_accept,
        write=_write,
        multiply_adds=multiply_adds,
        largest_tensor=weight_shape,
        traits=traits,
    )
)
