"""A quantized network in memory, and the means to keep it and to run it."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import bitface
from bitface import artifact
from bitface.artifact.packing import packed_size
from bitface.graph import Network
from bitface.graph.integer import INTEGER_LAYERS
from bitface.preprocess import Size
from bitface.quant.plan import BitPlan, PlannedLayer
from bitface.runtime.embedder import Embedder, Images
from bitface.runtime.model import Model
from bitface.targets.registry import FASTEST
from bitface.training import History


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """An integer network and what it was made of.

    Attributes:
        content: what a `.bitface` file holds of it.
        teacher: the float network.
        layers: the bits of every layer, and the reason for them.
        history: what a training did; None after post-training quantization.
        notes, warnings: in plain words.
    """

    content: artifact.Artifact
    teacher: Network
    layers: tuple[PlannedLayer, ...]
    history: History | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """What an `Embedder` takes."""
        return Model(Path(f"{self.teacher.name}.bitface"), "artifact", self.content.network, details=self.content)

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return self.content.network.size

    @property
    def bits(self) -> str:
        """Of most layers, such as `w8a8`."""
        return str(self.content.plan["bits"])

    @property
    def fingerprint(self) -> str:
        """Identifies the network; see `Network.fingerprint`."""
        return self.content.network.fingerprint()

    @property
    def weight_bytes(self) -> int:
        """Of the weights of all layers, packed."""
        modules = self.content.network.graph.modules()
        return sum(packed_size(one.weight.numel(), one.bits) for one in modules if isinstance(one, INTEGER_LAYERS))

    @cached_property
    def embedder(self) -> Embedder:
        """On the fastest engine that computes it exactly on this CPU; `bf.load` takes another one."""
        return Embedder(self.model)

    def embed(self, images: Images, flip: bool = False, normalize: bool = False) -> np.ndarray:
        """Embeddings, float32 `[N, D]`; see `Embedder.embed`."""
        return self.embedder.embed(images, flip, normalize)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the `.bitface` file; gives its bytes. Raises BitfaceError where it can't be written."""
        return artifact.write(Path(path), self.content)

    def export(self, path: str | os.PathLike[str], target: str = FASTEST) -> int:
        """Writes what a target runs, as `bitface export` does; gives its bytes.

        Raises:
            UsageError: an unknown target, or one that isn't written.
            BitfaceError: it can't be written.
        """
        return self.model.export(target, Path(path))

    def __repr__(self) -> str:
        return f"QuantizedNetwork({self.teacher.name!r}, {self.bits}, {self.weight_bytes:,} bytes of weights)"


def artifact_of(
    network: Network, student: Network, plan: BitPlan, data: dict[str, Any], card: dict[str, Any]
) -> artifact.Artifact:
    """A student with what is told of where it comes from.

    Args:
        network: its teacher.
        data: of the faces that made it: their kind, number and the hash of their manifest.
        card: how it was made.
    """
    return artifact.Artifact(
        student,
        plan.to_json(),
        {"name": network.name, "fingerprint": network.fingerprint(), "embedding_size": network.embedding_size},
        {**data, "privacy": "no image and no name is stored"},
        card={"bitface": bitface.__version__, **card},
    )
