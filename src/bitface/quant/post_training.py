"""Post-training quantization: the whole way from a network and faces to an integer network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bitface.graph import Network, passes
from bitface.quant import calibrate, student
from bitface.quant.batches import Progress
from bitface.quant.equalize import equalize
from bitface.quant.freeze import freeze
from bitface.quant.plan import BitPlan, PlannedLayer


@dataclass(frozen=True)
class Calibration:
    """How the numbers are found.

    Attributes:
        observer: a name of `observers.OBSERVERS`.
        equalization: of channels in front of depthwise convolutions, see `equalize`.
        bias_correction: measured on at most `bias_images` of the images.
        batch: images in one run of the network; part of the result, as float sums depend on it in the last digit.
    """

    observer: str = "mse"
    equalization: bool = True
    bias_correction: bool = True
    bias_images: int = 64
    batch: int = 16


def quantize(
    network: Network,
    images: np.ndarray,
    plan: BitPlan,
    calibration: Calibration = Calibration(),
    progress: Progress | None = None,
) -> tuple[Network, list[PlannedLayer]]:
    """The integer network of a float one, and the bits of every layer.

    Args:
        network: the teacher, with its preprocessing.
        images: calibration faces, uint8 RGB `[N, H, W, 3]` in an order that is part of the result.

    Raises:
        BitfaceError: the plan doesn't fit the network, or an activation is NaN or infinite.
        ValueError: the network has no preprocessing, or no images, or images of another size.
    """
    if network.preprocess is None:
        raise ValueError("the network has no preprocessing")
    if not len(images):
        raise ValueError("there are no calibration images")
    preprocess = network.preprocess

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), calibration.batch):
            yield torch.from_numpy(preprocess(images[start : start + calibration.batch]))

    graph = passes.fold(network.graph)
    if calibration.equalization and plan.weights_per_channel:
        equalize(graph, batches, len(images))
    # (pixel - mean) / std is never negative where no mean is above 0
    quantized = student.build(graph, plan, max(preprocess.mean) <= 0 < min(preprocess.std))
    outputs = calibrate.activation_ranges(quantized, batches, len(images), calibration.observer, progress)
    calibrate.weight_scales(quantized, search=calibration.observer in ("mse", "percentile"))
    if calibration.bias_correction:
        calibrate.correct_biases(quantized, torch.from_numpy(preprocess(images[: calibration.bias_images])))
    return replace(network, graph=freeze(quantized, outputs)), quantized.layers
