"""Activations of single numbers that are curves: sigmoid and its kin."""

import torch
from torch import Tensor, nn

from bitface.graph.onnx_writer import one_node
from bitface.graph.op_spec import OnnxReader, OpSpec, Traits, register
from bitface.graph.torch_context import call_module


class HardSigmoid(nn.Module):
    """`clip(alpha·x + beta, 0, 1)` with ONNX's free slope; torch's is alpha = 1/6."""

    def __init__(self, alpha: float = 1 / 6, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return (self.alpha * x + self.beta).clamp(0, 1)


register(
    OpSpec(
        "Sigmoid",
        nn.Sigmoid,
        onnx={"Sigmoid": OnnxReader(lambda context, x: context.add(nn.Sigmoid(), x), elementwise=True)},
        torch_calls=dict.fromkeys(("sigmoid", torch.sigmoid, nn.functional.sigmoid), call_module(nn.Sigmoid)),
        write=one_node("Sigmoid"),
        traits=Traits(never_negative=True, activation=True, channels="kept"),
    )
)
register(
    OpSpec(
        "Tanh",
        nn.Tanh,
        onnx={"Tanh": OnnxReader(lambda context, x: context.add(nn.Tanh(), x), elementwise=True)},
        torch_calls=dict.fromkeys(("tanh", torch.tanh, nn.functional.tanh), call_module(nn.Tanh)),
        write=one_node("Tanh"),
        traits=Traits(activation=True, channels="kept"),
    )
)
register(
    OpSpec(
        "HardSigmoid",
        HardSigmoid,
        onnx={
            "HardSigmoid": OnnxReader(
                lambda context, x: context.add(
                    HardSigmoid(context.attribute("alpha", 0.2), context.attribute("beta", 0.5)), x
                ),
                elementwise=True,
            )
        },
        torch_calls=dict.fromkeys(("hardsigmoid", nn.functional.hardsigmoid), call_module(nn.Hardsigmoid)),
        torch_modules={nn.Hardsigmoid: lambda context, module, x: context.add(HardSigmoid(), x)},
        write=one_node("HardSigmoid", lambda module: {"alpha": module.alpha, "beta": module.beta}),
        traits=Traits(never_negative=True, activation=True, channels="kept"),
    )
)
register(
    OpSpec(
        "HardSwish",
        nn.Hardswish,
        onnx={"HardSwish": OnnxReader(lambda context, x: context.add(nn.Hardswish(), x), elementwise=True)},
        torch_calls=dict.fromkeys(("hardswish", nn.functional.hardswish), call_module(nn.Hardswish)),
        write=one_node("HardSwish"),
        traits=Traits(activation=True, channels="kept"),
    )
)
