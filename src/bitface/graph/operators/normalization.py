"""BatchNorm, what remains of one that can't be folded, and the division by a norm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.attributes import fill
from bitface.graph.builder import shape_of
from bitface.graph.onnx_context import Context, axis_of
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer, one_node, per_channel
from bitface.graph.op_spec import OnnxReader, OpSpec, Shape, Traits, register
from bitface.graph.torch_context import TorchContext


class ChannelAffine(nn.Module):
    """`x · scale + shift` per channel (axis 1): what remains of a BatchNorm that can't be folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


class Normalize(nn.Module):
    """Division by the Lp norm along one axis, p 1 or 2; zero stays zero, as in ONNX LpNormalization."""

    def __init__(self, dim: int, p: int = 2) -> None:
        super().__init__()
        self.dim, self.p = dim, p

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, self.p, self.dim)


NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)


def _read_batch_norm(context: Context, x: Node, scale: Value, shift: Value, mean: Value, variance: Value) -> Node:
    kind = nn.BatchNorm2d if len(shape_of(x)) == 4 else nn.BatchNorm1d
    module = kind(np.size(scale), eps=context.attribute("epsilon", 1e-5))
    return context.add(fill(module, weight=scale, bias=shift, running_mean=mean, running_var=variance), x)


def _in_training(context: Context, operands: Sequence[Value]) -> bool:
    # Before opset 14 the further outputs, the running statistics, are the mode, whether or not something reads
    # them; since, an attribute is, without which they are invalid.
    return bool(context.attribute("training_mode", 0)) or any(context.node.output[1:])


def _accept(module: Any) -> nn.Module | None:
    if not module.affine:
        module.weight = nn.Parameter(torch.ones(module.num_features))
        module.bias = nn.Parameter(torch.zeros(module.num_features))
    return None if module.running_mean is None else module


def _check(module: Any, inputs: Sequence[Shape]) -> None:
    if module.num_features != inputs[0][1]:
        raise ValueError(f"{module.num_features} channels expected")


def _write_batch_norm(writer: Writer, node: Node, module: Any, inputs: list[str]) -> str:
    keys = ("weight", "bias", "running_mean", "running_var")
    numbers = [writer.constant(f"{node.target}.{key}", getattr(module, key)) for key in keys]
    return writer.op("BatchNormalization", [*inputs, *numbers], str(node.target), epsilon=module.eps)


def _write_affine(writer: Writer, node: Node, module: ChannelAffine, inputs: list[str]) -> str:
    name = str(node.target)
    scale = writer.constant(name + ".scale", per_channel(module.scale, node))
    scaled = writer.op("Mul", [inputs[0], scale], name + "_scaled")
    return writer.op("Add", [scaled, writer.constant(name + ".shift", per_channel(module.shift, node))], name)


def _read_normalize(context: Context, x: Node) -> Node:
    axis, p = axis_of(context.attribute("axis", -1), len(shape_of(x))), context.attribute("p", 2)
    if axis == 0 or p not in (1, 2):
        context.refuse(f"divides by the L{p} norm along axis {axis}")
    return context.add(Normalize(axis, p), x)


def _call_normalize(context: TorchContext, x: Node, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Node:
    if p not in (1, 2) or eps > 1e-5:
        raise ValueError(f"L{p} norm with an epsilon of {eps}")
    (axis,) = context.dims(x, dim)
    return context.add(Normalize(axis, int(p)), x)


def _register_batch_norm(name: str, module: type[nn.Module], onnx: Mapping[str, OnnxReader]) -> None:
    register(
        OpSpec(
            name,
            module,
            onnx=onnx,
            accept=_accept,
            write=_write_batch_norm,
            check=_check,
            largest_tensor=lambda values: ("weight", [values["num_features"]]),
            traits=Traits(channel_affine=True, channels="kept"),
        )
    )


# The rank decides which of the two an ONNX file's becomes.
_register_batch_norm(
    "BatchNorm", nn.BatchNorm2d, {"BatchNormalization": OnnxReader(_read_batch_norm, in_training=_in_training)}
)
_register_batch_norm("BatchNorm1d", nn.BatchNorm1d, {})
register(
    OpSpec(
        "ChannelAffine",
        ChannelAffine,
        write=_write_affine,
        largest_tensor=lambda values: ("scale", [values["channels"]]),
        traits=Traits(channel_affine=True, channels="kept"),
    )
)
register(
    OpSpec(
        "Normalize",
        Normalize,
        onnx={"LpNormalization": OnnxReader(_read_normalize)},
        torch_calls=dict.fromkeys(("normalize", nn.functional.normalize), _call_normalize),
        write=one_node("LpNormalization", lambda module: {"axis": module.dim, "p": module.p}),
        traits=Traits(channels="kept"),
    )
)
