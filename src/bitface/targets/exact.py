"""Which targets compute an integer network exactly on this CPU, found by trial.

On x86 CPUs without VNNI two products of 8 bits are added in 16 bits, and saturate. OpenVINO does so with weights of
8 bits (with 7 the sums fit), and nothing in its answer says it.
"""

from functools import lru_cache

import numpy as np
import torch
from torch.fx import GraphModule, Node

from bitface.graph import Network, ops
from bitface.graph.builder import Builder
from bitface.graph.integer import IntegerConv2d, IntegerLinear, LayerIntegers, QuantizeDequantize, Window
from bitface.targets.base import Holds, Settings
from bitface.targets.registry import TARGETS
from bitface.targets.start import start

# With weights of so many bits sums of two products fit into 16 bits: 2 · 255 · 64 at most.
FITTING_BITS = 7
_CHANNELS, _SIDE = 32, 6


@lru_cache
def exact(name: str, bits: int) -> bool:
    """Whether a target's sums with weights of so many bits are exact on this CPU: the largest there are, tried.

    Raises:
        UsageError: an unknown target, or one that doesn't run here.
        BitfaceError: it can't run them at all.
    """
    trial = Network(_largest_sums(bits, TARGETS[name].holds), "the largest sums")
    image = np.full((1, _CHANNELS, _SIDE, _SIDE), 255, np.float32)
    embedding = start(name, trial, Settings(threads=1))(image)
    with torch.inference_mode():
        expected = trial.graph(torch.from_numpy(image)).numpy()
    # A saturated sum is half as large.
    return bool(np.allclose(embedding, expected, rtol=0.01))


def _largest_sums(bits: int, holds: Holds) -> GraphModule:
    """Layers of every kind on signed and unsigned integers, with the largest weights and, for an image of 255, inputs.

    Each output is rounded again, as engines have integer kernels only for layers between integers.
    """
    builder = Builder((_CHANNELS, _SIDE, _SIDE))
    integers = LayerIntegers(bias=False, bits=bits, input_scale=1.0)
    outputs = []
    for signed in [kind for kind, available in ((False, holds.unsigned), (True, holds.signed)) if available]:
        for kind, (kernel, groups) in {"conv": (3, 1), "pointwise": (1, 1), "depthwise": (3, _CHANNELS)}.items():
            name = f"{kind}_{'signed' if signed else 'unsigned'}"
            layer = IntegerConv2d(_CHANNELS, _CHANNELS, (kernel, kernel), Window(groups=groups), integers)
            values = _between_integers(builder, name, layer, builder.input, signed, not holds.unsigned)
            outputs.append(builder.add(f"{name}_mean", ops.ReduceMean((2, 3), False), values))
        flat = builder.add(f"flat_{signed}", ops.Reshape((_CHANNELS * _SIDE**2,)), builder.input)
        linear = IntegerLinear(_CHANNELS * _SIDE**2, 8, integers)
        outputs.append(_between_integers(builder, f"linear_{signed}", linear, flat, signed, not holds.unsigned))
    return builder.finish(builder.add("outputs", ops.Concat(1), *outputs))


def _between_integers(
    builder: Builder,
    name: str,
    layer: IntegerConv2d | IntegerLinear,
    x: Node,
    signed: bool,
    signed_output: bool,
) -> Node:
    largest = 2 ** (layer.bits - 1) - 1
    layer.weight.fill_(largest)
    total = (127 if signed else 255) * largest * layer.weight[0].numel()
    integers = builder.add(f"{name}_input", QuantizeDequantize(1.0, 0, 8, signed), x)
    sums = builder.add(name, layer, integers)
    levels = 100 if signed_output else 200
    return builder.add(f"{name}_output", QuantizeDequantize(total / levels, 0, 8, signed_output), sums)
