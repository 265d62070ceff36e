"""A float network whose tensors can be rounded one at a time, with the numbers that quantization would find.

Scales of weights come from a search, ranges of activations from an observer, and the mean error that a rounding leaves
in the outputs of the layers it reaches first is taken out of them (see `quant.calibrate`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitface.analysis.walk import Values, Walk, WalkStep, beside, channel_means, channels_last, linear
from bitface.graph import Network, ops, passes
from bitface.quant import BitPlan, Calibration, LayerBits, calibrate
from bitface.quant.batches import Progress
from bitface.quant.post_training import bias_images, placed, transformed
from bitface.quant.quantizers import Quantizer, UniformQuantizer
from bitface.quant.student import Student, activation_quantizer, weight_quantizer

WEIGHTS, ACTIVATIONS = "weights", "activations"
# Every tensor that a plan could round; which of them are rounded, and how far, is asked one by one.
PLAN = BitPlan(LayerBits(8, 8))
# What sums read has a quantizer of its own where their bits are settled: the one of 16.
_SUMS = LayerBits(8, 16)


@dataclass(frozen=True)
class ProbedUnit:
    """One tensor in so many bits: a layer's weights, by the layer's name, or an activation, by the name of what
    makes it."""

    part: str
    name: str
    bits: int


@dataclass(frozen=True)
class Probe:
    """A network whose tensors can be rounded one at a time.

    Attributes:
        student: all its quantizers are switched off: it computes what the float network computes.
        quantizers: of every unit.
        shifts: what bias correction adds to the output of the layers that feel a unit, name → `[out]`.
        readers: tensor → the layers and additions that read it; without additions where the bits of sums are settled.
        sums: name of a step → the quantizer of what sums read, where their bits are settled.
    """

    network: Network
    student: Student
    walk: Walk
    quantizers: dict[ProbedUnit, UniformQuantizer]
    readers: dict[str, list[str]]
    shifts: dict[ProbedUnit, dict[str, Tensor]] = field(default_factory=dict)
    sums: dict[str, UniformQuantizer] = field(default_factory=dict)

    @property
    def units(self) -> list[ProbedUnit]:
        """In the order in which `each` meets them."""
        return [unit for step in self.walk.steps for unit in self.units_of(step)]

    def only(self, part: str) -> "Probe":
        """The same for the weights alone, or for the activations."""
        return replace(self, quantizers={unit: one for unit, one in self.quantizers.items() if unit.part == part})

    def owner(self, unit: ProbedUnit) -> ProbedUnit:
        """Of `units` the one that a tensor in so many bits is rounded with: here itself."""
        return unit

    def units_of(self, step: WalkStep) -> list[ProbedUnit]:
        """The units that a step is the place of."""
        if isinstance(step.module, ops.LAYERS):
            return [unit for unit in self.quantizers if (unit.part, unit.name) == (WEIGHTS, step.name)]
        if isinstance(step.module, Quantizer) and step.name not in self.sums:
            return [unit for unit in self.quantizers if (unit.part, unit.name) == (ACTIVATIONS, tensor_of(step))]
        return []

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """The float network's embeddings of preprocessed images."""
        result: Tensor = self.student.graph(images)
        return result

    @torch.no_grad()
    def each(self, images: Tensor, skip: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The number of each unit from `skip` on, and the embeddings of preprocessed images with it alone rounded."""
        number = 0
        for place, values in self.walk.live(images):
            step = self.walk.steps[place]
            for unit in self.units_of(step):
                if number >= skip:
                    changed = {**values, step.node: self.rounded(unit, step, values)}
                    later = self.shifts[unit] if unit.part == ACTIVATIONS else {}
                    yield number, self.walk.rest(place, changed, later)
                number += 1

    def rounded(self, unit: ProbedUnit, step: WalkStep, values: Values) -> Tensor:
        """The value of a step with a unit rounded."""
        if unit.part == ACTIVATIONS:
            return self.quantizers[unit].quantize(values[step.node])
        weight = self.quantizers[unit].quantize(step.module.weight)
        y = linear(step.module, values[step.sources[0]], weight, step.module.bias)
        shift = self.shifts[unit].get(step.name)
        return y if shift is None else y + beside(shift, step.module)

    def inputs(self, faces: np.ndarray) -> Tensor:
        """Faces, uint8 RGB `[N, H, W, 3]`, as the network reads them."""
        assert self.network.preprocess is not None
        return channels_last(torch.from_numpy(self.network.preprocess(faces)))


def tensor_of(step: WalkStep) -> str:
    """The name of the tensor that a quantizer's step rounds."""
    source = step.sources[0]
    return "image" if source.op == "placeholder" else str(source.target)


def prepare(
    network: Network,
    faces: np.ndarray,
    weight_bits: Sequence[int],
    activation_bits: Sequence[int],
    calibration: Calibration = Calibration(),
    progress: Progress | None = None,
    sums: int | None = None,
    equalized: int = 8,
) -> Probe:
    """Finds the numbers of every unit on calibration faces.

    Args:
        network: with its preprocessing.
        faces: uint8 RGB `[N, H, W, 3]`.
        weight_bits, activation_bits: widths to ask about.
        sums: bits of what sums read, whatever layers read of the same tensors; None: they read what layers read.
        equalized: bits of activations that channels get their steps for, and streams are turned for.

    Raises:
        BitfaceError: an activation is NaN or infinite (named).
    """
    plan = replace(PLAN, sums=_SUMS) if sums else PLAN
    graph, batches = transformed(network, faces, replace(plan, bits=LayerBits(8, equalized)), calibration)
    student = placed(network, graph, plan)
    observers = calibrate.observed_inputs(student, batches, len(faces), calibration.observer, progress)
    student.enable(False)
    student.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    walk = Walk(student.graph)
    quantizers: dict[ProbedUnit, UniformQuantizer] = {}
    readers: dict[str, list[str]] = {}
    of_sums: dict[str, UniformQuantizer] = {}
    for step in walk.steps:
        if isinstance(step.module, Quantizer) and sums and step.module.bits == _SUMS.activation:
            of_sums[step.name] = activation_quantizer(PLAN.activations, sums, not step.module.signed)
            calibrate.set_range(of_sums[step.name], observers[step.name])
        elif isinstance(step.module, Quantizer):
            name = tensor_of(step)
            readers[name] = _readers(student, step)
            for bits in activation_bits:
                # Symmetric at 8 bits, so that only what is never negative is unsigned.
                quantizer = activation_quantizer(PLAN.activations, bits, not step.module.signed)
                calibrate.set_range(quantizer, observers[step.name])
                quantizers[ProbedUnit(ACTIVATIONS, name, bits)] = quantizer
        elif isinstance(step.module, ops.LAYERS):
            weight = step.module.weight.detach()
            for bits in weight_bits:
                quantizer = weight_quantizer(PLAN, bits, len(weight))
                calibrate.set_scales(quantizer, weight, calibration.search_scales)
                quantizers[ProbedUnit(WEIGHTS, step.name, bits)] = quantizer
    probe = Probe(network, student, walk, quantizers, readers, {unit: {} for unit in quantizers}, of_sums)
    if calibration.bias_correction:
        _find_shifts(probe, channels_last(bias_images(network, faces, calibration)))
    return probe


def _readers(student: Student, step: WalkStep) -> list[str]:
    planned = {layer.name for layer in student.layers}
    layers, front = [], list(step.node.users)
    while front:
        node = front.pop(0)
        if str(node.target) in planned:
            layers.append(str(node.target))
        elif isinstance(passes.module_of(student.graph, node), ops.Reshape):
            front += list(node.users)
    return layers


@torch.no_grad()
def _find_shifts(probe: Probe, images: Tensor) -> None:
    """The mean error that each unit leaves in the outputs of the layers it reaches first, with its sign turned.

    A layer is linear, so that the mean of its outputs is its output on the mean of its inputs.
    """
    means: dict[Any, tuple[Tensor, dict[ProbedUnit, Tensor]]] = {}
    for place, values in probe.walk.live(images):
        step = probe.walk.steps[place]
        if isinstance(step.module, Quantizer):
            x = values[step.node]
            mean = x.mean(0, keepdim=True)
            rounded = {unit: probe.quantizers[unit].quantize(x) for unit in probe.units_of(step)}
            means[step.node] = mean, {unit: y.mean(0, keepdim=True) - mean for unit, y in rounded.items()}
        elif isinstance(step.module, ops.Reshape) and step.sources[0] in means:
            mean, errors = means[step.sources[0]]
            means[step.node] = step.module(mean), {unit: step.module(error) for unit, error in errors.items()}
        elif isinstance(step.module, ops.LAYERS):
            mean, errors = means[step.sources[0]]
            weight = step.module.weight
            for unit in probe.units_of(step):
                change = linear(step.module, mean, probe.quantizers[unit].quantize(weight) - weight)
                probe.shifts[unit][step.name] = -channel_means(change, step.module)
            for unit, error in errors.items():
                probe.shifts[unit][step.name] = -channel_means(linear(step.module, error, weight), step.module)
        for node in step.last:
            means.pop(node, None)
