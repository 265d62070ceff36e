"""Functions of single numbers: powers, roots and exponentials, and the activations made of them."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from bitface.graph.onnx_context import Context
from bitface.graph.onnx_integers import Value
from bitface.graph.onnx_writer import Writer, one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.operators.arithmetic import Mul
from bitface.graph.torch_context import TorchContext, call_module


class Neg(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


class Abs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Sqrt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Reciprocal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reciprocal()


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class Pow(nn.Module):
    """`x ** exponent`, one exponent for all."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = float(exponent)

    def forward(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)


class ThresholdedRelu(nn.Module):
    """`x` above alpha, otherwise 0."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.threshold(x, self.alpha, 0.0)


class Selu(nn.Module):
    """`gamma · elu(x)` with ONNX's free numbers; torch's are these defaults."""

    def __init__(self, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> None:
        super().__init__()
        self.alpha, self.gamma = float(alpha), float(gamma)

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * nn.functional.elu(x, self.alpha)


def _register(
    name: str,
    module: type[nn.Module],
    traits: Traits | Callable[[Any], Traits],
    *,
    attributes: Mapping[str, tuple[str, float]] | None = None,
    write: Callable[..., str] | None = None,
    **options: Any,
) -> None:
    """An operator with an ONNX operator of its name.

    Args:
        attributes: of the module → the ONNX attribute and what ONNX assumes where it is missing.
    """
    sources = attributes or {}

    def read(context: Context, x: Node) -> Node:
        return context.add(module(**{key: context.attribute(*source) for key, source in sources.items()}), x)

    register(
        OpSpec(
            name,
            module,
            onnx=options.pop("onnx", {name: OnnxReader(read, elementwise=True)}),
            write=write
            or one_node(name, lambda module: {source[0]: getattr(module, key) for key, source in sources.items()}),
            traits=traits,
            **options,
        )
    )


def _calls(make: Callable[..., nn.Module], *names: Any) -> dict[Any, Callable[..., Node]]:
    """Calls of one tensor."""
    return dict.fromkeys(names, lambda context, x: context.add(make(), x))


def _read_pow(context: Context, x: Value, exponent: Value) -> Node:
    if isinstance(exponent, Node) or np.size(exponent) != 1:
        context.refuse("raises to more than one power, or to a power computed from the image")
    return context.add(Pow(np.asarray(exponent).item()), x)


def _call_pow(context: TorchContext, x: Any, exponent: Any) -> Node:
    if not isinstance(x, Node) or isinstance(exponent, Node):
        raise ValueError("a power computed from the image")
    return context.add(Pow(torch.as_tensor(exponent).item()), x)


def _traits_of_pow(module: Pow) -> Traits:
    return Traits(never_negative=module.exponent % 2 == 0, keeps_sign=True, channels="kept")


def _read_swish(context: Context, x: Node) -> Node:
    alpha = context.attribute("alpha", 1.0)
    if alpha == 1:
        return context.add(nn.SiLU(), x)
    scaled = context.add(Mul(), x, context.node_of(alpha), suffix="_scaled")
    return context.add(Mul(), x, context.add(nn.Sigmoid(), scaled, suffix="_gate"))


def _call_rsqrt(context: TorchContext, x: Node) -> Node:
    return context.add(Reciprocal(), context.add(Sqrt(), x, suffix="_root"))


def _write_softplus(writer: Writer, node: Node, module: nn.Softplus, inputs: list[str]) -> str:
    name = str(node.target)
    if module.beta == 1:
        return writer.op("Softplus", inputs, name)
    scaled = writer.op("Mul", [*inputs, writer.number(float(module.beta))], name + "_scaled")
    curve = writer.op("Softplus", [scaled], name + "_curve")
    return writer.op("Div", [curve, writer.number(float(module.beta))], name)


def _write_silu(writer: Writer, node: Node, module: nn.SiLU, inputs: list[str]) -> str:
    gate = writer.op("Sigmoid", inputs, f"{node.target}_gate")
    return writer.op("Mul", [*inputs, gate], str(node.target))


def _write_mish(writer: Writer, node: Node, module: nn.Mish, inputs: list[str]) -> str:
    """In operators of opset 17, which has no Mish."""
    curve = writer.op("Softplus", inputs, f"{node.target}_softplus")
    gate = writer.op("Tanh", [curve], f"{node.target}_gate")
    return writer.op("Mul", [*inputs, gate], str(node.target))


_CURVE = Traits(activation=True, channels="kept")
_POSITIVE_CURVE = Traits(never_negative=True, activation=True, channels="kept")

_register("Neg", Neg, Traits(channels="kept"), torch_calls=_calls(Neg, "neg", operator.neg, torch.neg))
_register("Abs", Abs, _POSITIVE_CURVE, torch_calls=_calls(Abs, "abs", operator.abs, torch.abs))
_register("Sqrt", Sqrt, _POSITIVE_CURVE, torch_calls=_calls(Sqrt, "sqrt", torch.sqrt))
_register(
    "Reciprocal",
    Reciprocal,
    Traits(keeps_sign=True, channels="kept"),
    torch_calls={
        **_calls(Reciprocal, "reciprocal", torch.reciprocal),
        **dict.fromkeys(("rsqrt", torch.rsqrt), _call_rsqrt),
    },
)
_register("Exp", Exp, _POSITIVE_CURVE, torch_calls=_calls(Exp, "exp", torch.exp))
_register("Log", Log, Traits(channels="kept"), torch_calls=_calls(Log, "log", torch.log))
_register(
    "Erf", Erf, Traits(keeps_sign=True, channels="kept"), torch_calls=_calls(Erf, "erf", torch.erf, torch.special.erf)
)
_register(
    "Pow",
    Pow,
    _traits_of_pow,
    onnx={"Pow": OnnxReader(_read_pow, elementwise=True)},
    torch_calls={
        **dict.fromkeys(("pow", operator.pow, torch.pow), _call_pow),
        **_calls(lambda: Pow(2), "square", torch.square),
    },
    write=lambda writer, node, module, inputs: writer.op(
        "Pow", [*inputs, writer.number(module.exponent)], str(node.target)
    ),
)
_register(
    "Softplus",
    nn.Softplus,
    _POSITIVE_CURVE,
    torch_calls={nn.functional.softplus: call_module(nn.Softplus)},
    write=_write_softplus,
)
_register(
    "Softsign",
    nn.Softsign,
    Traits(keeps_sign=True, channels="kept"),
    torch_calls={nn.functional.softsign: call_module(nn.Softsign)},
)
_register(
    "Elu",
    nn.ELU,
    _CURVE,
    attributes={"alpha": ("alpha", 1.0)},
    torch_calls={nn.functional.elu: call_module(nn.ELU)},
)
_register(
    "Celu",
    nn.CELU,
    _CURVE,
    attributes={"alpha": ("alpha", 1.0)},
    torch_calls={nn.functional.celu: call_module(nn.CELU)},
)
_register(
    "Selu",
    Selu,
    _CURVE,
    attributes={"alpha": ("alpha", 1.6732631921768188), "gamma": ("gamma", 1.0507010221481323)},
    torch_calls={nn.functional.selu: call_module(nn.SELU)},
    torch_modules={nn.SELU: lambda context, module, x: context.add(Selu(), x)},
)
_register(
    "ThresholdedRelu",
    ThresholdedRelu,
    lambda module: Traits(never_negative=module.alpha >= 0, keeps_levels=True, channels="kept"),
    attributes={"alpha": ("alpha", 1.0)},
    torch_modules={
        nn.Threshold: lambda context, module, x: (
            context.add(ThresholdedRelu(module.threshold), x) if module.value == 0 else None
        )
    },
)
_register(
    "Silu",
    nn.SiLU,
    _CURVE,
    onnx={"Swish": OnnxReader(_read_swish, elementwise=True)},
    torch_calls={nn.functional.silu: call_module(nn.SiLU)},
    write=_write_silu,
)
_register("Mish", nn.Mish, _CURVE, torch_calls={nn.functional.mish: call_module(nn.Mish)}, write=_write_mish)
