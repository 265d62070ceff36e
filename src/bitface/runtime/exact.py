"""Which engines compute an integer network exactly on this CPU, found by trial, and which of them runs it by default.

On x86 CPUs without VNNI two products of 8 bits are added in 16 bits, and saturate. OpenVINO does so with weights of
8 bits (with 7 the sums fit), and nothing in its answer says it.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from torch.fx import GraphModule, Node

from bitface.graph import Network, ops
from bitface.graph.builder import Builder
from bitface.graph.integer import IntegerConv2d, IntegerLinear, LayerIntegers, QuantizeDequantize, Window
from bitface.runtime.engines import ENGINES, NAMES, SIMULATION, Engine, start
from bitface.runtime.model import Model

# With weights of so many bits sums of two products fit into 16 bits: 2 · 255 · 64 at most.
FITTING_BITS = 7
SUGGESTION = "--bits w7a8 --first w7a8 --last w7a8"
_CHANNELS, _SIDE = 32, 6


def default_engine(model: Model) -> Engine:
    """The fastest engine that computes a model exactly on this CPU; of an exported file the one it was written for."""
    if model.profile:
        return model.profile
    return next(engine for engine in ENGINES if is_exact(model, engine))


def trusted(model: Model, wanted: Engine | None) -> Engine:
    """The engine that made a threshold or a gallery, where it is exact on this CPU too; else the default one."""
    return wanted if wanted and not model.profile and is_exact(model, wanted) else default_engine(model)


def is_exact(model: Model, engine: str) -> bool:
    """Whether an engine computes a model on this CPU as the simulation does, but for rounding."""
    return not model.integer or exact(engine, max(model.weight_bits, FITTING_BITS))


def inexact(model: Model, engine: str) -> str | None:
    """Why an engine's embeddings of a model aren't exact on this CPU, and what to do; None where they are."""
    if is_exact(model, engine):
        return None
    other = None if model.profile else default_engine(model)
    return (
        f"{NAMES[engine]}'s sums of weights of 8 bits saturate on this CPU, so its embeddings aren't the model's own; "
        f"{f'use {other}, or ' if other else ''}make the model with {SUGGESTION}"
    )


def passed_over(model: Model, engine: str) -> str | None:
    """What to say where a faster engine isn't the default one because it isn't exact on this CPU; None otherwise."""
    faster = ENGINES[: ENGINES.index(engine)] if engine in ENGINES and not model.profile else ()
    names = [NAMES[other] for other in faster if not is_exact(model, other)]
    if not names:
        return None
    return (
        f"{NAMES[engine]} runs the integers here: {names[0]} is faster, but its sums of weights of 8 bits saturate on "
        f"this CPU; {SUGGESTION} makes a model that is exact in both"
    )


@lru_cache
def exact(engine: str, bits: int) -> bool:
    """Whether an engine's sums with weights of so many bits are exact on this CPU: the largest there are, tried.

    Raises:
        BitfaceError: the engine can't run them at all.
    """
    trial = Model(Path("the largest sums"), "artifact", Network(_largest_sums(bits), "the largest sums"))
    image = np.full((1, _CHANNELS, _SIDE, _SIDE), 255, np.float32)
    found, expected = (start(trial, one, 1, 1)(image) for one in (engine, SIMULATION))
    # A saturated sum is half as large.
    return bool(np.allclose(found, expected, rtol=0.01))


def _largest_sums(bits: int) -> GraphModule:
    """Layers of every kind on signed and unsigned integers, with the largest weights and, for an image of 255, inputs.

    Each output is rounded again, as engines have integer kernels only for layers between integers.
    """
    builder = Builder((_CHANNELS, _SIDE, _SIDE))
    integers = LayerIntegers(bias=False, bits=bits, input_scale=1.0)
    outputs = []
    for signed in (False, True):
        for kind, (kernel, groups) in {"conv": (3, 1), "pointwise": (1, 1), "depthwise": (3, _CHANNELS)}.items():
            name = f"{kind}_{'signed' if signed else 'unsigned'}"
            window = Window(groups=groups)
            layer = IntegerConv2d(_CHANNELS, _CHANNELS, (kernel, kernel), window, integers)
            values = _between_integers(builder, name, layer, builder.input, signed)
            outputs.append(builder.add(f"{name}_mean", ops.ReduceMean((2, 3), False), values))
        flat = builder.add(f"flat_{signed}", ops.Reshape((_CHANNELS * _SIDE**2,)), builder.input)
        linear = IntegerLinear(_CHANNELS * _SIDE**2, 8, integers)
        outputs.append(_between_integers(builder, f"linear_{signed}", linear, flat, signed))
    return builder.finish(builder.add("outputs", ops.Concat(1), *outputs))


def _between_integers(builder: Builder, name: str, layer: IntegerConv2d | IntegerLinear, x: Node, signed: bool) -> Node:
    largest = 2 ** (layer.bits - 1) - 1
    layer.weight.fill_(largest)
    total = (127 if signed else 255) * largest * layer.weight[0].numel()
    integers = builder.add(f"{name}_input", QuantizeDequantize(1.0, 0, 8, signed), x)
    sums = builder.add(name, layer, integers)
    return builder.add(f"{name}_output", QuantizeDequantize(total / 200, 0, 8, False), sums)
