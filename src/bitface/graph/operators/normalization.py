"""BatchNorm, what remains of one that can't be folded, norms of groups of channels, and the division by a norm."""

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
from bitface.graph.torch_context import TorchContext, call_module


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
    # Opsets 7 and 8 can have statistics of every place of a map; MXNet says so, and then has them per channel.
    if not context.attribute("spatial", 1) and np.ndim(mean) != 1:
        context.refuse("has statistics of every place (spatial=0)")
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


def _read_group_norm(context: Context, x: Node, scale: Value, shift: Value) -> Node:
    """Before opset 21 one scale and shift per group, since then one per channel."""
    channels, groups = shape_of(x)[1], context.attribute("num_groups")
    return _group_norm(context, x, groups, [np.repeat(v, channels // np.size(v)) for v in (scale, shift)])


def _read_instance_norm(context: Context, x: Node, scale: Value, shift: Value) -> Node:
    return _group_norm(context, x, np.size(scale), [scale, shift])


def _group_norm(context: Context, x: Node, groups: int, numbers: Sequence[Value]) -> Node:
    if any(isinstance(number, Node) for number in numbers):
        context.refuse("computes its scale from the image")
    module = nn.GroupNorm(groups, shape_of(x)[1], context.attribute("epsilon", 1e-5))
    return context.add(fill(module, weight=numbers[0], bias=numbers[1]), x)


def _instance_module(context: TorchContext, module: Any, x: Node) -> Node:
    """A group norm of a channel in each group; one with running statistics computes as a BatchNorm does."""
    channels = shape_of(x)[1]
    kind = nn.BatchNorm2d if len(shape_of(x)) == 4 else nn.BatchNorm1d
    running = module.running_mean is not None
    norm = kind(channels, module.eps) if running else nn.GroupNorm(channels, channels, module.eps)
    statistics = {"running_mean": module.running_mean, "running_var": module.running_var} if running else {}
    numbers = {"weight": module.weight, "bias": module.bias, **statistics}
    return context.add(fill(norm, **{k: v.detach() for k, v in numbers.items() if v is not None}), x)


def _accept_group_norm(module: nn.GroupNorm) -> nn.Module:
    if not module.affine:
        module.weight = nn.Parameter(torch.ones(module.num_channels))
        module.bias = nn.Parameter(torch.zeros(module.num_channels))
    return module


def _call_group_norm(
    context: TorchContext, x: Node, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Node:
    module = fill(nn.GroupNorm(num_groups, shape_of(x)[1], eps), weight=weight, bias=bias)
    return context.add(module, x)


def _write_group_norm(writer: Writer, node: Node, module: nn.GroupNorm, inputs: list[str]) -> str:
    """As an instance norm of the groups, which opset 17 has."""
    name, groups = str(node.target), module.num_groups
    keys = ("weight", "bias")
    if groups == module.num_channels and len(shape_of(node)) > 2:
        numbers = [writer.constant(f"{name}.{key}", getattr(module, key)) for key in keys]
        return writer.op("InstanceNormalization", [*inputs, *numbers], name, epsilon=module.eps)
    scale, shift = (writer.constant(f"{name}.{key}", per_channel(getattr(module, key), node)) for key in keys)
    grouped = writer.op("Reshape", [*inputs, writer.constant(f"{name}.groups", np.array([0, groups, -1]))], f"{name}_g")
    plain = [
        writer.constant(f"{name}.{word}", make(groups)) for word, make in (("ones", torch.ones), ("none", torch.zeros))
    ]
    normed = writer.op("InstanceNormalization", [grouped, *plain], f"{name}_normed", epsilon=module.eps)
    sides = writer.constant(f"{name}.sides", np.array([0, *shape_of(node)[1:]]))
    scaled = writer.op("Mul", [writer.op("Reshape", [normed, sides], f"{name}_back"), scale], f"{name}_scaled")
    return writer.op("Add", [scaled, shift], name)


def _read_local_response(context: Context, x: Node) -> Node:
    defaults = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
    values = {key: context.attribute("bias" if key == "k" else key, default) for key, default in defaults.items()}
    module = _accept_local_response(nn.LocalResponseNorm(context.attribute("size"), **values))
    if module is None:
        context.refuse("averages over an even number of channels")
    return context.add(module, x)


def _accept_local_response(module: nn.LocalResponseNorm) -> nn.Module | None:
    # With an even one torch and ONNX don't agree on which side has one more.
    return module if module.size % 2 else None


def _local_response(module: nn.LocalResponseNorm) -> dict[str, Any]:
    return {"size": module.size, "alpha": module.alpha, "beta": module.beta, "bias": float(module.k)}


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
        "GroupNorm",
        nn.GroupNorm,
        onnx={
            "GroupNormalization": OnnxReader(_read_group_norm),
            "InstanceNormalization": OnnxReader(_read_instance_norm),
        },
        torch_calls={nn.functional.group_norm: _call_group_norm},
        torch_modules=dict.fromkeys((nn.InstanceNorm2d, nn.InstanceNorm1d), _instance_module),
        accept=_accept_group_norm,
        write=_write_group_norm,
        largest_tensor=lambda values: ("weight", [values["num_channels"]]),
    )
)
register(
    OpSpec(
        "LRN",
        nn.LocalResponseNorm,
        onnx={"LRN": OnnxReader(_read_local_response)},
        torch_calls={nn.functional.local_response_norm: call_module(nn.LocalResponseNorm)},
        accept=_accept_local_response,
        write=one_node("LRN", _local_response),
        traits=Traits(keeps_sign=True),
    )
)
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
        traits=Traits(in_float="divides by a norm that is another one for every image", channels="kept"),
    )
)
