"""Faces as a person names them: folders, words such as `synthetic:2000`, or an array in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitface.data.crops import Damage
from bitface.data.face_source import FaceSource
from bitface.data.sources import REAL
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network
from bitface.inputs.faces import HELD_OUT, Faces, gather, labels_of, learning_count
from bitface.preprocess import Size
from bitface.progress import Steps

Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Which faces, in which order; they are read when something is done with them.

    Attributes:
        source: folders and words, and what is known of them; of an array how many are learned from.
        array: uint8 RGB `[N, H, W, 3]` in the place of files.
        names: `[N]`, whom each face of the array shows; None: nobody knows.
        size: height and width at which they are read; None: those of the network that reads them.
        seed: of their order, and of every draw of whatever learns from them.
    """

    source: FaceSource
    array: np.ndarray | None = None
    names: np.ndarray | None = None
    size: Size | None = None
    seed: int = 0

    def gathered(self, network: Network, most: int | None, steps: Steps) -> Faces:
        """The faces as a network reads them: to learn from, and held out; see `inputs.faces.gather`.

        Args:
            most: to learn from, where the set doesn't say how many; None: all.

        Raises:
            BitfaceError: they can't be read, are too few, or of another size than the network's.
        """
        size = self.size if self.array is None else Size(*self.array.shape[1:3])
        if size is not None and size != network.size:
            raise BitfaceError(f"the faces are of {size}, {network.name} reads images of {network.size}")
        source = self.source.up_to(most)
        if self.array is not None:
            return self._of_array(self.array, source.max_images)
        return gather(source, network.size, self.seed, steps=steps, network=network)

    def identities_of(self, faces: Faces, needed: bool = False) -> np.ndarray | None:
        """Who is on the faces to learn from, int64 `[N]` from 0; None: nobody knows. See `inputs.faces.labels_of`."""
        if self.names is not None:
            names = self.names[self._order(len(self.names))[: len(faces.learning)]]
            return np.unique(names, return_inverse=True)[1].astype(np.int64)
        return labels_of(faces, len(faces.learning), self.source.labels, needed)

    def _order(self, count: int) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(count)

    def _of_array(self, images: np.ndarray, most: int | None) -> Faces:
        limit = len(images) if most is None else most
        sample = images[self._order(len(images))[: limit + HELD_OUT]]
        if len(sample) < 2:
            raise BitfaceError("one face can't calibrate and be held out too; give at least two, better a few hundred")
        count = learning_count(len(sample), limit)
        return Faces(sample[:count], sample[count:], [], REAL, len(images), Damage(), 0, 0, [])


def as_faces(images: "FaceSet | Images") -> FaceSet:
    """Faces as `bf.faces` gives them, or what it takes."""
    return images if isinstance(images, FaceSet) else faces(images)


def faces(
    images: Images,
    size: int | str | tuple[int, int] | None = None,
    seed: int = 0,
    max_images: int | None = None,
    image_list: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | Sequence[object] | None = None,
    allow_skipped: bool = False,
    workers: int | None = None,
) -> FaceSet:
    """Faces to calibrate with, to learn from, or to analyse.

    Args:
        images: a folder of aligned crops, a `.tar` or `.zip` of them, `synthetic:N` (people who don't exist),
            `spread:N` (the same, brought apart by the network), `generator:FILE:N`, `none` (images made from the
            network itself), `rec:FOLDER` and other packed sets,
            several of these, or uint8 RGB crops `[N, H, W, 3]`.
        size: height and width at which they are read, such as `network.size`; None: the network's that reads them.
        seed: of their order and of every draw.
        max_images: to learn from; None: 512 for calibration, 1,024 where units learn, all for training.
        image_list: a file that names those of the folders that are used, one relative path in a line.
        labels: who is on them: `folder`, a CSV file with `path,label`, or, for an array, one name for each.
        allow_skipped: more than 1 % may be unusable.
        workers: processes that read faces which don't fit into memory; 0: none.

    Raises:
        UsageError: an array that isn't uint8 `[N, H, W, 3]`, or labels that don't fit it.
    """
    image_size = None if size is None else Size.parse(size)
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UsageError(f"faces must be uint8 RGB [N, H, W, 3], not {images.dtype} {list(images.shape)}")
        if labels is not None and (isinstance(labels, str | os.PathLike) or len(labels) != len(images)):
            raise UsageError(f"labels of an array are one name for each of its {len(images)} faces")
        who = None if labels is None else np.asarray(labels)
        return FaceSet(FaceSource(max_images=max_images), images, who, image_size, seed)
    sources = [images] if isinstance(images, str | os.PathLike) else list(images)
    if labels is not None and not isinstance(labels, str | os.PathLike):
        raise UsageError("labels of faces in folders are 'folder', or a CSV file with path,label")
    source = FaceSource(
        [Path(one) for one in sources],
        None if image_list is None else Path(image_list),
        max_images,
        None if labels is None else str(labels),
        allow_skipped,
        workers,
    )
    return FaceSet(source, size=image_size, seed=seed)
