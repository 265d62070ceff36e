"""Whole bit plans on trial: what quantization would make of one, without making it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, tensor_of
from bitface.analysis.sensitivity import BATCH, turned
from bitface.analysis.walk import channels_last
from bitface.quant import BitPlan, Calibration, LayerBits, calibrate
from bitface.quant.plan import escaped
from bitface.quant.post_training import bias_images
from bitface.quant.quantizers import Quantizer
from bitface.quant.student import Student


@dataclass
class Trial:
    """Measures plans on faces: quantizers as calibration finds them, and biases corrected again for every plan.

    Channels stay equalized for the activations' bits that the probe was made for, with weights of 8 bits; a plan whose
    activations differ from one another gets steps of its own for each (`quant.equalize`), mostly better ones, and where
    weights are narrower than activations, channels before dense layers aren't balanced.

    Attributes:
        probe: knows every width that a plan may ask for.
        learning: the calibration faces that correct biases, uint8 RGB `[N, H, W, 3]`.
    """

    probe: Probe
    learning: np.ndarray
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        self._student: Student = copy.deepcopy(self.probe.student)
        layers = self._student.quantized_layers()
        self._biases = {name: copy.deepcopy(layer.bias) for name, layer in layers.items()}
        self._correcting = channels_last(bias_images(self.probe.network, self.learning, self.calibration))

    def expected(self, faces: np.ndarray) -> Tensor:
        """The float network's embeddings of faces, uint8 RGB `[N, H, W, 3]`."""
        starts = range(0, len(faces), BATCH)
        return torch.cat([self.probe.embed(self.probe.inputs(faces[start : start + BATCH])) for start in starts])

    def agreement(
        self, weights: Mapping[str, int], activations: Mapping[str, int], faces: np.ndarray, expected: Tensor
    ) -> float:
        """The mean cosine between the float network and a plan.

        Args:
            weights: layer → bits.
            activations: tensor → bits.
            faces, expected: uint8 RGB `[N, H, W, 3]`, and what `expected` makes of them.

        Raises:
            BitfaceError: the error of a layer is NaN or infinite (named).
        """
        self._adopt(weights, activations)
        if self.calibration.bias_correction:
            calibrate.correct_biases(self._student, self._correcting)
        total = 0.0
        for start in range(0, len(faces), BATCH):
            embeddings = self._embed(self.probe.inputs(faces[start : start + BATCH]))
            total += float(turned(expected[start : start + BATCH], embeddings).double().sum())
        return 1 - total / len(faces)

    @torch.no_grad()
    def _embed(self, images: Tensor) -> Tensor:
        result: Tensor = self._student.graph(images)
        return result

    def _adopt(self, weights: Mapping[str, int], activations: Mapping[str, int]) -> None:
        graph = self._student.graph
        for name, layer in self._student.quantized_layers().items():
            layer.weight_quantizer = copy.deepcopy(self.probe.quantizers[ProbedUnit(WEIGHTS, name, weights[name])])
            layer.bias = copy.deepcopy(self._biases[name])
        for step in self.probe.walk.steps:
            if isinstance(step.module, Quantizer):
                tensor = tensor_of(step)
                holder, _, leaf = step.name.rpartition(".")
                quantizer = self.probe.sums.get(step.name)
                quantizer = quantizer or self.probe.quantizers[ProbedUnit(ACTIVATIONS, tensor, activations[tensor])]
                setattr(graph.get_submodule(holder), leaf, copy.deepcopy(quantizer))
        self._student.enable(True)


def groups(readers: Mapping[str, list[str]]) -> list[list[str]]:
    """Tensors that must have the same width, because a layer or an addition reads both, such as a residual stream.

    Args:
        readers: tensor → what reads it.
    """
    of: dict[str, list[str]] = {}
    result: list[list[str]] = []
    for tensor, names in readers.items():
        cluster = [tensor]
        for group in {id(of[name]): of[name] for name in names if name in of}.values():
            cluster = group + cluster
            result.remove(group)
        result.append(cluster)
        for member in cluster:
            of.update(dict.fromkeys(readers[member], cluster))
    return result


def plan_of(
    layers: Sequence[str],
    weights: Mapping[str, int],
    activations: Mapping[str, int],
    readers: Mapping[str, list[str]],
    sizes: Mapping[str, int],
    sums: int | None = None,
) -> BitPlan:
    """The plan that gives each layer its bits by name. Its own `bits`, which choose a recipe, are the means, rounded.

    Args:
        layers: everything that a plan knows, in order.
        weights, activations: layer → bits; tensor → bits.
        readers: tensor → what reads it.
        sizes: layer → number of weights.
        sums: the bits of additions, if they aren't among the readers.
    """
    read = {name: activations[tensor] for tensor, names in readers.items() for name in names}
    listed = tuple((escaped(name), LayerBits(weights.get(name, 8), read[name])) for name in layers if name in read)
    mean = sum(sizes[name] * bits for name, bits in weights.items()) / max(1, sum(sizes.values()))
    common = sum(read.values()) / len(read)
    own = LayerBits(sums, sums) if sums else None
    return BitPlan(LayerBits(round(mean), round(common)), None, None, listed, sums=own)
