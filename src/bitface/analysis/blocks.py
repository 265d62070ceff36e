"""A float network whose blocks can be rounded one at a time: all weights of a block's layers, or all its activations.

That is the question of QMobileFaceNet's figure 1; what a block is, `quant.units.blocks_of` says. An activation belongs
to the block that reads it. Bias correction takes the mean error out of every layer of the block in turn, each after
those that are corrected already, as `quant.calibrate.correct_biases` does in a whole student.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, tensor_of
from bitface.analysis.walk import Compute, Values, WalkStep, beside, channel_means, channels_last, linear
from bitface.graph import ops
from bitface.quant import Calibration
from bitface.quant.post_training import bias_images
from bitface.quant.quantizers import Quantizer
from bitface.quant.units import blocks_of


@dataclass(frozen=True)
class Block:
    """A stretch of a walk.

    Attributes:
        name: of its first layer or, of several, `first..last`, the last without what it shares with the first.
        start, end: the numbers of the step after which it begins and of its last one.
        tensors: part → the names of the layers, or of the activations, that are rounded together.
    """

    name: str
    start: int
    end: int
    tensors: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class BlockProbe(Probe):
    """A probe whose units are blocks; `quantizers` and `shifts` are those of the single tensors.

    Attributes:
        corrections: what bias correction adds to the output of the block's layers, name → `[out]`.
    """

    blocks: dict[str, Block] = field(default_factory=dict)
    corrections: dict[ProbedUnit, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def units(self) -> list[ProbedUnit]:
        return [unit for block in self.blocks.values() for unit in self.units_in(block)]

    def units_in(self, block: Block) -> list[ProbedUnit]:
        """A block's weights, then its activations, in every width."""
        widths = dict.fromkeys((unit.part, unit.bits) for unit in self.quantizers)
        return [
            ProbedUnit(part, block.name, bits) for part in (WEIGHTS, ACTIVATIONS) for of, bits in widths if of == part
        ]

    def owner(self, unit: ProbedUnit) -> ProbedUnit:
        """The unit of the block that a tensor is in."""
        name = next(block.name for block in self.blocks.values() if unit.name in block.tensors[unit.part])
        return ProbedUnit(unit.part, name, unit.bits)

    @torch.no_grad()
    def each(self, images: Tensor, skip: int = 0) -> Iterator[tuple[int, Tensor]]:
        number = 0
        for place, values in self.walk.live(images):
            for block in self._beginning(place):
                for unit in self.units_in(block):
                    if number >= skip:
                        yield number, self.walk.rest(place, values, self.corrections[unit], self.changed(unit))
                    number += 1

    def changed(self, unit: ProbedUnit) -> dict[str, Compute]:
        """What the steps of a block compute with a unit rounded."""
        block = self.blocks[unit.name]
        computations: dict[str, Compute] = {}
        for step in self._steps(block):
            if isinstance(step.module, ops.LAYERS) and unit.part == WEIGHTS:
                weight = self.quantizers[ProbedUnit(WEIGHTS, step.name, unit.bits)].quantize(step.module.weight)
                computations[step.name] = partial(linear, step.module, weight=weight, bias=step.module.bias)
            elif isinstance(step.module, Quantizer) and unit.part == ACTIVATIONS:
                computations[step.name] = self.quantizers[ProbedUnit(ACTIVATIONS, tensor_of(step), unit.bits)].quantize
        return computations

    @torch.no_grad()
    def find_corrections(self, images: Tensor) -> None:
        """Fills `corrections` from what preprocessed calibration images find."""
        for place, values in self.walk.live(images):
            for block in self._beginning(place):
                means = self._corrected(block, values, {}, None)
                for unit in self.units_in(block):
                    self.corrections[unit] = self._corrected(block, values, self.changed(unit), means)

    def _corrected(
        self, block: Block, values: Values, instead: Mapping[str, Compute], expected: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """What a block's layers lack to the means that are expected, layer by layer; or, without those, their means."""
        means: dict[str, Tensor] = {}

        def watched(step: WalkStep, plain: Compute, x: Tensor) -> Tensor:
            y = plain(x)
            mean = channel_means(y, step.module)
            means[step.name] = mean if expected is None else expected[step.name] - mean
            return y if expected is None else y + beside(means[step.name], step.module)

        layers = [step for step in self._steps(block) if isinstance(step.module, ops.LAYERS)]
        watching = {step.name: partial(watched, step, instead.get(step.name, step.module)) for step in layers}
        self.walk.rest(block.start, values, instead={**instead, **watching}, until=block.end)
        return means

    def _beginning(self, place: int) -> list[Block]:
        return [block for block in self.blocks.values() if block.start == place]

    def _steps(self, block: Block) -> list[WalkStep]:
        return self.walk.steps[block.start + 1 : block.end + 1]


def by_block(probe: Probe, faces: np.ndarray, calibration: Calibration = Calibration()) -> BlockProbe:
    """The same network, its blocks rounded as wholes.

    Args:
        probe: what `prepare` made of calibration faces.
        faces, calibration: those that it was made with.
    """
    steps = probe.walk.steps
    places = {step.node.name: place for place, step in enumerate(steps)}
    blocks: dict[str, Block] = {}
    for unit in blocks_of(probe.student.graph):
        name = _named(unit.layers)
        start, end = places[unit.source], places[unit.result]
        inside = [step for step in steps[start + 1 : end + 1] if isinstance(step.module, Quantizer)]
        read = tuple(tensor_of(step) for step in inside)
        blocks[name] = Block(name, start, end, {WEIGHTS: unit.layers, ACTIVATIONS: read})
    blockwise = BlockProbe(**vars(probe), blocks=blocks)
    blockwise.corrections.update({unit: {} for unit in blockwise.units})
    if calibration.bias_correction:
        blockwise.find_corrections(channels_last(bias_images(probe.network, faces, calibration)))
    return blockwise


def _named(layers: Sequence[str]) -> str:
    if len(layers) == 1:
        return layers[0]
    first, last = layers[0].split("."), layers[-1].split(".")
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last[:-1], strict=False))))
    return f"{layers[0]}..{'.'.join(last[shared:])}"
