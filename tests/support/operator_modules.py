"""Modules of every operator of the vocabulary, in graphs of one operator on an image batch `[N, 4, 6, 6]`."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bitface.graph import ops
from bitface.graph.builder import Builder
from bitface.graph.integer import IntegerConv2d, IntegerLinear, LayerIntegers, QuantizeDequantize, Window
from bitface.graph.operators.arithmetic import Max, Min
from bitface.graph.operators.comparison import Compare, Where
from bitface.graph.operators.elementwise import (
    Abs,
    Erf,
    Exp,
    Log,
    Neg,
    Pow,
    Reciprocal,
    Selu,
    Sqrt,
    ThresholdedRelu,
)
from bitface.graph.operators.reductions import ReduceL1, ReduceMax, ReduceMin, ReduceSum, ReduceSumSquare
from bitface.graph.operators.resizing import Resize
from bitface.graph.operators.views import Gather

SHAPE = (4, 6, 6)
REDUCTIONS = (ops.ReduceL2, ReduceL1, ReduceMax, ReduceMin, ReduceSum, ReduceSumSquare)
BINARY: tuple[type[nn.Module], ...] = (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.MatMul, Max, Min, Compare)

# The last module of a chain is the operator.
EXAMPLES: dict[str, list[nn.Module]] = {
    **{module.__name__: [module()] for module in BINARY if module is not Compare},
    "Compare": [Compare(relation) for relation in ("Greater", "LessOrEqual")],
    "Where": [Where()],
    **{module.__name__: [module()] for module in (Neg, Abs, Exp, Erf)},
    **{module.__name__: [nn.Sequential(nn.Sigmoid(), module())] for module in (Sqrt, Reciprocal, Log)},
    "Pow": [Pow(2), Pow(3), nn.Sequential(nn.Sigmoid(), Pow(-0.5))],
    "Softplus": [nn.Softplus(), nn.Softplus(2)],
    "Softsign": [nn.Softsign()],
    "Elu": [nn.ELU(), nn.ELU(0.7)],
    "Celu": [nn.CELU(), nn.CELU(1.5)],
    "Selu": [Selu(), Selu(1, 2)],
    "ThresholdedRelu": [ThresholdedRelu(), ThresholdedRelu(-0.2)],
    "Silu": [nn.SiLU()],
    "Mish": [nn.Mish()],
    "GroupNorm": [
        nn.GroupNorm(2, 4),
        nn.GroupNorm(4, 4, eps=1e-3),
        nn.Sequential(ops.Reshape((4, 36)), nn.GroupNorm(1, 4)),
    ],
    "LRN": [nn.LocalResponseNorm(3), nn.LocalResponseNorm(5, 0.1, 0.5, 2)],
    "Resize": [
        Resize((4, 12, 9), (1, 2, 1.5)),
        Resize((4, 8, 3), (1, 1.4, 0.5), "linear", "align_corners"),
        Resize((4, 12, 6), (1, 2, 1), "nearest", "asymmetric", "floor"),
    ],
    "Gather": [Gather(1, (2, 0, 3, 1)), Gather(3, (1, 1, 4))],
    "Conv": [nn.Conv2d(4, 6, (3, 2), (1, 2), 1, 2, 2), nn.Conv2d(4, 4, 1, bias=False)],
    "Linear": [nn.Linear(6, 5), nn.Linear(6, 5, bias=False)],
    "BatchNorm": [nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3)],
    "BatchNorm1d": [nn.Sequential(ops.Reshape((4, 36)), nn.BatchNorm1d(4))],
    "ChannelAffine": [ops.ChannelAffine(4)],
    "Relu": [nn.ReLU(inplace=True)],
    "PRelu": [nn.PReLU(), nn.PReLU(4)],
    "LeakyRelu": [nn.LeakyReLU(), nn.LeakyReLU(0.3)],
    "Clip": [ops.Clip(-1, 0.5), ops.Clip(float("-inf"), 6), ops.Clip(0, 0.7)],
    "Sigmoid": [nn.Sigmoid()],
    "Tanh": [nn.Tanh()],
    "HardSigmoid": [ops.HardSigmoid(), ops.HardSigmoid(0.2, 0.4)],
    "HardSwish": [nn.Hardswish()],
    "Round": [ops.Round()],
    "MaxPool": [nn.MaxPool2d(2), nn.MaxPool2d((3, 2), (2, 1), 1, 1, ceil_mode=True)],
    "AveragePool": [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d((2, 3), ceil_mode=True, count_include_pad=False)],
    "Concat": [ops.Concat(1)],
    "Reshape": [ops.Reshape((2, 72))],
    "Transpose": [ops.Transpose((0, 3, 1, 2))],
    "Slice": [ops.Slice(1, 1, 3), ops.Slice(2, 0, None, 2), ops.Slice(1, 3, None, -1), ops.Slice(3, 5, 0, -2)],
    "Pad": [
        ops.Pad((1, 2, 0, 1)),
        ops.Pad((1, 0, 0, 0), float("-inf")),
        ops.Pad((0, 0, 0, 0, 1, 2)),
        ops.Pad((1, 0, 2, 3), 0, "reflect"),
        nn.Sequential(ops.Reshape((144,)), ops.Pad((1, 4), 0.5)),
    ],
    "ReduceMean": [ops.ReduceMean((2, 3)), ops.ReduceMean((2,), keepdim=False)],
    **{kind.__name__: [kind((1,)), kind((2, 3), keepdim=False)] for kind in REDUCTIONS},
    "Normalize": [ops.Normalize(1), ops.Normalize(2, 1)],
    "Softmax": [nn.Softmax(1), nn.Softmax(3)],
    "Gelu": [nn.GELU(), nn.GELU("tanh")],
    "LayerNorm": [nn.LayerNorm(6), nn.LayerNorm((6, 6), 1e-3)],
    "QuantizeDequantize": [QuantizeDequantize(0.03, 5, 8, False), QuantizeDequantize(0.1, -3, 4, True)],
    "IntegerConv": [
        IntegerConv2d(4, 6, (3, 3), Window(padding=(1, 1), groups=2), LayerIntegers(bits=4, input_scale=0.1)),
        IntegerConv2d(
            4, 2, (1, 1), integers=LayerIntegers(bias=False, per_channel=False, asymmetric=True, output_scale=0.5)
        ),
    ],
    "IntegerLinear": [
        IntegerLinear(6, 3),
        IntegerLinear(6, 3, LayerIntegers(bits=2, input_scale=0.2, asymmetric=True)),
    ],
}


class Called(nn.Module):
    """A function of the image as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def graph_of(*modules: nn.Module, image: tuple[int, ...] = SHAPE) -> GraphModule:
    """A chain of copies, numbers of their own; an operator of two tensors reads the last one and a constant."""
    builder = Builder(image)
    node = builder.input
    for index, module in enumerate(modules):
        count = 1 if type(module) in BINARY else 2 if isinstance(module, Where) else 0
        extra = [builder.constant("fixed", torch.rand(6, 6)) for _ in range(count)]
        node = builder.add(f"part.{index}", copy.deepcopy(module), node, *extra)
    return randomise(builder.finish(node))


def randomise(graph: GraphModule) -> GraphModule:
    for tensor in graph.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
        else:
            tensor.random_(0, 100)
    return graph


def chain(example: nn.Module) -> list[nn.Module]:
    """What leads to an operator, and the operator."""
    return list(example) if isinstance(example, nn.Sequential) else [example]
