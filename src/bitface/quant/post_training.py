"""Post-training quantization: the whole way from a network and faces to an integer network."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from bitface.device import device_of
from bitface.errors import UsageError, nearest
from bitface.graph import Network, passes
from bitface.preprocess import Preprocess
from bitface.quant import calibrate
from bitface.quant.attention import heads
from bitface.quant.basis import hadamard, turn
from bitface.quant.batches import Batches, Progress
from bitface.quant.equalize import equalize
from bitface.quant.freeze import freeze
from bitface.quant.learned_rotation import learned
from bitface.quant.observers import OBSERVERS
from bitface.quant.plan import FLOAT, BitPlan, PlannedLayer
from bitface.quant.reconstruct import Reconstruction, reconstruct
from bitface.quant.rotate import AUTO, LEARNED, OFF, ROTATIONS, streams
from bitface.quant.student import Student, build, planned


@dataclass(frozen=True)
class Calibration:
    """How the numbers are found.

    Attributes:
        observer: a name of `observers.OBSERVERS`.
        equalization: of channels before depthwise convolutions, see `equalize`.
        bias_correction: measured on at most `bias_images` of the images.
        batch: images in one run of the network; part of the result, as float sums depend on it in the last digit.
        reconstruction: how units learn to give what the float network gives; None: they don't.
        rotate: residual streams and heads of attention, a word of `rotate.ROTATIONS`; `auto`: those that are rounded
            to fewer than 8 bits.
        device: where they learn, see `device.device_of`; everything else is found on the CPU.
    """

    observer: str = "mse"
    equalization: bool = True
    bias_correction: bool = True
    bias_images: int = 64
    batch: int = 16
    reconstruction: Reconstruction | None = None
    rotate: str = AUTO
    device: str = field(default="auto", repr=False)

    def __post_init__(self) -> None:
        if self.observer not in tuple(OBSERVERS):  # whatever it is: a list has no hash
            near = nearest(self.observer, OBSERVERS)
            raise UsageError(f"unknown observer '{self.observer}'{near} (there are {', '.join(OBSERVERS)})")
        if self.rotate not in ROTATIONS:
            near = nearest(self.rotate, ROTATIONS)
            raise UsageError(f"unknown rotation '{self.rotate}'{near} (there are {', '.join(ROTATIONS)})")

    @property
    def search_scales(self) -> bool:
        """Whether the scales of weights are searched for, too, rather than taken from the extremes."""
        return self.observer in ("mse", "percentile")

    def seeded(self, seed: int) -> "Calibration":
        """The same with another seed of the reconstruction."""
        if self.reconstruction is None:
            return self
        return replace(self, reconstruction=replace(self.reconstruction, seed=seed))


def quantize(
    network: Network,
    images: np.ndarray,
    plan: BitPlan,
    calibration: Calibration = Calibration(),
    progress: Progress | None = None,
    rebuilding: Progress | None = None,
) -> tuple[Network, list[PlannedLayer]]:
    """The integer network of a float one, and the bits of every layer.

    Args:
        network: the teacher, with its preprocessing.
        images: calibration faces, uint8 RGB `[N, H, W, 3]` in an order that is part of the result.
        progress, rebuilding: told how far calibration and reconstruction are.

    Raises:
        BitfaceError: the plan doesn't fit the network, or an activation is NaN or infinite.
        ValueError: the network has no preprocessing, or no images, or images of another size.
    """
    student = calibrated(network, images, plan, calibration, progress, rebuilding)
    return finished(network, student, images, calibration), student.layers


def calibrated(
    network: Network,
    images: np.ndarray,
    plan: BitPlan,
    calibration: Calibration = Calibration(),
    progress: Progress | None = None,
    rebuilding: Progress | None = None,
) -> Student:
    """The student with every number found: what post-training quantization ends and training begins with.

    Arguments and errors as in `quantize`.
    """
    student, batches = begun(network, images, plan, calibration)
    calibrate.activation_ranges(student, batches, len(images), calibration.observer, progress)
    calibrate.weight_scales(student, calibration.search_scales)
    teacher = student.as_float()
    if calibration.bias_correction:
        calibrate.correct_biases(student, bias_images(network, images, calibration))
    if calibration.reconstruction:
        every = next(_batches(network, images, len(images))())
        device = device_of(calibration.device)
        reconstruct(student, teacher, every, calibration.reconstruction, rebuilding, device)
    return student


def begun(
    network: Network, images: np.ndarray, plan: BitPlan, calibration: Calibration = Calibration()
) -> tuple[Student, Batches]:
    """The student, folded, equalized and turned, without a number found yet, and the faces that find them.

    Arguments and errors as in `quantize`.
    """
    graph, batches = transformed(network, images, plan, calibration)
    return placed(network, graph, plan), batches


def transformed(
    network: Network, images: np.ndarray, plan: BitPlan, calibration: Calibration = Calibration()
) -> tuple[GraphModule, Batches]:
    """The network's graph in floating point, folded, equalized and turned for a plan, and the calibration faces.

    Arguments and errors as in `quantize`.
    """
    if not len(images):
        raise ValueError("there are no calibration images")
    batches = _batches(network, images, calibration.batch)
    graph = passes.fold(network.graph)
    if calibration.equalization and plan.weights_per_channel:
        equalize(graph, batches, len(images), plan)
    if calibration.rotate != OFF:
        _turn(graph, plan, calibration.rotate, batches, len(images))
    return graph, batches


def _turn(graph: GraphModule, plan: BitPlan, way: str, batches: Batches, count: int) -> None:
    """Turns residual streams and heads of attention in place; `way`: a word of `rotate.ROTATIONS`."""
    widths = {layer.name: layer.bits.activation for layer in planned(graph, plan)}
    bits = {stream: min(widths[str(node.target)] for node in stream.readers) for stream in streams(graph)}
    products = {one: widths.get(str(one.product.target), FLOAT) for one in heads(graph)}
    if way == AUTO:
        bits = {one: width for one, width in bits.items() if width < 8}
        products = {one: width for one, width in products.items() if width < 8}
    matrices = learned(graph, bits, batches, count) if way == LEARNED else {one: hadamard(one.channels) for one in bits}
    for stream, matrix in matrices.items():
        turn(graph, stream.sides, matrix)
    for one in products:
        turn(graph, one.sides, hadamard(one.channels))


def bias_images(network: Network, images: np.ndarray, calibration: Calibration = Calibration()) -> Tensor:
    """The preprocessed calibration faces that correct biases, `[N, 3, H, W]`."""
    return next(_batches(network, images, calibration.bias_images)())


def placed(network: Network, graph: GraphModule, plan: BitPlan) -> Student:
    """The student of a network's folded graph, its numbers still to be found."""
    preprocess = _preprocess(network)
    # (pixel - mean) / std is never negative where no mean is above 0
    return build(graph, plan, max(preprocess.mean) <= 0 < min(preprocess.std))


def finished(
    network: Network, student: Student, images: np.ndarray, calibration: Calibration = Calibration()
) -> Network:
    """The integer network of a student whose numbers are settled; `images` as in `quantize`."""
    batches = _batches(network, images, calibration.batch)
    outputs = calibrate.output_ranges(student, batches, len(images), calibration.observer)
    return replace(network, graph=freeze(student, outputs))


def _batches(network: Network, images: np.ndarray, size: int) -> Batches:
    preprocess = _preprocess(network)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), size):
            yield torch.from_numpy(preprocess(images[start : start + size]))

    return batches


def _preprocess(network: Network) -> Preprocess:
    if network.preprocess is None:
        raise ValueError("the network has no preprocessing")
    return network.preprocess
