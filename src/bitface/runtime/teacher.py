"""A network as the teacher of a training."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitface.device import device_of, precision_of
from bitface.errors import BitfaceError
from bitface.graph import Network, passes
from bitface.runtime.embedder import Embedder
from bitface.runtime.model import Model
from bitface.store import Store
from bitface.targets.registry import FASTEST
from bitface.training import Teacher, Training

_BATCH = 256


def teacher_of(path: Path, network: Network, training: Training) -> Teacher:
    """A network as a teacher: on a CPU on the fastest engine, elsewhere in torch, on the training's own device.

    Raises:
        UsageError: the device isn't there.
    """
    device = device_of(training.device)
    # What is kept is exact; a live teacher may be as coarse as the student's own arithmetic.
    half = training.teacher == "live" and precision_of(training.precision, device) == "bf16"
    precision = "bf16" if half else "f32"
    if device.type == "cpu":
        embedder = Embedder(Model(path, "float", network), FASTEST, precision=precision)
        return Teacher(embedder.embed, f"{network.fingerprint()} {FASTEST} {precision}", Store())
    on_device = DeviceTeacher(network, device, half)
    name = f"{network.fingerprint()} torch {device.type} {precision}"
    return Teacher(on_device.embed, name, Store(), on_device.embed_images)


class DeviceTeacher:
    """A network that embeds on a device, in float32 or bfloat16."""

    def __init__(self, network: Network, device: torch.device, half: bool = False) -> None:
        assert network.preprocess is not None
        self.preprocess, self.device, self.half = network.preprocess, device, half
        self._at_once = _BATCH
        graph = copy.deepcopy(passes.fold(network.graph)).eval().requires_grad_(False)
        self.graph = graph.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """The embeddings `[B, D]`, float32, of images as the network reads them, `[B, 3, H, W]` on the device."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            embeddings: Tensor = self.graph(images)
        return embeddings.float()

    def embed(self, images: np.ndarray) -> np.ndarray:
        """The embeddings of uint8 RGB faces, `[N, H, W, 3]` → `[N, D]`; as many at a time as the device's memory holds.

        Raises:
            BitfaceError: it doesn't hold one.
        """
        parts: list[Tensor] = []
        start = 0
        while start < len(images):
            rows = self._some(images[start : start + self._at_once])
            if rows is None:
                self._at_once //= 2
                if not self._at_once:
                    raise BitfaceError(f"{self.device} is out of memory: not even one image fits beside the teacher")
                continue
            parts.append(rows)
            start += len(rows)
        result: np.ndarray = torch.cat(parts).numpy()
        return result

    def _some(self, images: np.ndarray) -> Tensor | None:
        try:
            inputs = torch.from_numpy(self.preprocess(images)).to(self.device)
            return self.embed_images(inputs.contiguous(memory_format=torch.channels_last)).cpu()
        except torch.OutOfMemoryError:
            return None  # and what it held is let go
