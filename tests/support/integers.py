"""Graphs of integers in odd shapes: what the C, and the arithmetic in torch, are held against the oracle on."""

from itertools import count
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from bitface.graph import Network, ops
from bitface.graph.builder import Builder
from bitface.graph.integer import IntegerConv2d, IntegerLinear, LayerIntegers, QuantizeDequantize, Window
from bitface.preprocess import parse


class Integers:
    """A graph in the making: layers with odd shapes, of all widths in turn."""

    def __init__(self, channels: int = 3, height: int = 11, width: int = 9) -> None:
        torch.manual_seed(0)
        self.builder = Builder((channels, height, width))
        self._bits, self._names = count(), count()

    def add(self, module: nn.Module, *inputs: Node) -> Node:
        return self.builder.add(f"n{next(self._names)}", module, *inputs)

    def rounded(self, x: Node, scale: float = 0.05, bits: int = 8, signed: bool = True, zero: int = 0) -> Node:
        return self.add(QuantizeDequantize(scale, zero, bits, signed), x)

    def listed(self, x: Node) -> Node:
        return self.add(ops.Reshape((prod(x.meta["shape"][1:]),)), x)

    def layer(
        self, x: Node, outputs: int, kernel: tuple[int, int] | None = None, bits: int | None = None, **window: Any
    ) -> Node:
        """A convolution, or without a kernel a linear layer; where no bits are named, with those that are next."""
        shape, bits = x.meta["shape"], bits or (8, 6, 4, 2, 5, 8, 3, 7, 1)[next(self._bits) % 9]
        integers = LayerIntegers(input_scale=0.05, bits=bits)
        layer: IntegerConv2d | IntegerLinear
        if kernel is None:
            layer = IntegerLinear(shape[1], outputs, integers)
        else:
            layer = IntegerConv2d(shape[1], outputs, kernel, Window(**window), integers)
        largest = max(2 ** (bits - 1) - 1, 1)
        layer.weight.random_(-largest, largest + 1)
        if bits == 1:
            layer.weight.copy_(torch.where(layer.weight < 0, -1, 1))
        layer.scale.uniform_(0.5, 1.5).mul_(1 / (0.6 * largest * layer.weight[0].numel() ** 0.5))
        assert layer.bias is not None
        layer.bias.random_(-500, 500)
        return self.add(layer, x)

    def network(self, output: Node) -> Network:
        graph = self.builder.finish(output)
        shape = self.builder.input.meta["shape"]
        return Network(graph, "net", parse("rgb-127.5-128", shape[2:]) if shape[1] == 3 else None)


def everything() -> Network:
    """Every kernel of integers: pointwise, padded, strided, dilated, in groups, depthwise, linear."""
    net = Integers()
    x = net.rounded(net.builder.input, 0.01)
    x = net.rounded(net.add(prelu(19), net.layer(x, 19, (3, 3), padding=(1, 1), stride=(2, 1))))
    y = net.rounded(net.layer(x, 19, (3, 3), padding=(1, 1), groups=19))
    y = net.rounded(net.add(nn.ReLU(), net.layer(y, 70, (1, 1))), signed=False)
    y = net.rounded(net.layer(y, 19, (1, 1)), bits=4, zero=-3)
    x = net.rounded(net.add(ops.Add(), x, y))
    x = net.rounded(net.add(ops.Clip(-0.5, 2.0), net.layer(x, 21, (2, 3), padding=(2, 1), dilation=(2, 2))), bits=6)
    x = net.rounded(net.layer(x, 14, (3, 1), groups=7, stride=(1, 2)), signed=False, zero=130)
    x = net.rounded(net.add(nn.LeakyReLU(0.1), net.layer(x, 33, (1, 1), stride=(2, 2))))
    x = net.rounded(net.layer(x, 33, (2, 2), groups=33))
    return net.network(net.layer(net.listed(x), 17))


def mixed_floats() -> Network:
    """Tensors that floats read, and what is computed in float between integers."""
    net = Integers(2, 8, 6)
    x = net.rounded(net.builder.input, 0.05)
    sums = net.layer(x, 20, (3, 3), padding=(1, 1))  # read twice
    a = net.rounded(net.add(nn.Hardswish(), sums))
    b = net.add(ops.Mul(), a, net.add(ops.HardSigmoid(), net.add(ops.ReduceMean((2, 3)), sums)))
    affine = ops.ChannelAffine(20)
    affine.scale.data.uniform_(0.5, 2)
    affine.shift.data.uniform_(-1, 1)
    c = net.add(affine, net.rounded(b))
    d = net.add(prelu(20), net.add(ops.Add(), c, a))
    pooled = net.add(nn.MaxPool2d(3, 2, 1), net.rounded(net.add(nn.ReLU(), net.rounded(d))))
    e = net.add(ops.Concat(1), pooled, net.add(nn.AvgPool2d(2), net.rounded(c)))
    f = net.layer(net.rounded(e), 8, (2, 2), stride=(2, 1))
    flat = net.add(ops.Normalize(1), net.listed(net.add(ops.Sub(), f, net.add(nn.Hardswish(), f))))
    return net.network(net.add(ops.Concat(1), flat, net.add(ops.ReduceMean((2, 3), False), c)))


def prelu(channels: int) -> nn.Module:
    module = nn.PReLU(channels)
    module.weight.data.uniform_(-0.5, 1.2)
    return module


def images(net: Network, number: int = 3) -> np.ndarray:
    shape = (number, net.channels, *net.size)
    return np.random.default_rng(1).uniform(-2, 2, shape).astype(np.float32)


def wide() -> Network:
    """Channels that fill whole vectors: 64, 80 and 144 of them."""
    net = Integers(3, 9, 8)
    x = net.rounded(net.layer(net.rounded(net.builder.input, 0.01), 80, (3, 3), padding=(1, 1)))
    x = net.rounded(net.add(prelu(80), net.layer(x, 80, (3, 3), padding=(1, 1), groups=80)))
    x = net.rounded(net.add(nn.ReLU(), net.layer(x, 144, (1, 1))), signed=False)
    x = net.rounded(net.layer(x, 144, (3, 3), padding=(1, 1), groups=144, stride=(2, 2)), bits=6, zero=5)
    x = net.rounded(net.layer(x, 144, (2, 3), padding=(0, 1), groups=144))
    x = net.rounded(net.add(ops.Clip(-1, 1), net.layer(x, 64, (3, 3), padding=(1, 1), groups=2)))
    return net.network(net.listed(net.layer(x, 64, (4, 4), groups=64)))


def single_bits() -> Network:
    """Weights of 1 bit: with rows that are a multiple of 4 inputs, with others, and depthwise."""
    net = Integers(4, 6, 7)
    x = net.rounded(net.layer(net.rounded(net.builder.input), 18, (3, 3), padding=(1, 1), bits=1), zero=3)
    x = net.rounded(net.layer(x, 18, (3, 3), groups=18, bits=1))
    x = net.rounded(net.layer(x, 33, (1, 1), bits=1))
    return net.network(net.layer(net.listed(net.rounded(net.layer(x, 8, (2, 2), bits=1))), 5, bits=1))


def curves() -> Network:
    """Sigmoid, tanh and SiLU over all their ranges, whose floats are the embedding."""
    net = Integers(3, 8, 9)
    wide = net.add(ops.Mul(), net.builder.input, net.builder.constant("forty", torch.tensor(40.0)))
    parts = [net.add(module, x) for x in (net.builder.input, wide) for module in (nn.Sigmoid(), nn.Tanh(), nn.SiLU())]
    joined = net.add(ops.Concat(1), *parts)
    means = net.add(ops.ReduceMean((2, 3), False), net.rounded(joined))
    return net.network(net.add(ops.Concat(1), means, net.add(ops.ReduceMean((2, 3), False), joined)))


NETWORKS = {
    "everything": everything,
    "mixed_floats": mixed_floats,
    "wide": wide,
    "single_bits": single_bits,
    "curves": curves,
}
