"""Which faces calibrate and which are held out, and which size and preprocessing the network wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.data import faces
from bitface.data.distilled import has_statistics
from bitface.data.face_source import FaceSource
from bitface.data.sources import DISTILLED, REAL, GivenFaces, Source, cached, kind_of
from bitface.errors import BitfaceError, option
from bitface.graph import ASSUMED, FreeSize, Network
from bitface.preprocess import Size, parse
from bitface.progress import Steps, silent
from bitface.runtime import Model, open_float, open_model

DEFAULT_CALIBRATION, DEFAULT_RECONSTRUCTION = 512, 1024
HELD_OUT = 256
_RANKED = 48
_FEW = 32


@dataclass(frozen=True)
class Faces:
    """Faces to learn from and held-out faces, uint8 RGB `[N, H, W, 3]`, in an order that no folder decides.

    `files` are those of `learning`, in its order. `notes` say where most of them had to be resized.
    """

    learning: np.ndarray
    held_out: np.ndarray
    files: list[faces.FaceFile]
    kind: str
    total: int
    skipped: int
    resized: int
    duplicates: int
    notes: list[str]

    @property
    def data(self) -> dict[str, Any]:
        """What an artifact keeps of the faces that are learned from: never a face or a name."""
        return {"kind": self.kind, "images": len(self.learning), "manifest": faces.manifest_hash(self.learning)}


def size_of(sizes: Mapping[Size, int]) -> FreeSize:
    """The size of a network that leaves it free, for crops of these sizes: theirs, where nearly all have one."""
    common = faces.common_size(sizes)
    return FreeSize(common, "the size of the crops") if common else ASSUMED


def open_for(
    path: Path | Model,
    files: Sequence[faces.FaceFile],
    preprocess: str | None = None,
    size: Size | None = None,
    like: FreeSize | None = None,
    output: str | None = None,
) -> tuple[Model, list[str]]:
    """A model that is to read these crops, open or not, and what there is to say of it and of their size.

    Args:
        preprocess, size, output: see `graph.load_network`.
        like: the size of a network that leaves it free, where nobody asks for one; None: the crops' own.

    Raises:
        BitfaceError: the model can't be used.
    """
    sizes = faces.crop_sizes(files)
    model = path
    if not isinstance(model, Model):
        model = open_model(model, preprocess, size, lambda: like or size_of(sizes), output)
    return model, [*model.network.notes, *faces.resizing(sizes, model.network.size)]


def load_teacher(
    path: Path,
    source: FaceSource,
    preprocess: str | None = None,
    size: Size | None = None,
    output: str | None = None,
) -> Network:
    """The network that is to learn from what `gather` finds in a source.

    Where it leaves its size free and nobody asks for one, it is that of the crops in folders and shards: faces that
    are made have 112x112, or are made at the network's own size.

    Raises:
        BitfaceError: the network or a source can't be used.
    """

    def choose() -> FreeSize:
        folders, _ = _given(source.images)
        return size_of(faces.crop_sizes(faces.find_images(folders, source.image_list))) if folders else ASSUMED

    return open_float(path, preprocess, size, choose, output)


def _given(sources: Sequence[Path]) -> tuple[list[Path], list[Source]]:
    """The folders of sources that are there (shards unpacked), and the sources that have to be made."""
    parts = [Source.parse(source) for source in dict.fromkeys(sources)]
    there = [isinstance(source.data_set, GivenFaces) for source in parts]
    folders = [cached(source) for source, ready in zip(parts, there, strict=True) if ready]
    return folders, [source for source, ready in zip(parts, there, strict=True) if not ready]


def gather(
    source: FaceSource,
    size: tuple[int, int],
    seed: int = 0,
    skipped_csv: Path | None = None,
    steps: Steps = silent,
    network: Network | None = None,
) -> Faces:
    """Chooses and loads the faces.

    `network` is the teacher that `none` makes images from. `max_images` (None: all) are
    learned from; up to 256 others are held out. Where that leaves none, a fifth of the
    chosen ones, at most 256, is held out instead.

    Raises:
        BitfaceError: no images, fewer than two that can be used, or more than 1 % that can't.
    """
    folders, makers = _given(source.images)
    files = faces.find_images(folders, source.image_list) if folders or not makers else []
    kinds = [REAL] if source.image_list else [kind_of(one, sum(file.root == one for file in files)) for one in folders]
    for one in makers:
        folder = cached(one, seed, network, steps("making faces"))
        images = faces.find_images([folder])
        files += images
        kinds.append(kind_of(folder, len(images)))
    limit = len(files) if source.max_images is None else source.max_images
    sample = faces.choose(files, limit + HELD_OUT, seed)
    crops = faces.load_faces(sample, size, steps("reading faces"), unique=True)
    faces.check_skipped(crops.skipped, len(sample), source.allow_skipped, skipped_csv)
    count = len(crops.images)
    if count < 2:
        raise BitfaceError("one face can't calibrate and be held out too; give at least two, better a few hundred")
    learning = learning_count(count, limit)
    return Faces(
        crops.images[:learning],
        crops.images[learning:],
        crops.files[:learning],
        " and ".join(dict.fromkeys(kinds)),
        len(files),
        len(crops.skipped),
        crops.resized,
        crops.duplicates,
        faces.resizing(crops.sizes, size),
    )


def learning_count(count: int, limit: int) -> int:
    """How many of `count` faces are learned from, the others being held out."""
    return limit if count > limit else count - min(max(1, count // 5), HELD_OUT)


def settle_preprocess(network: Network, images: np.ndarray, word: str | None) -> tuple[Network, list[str], list[str]]:
    """The network with its preprocessing, and (notes, warnings) on how that was decided.

    What was named, or what the file says, is kept, with a warning where the faces speak for another one; otherwise
    the preset under which the faces match their own mirrored and shifted selves best is taken.
    """
    scores = rank_presets(network, images[:_RANKED])
    name = parse(word, network.size).name if word else network.preprocess.name if network.preprocess else None
    best, warning = best_preset(scores, name)
    if name is None:
        if best is None:
            raise BitfaceError(
                f"{network.name}: doesn't say how its input is normalised, and {warning}; name it with "
                f"{option('preprocess')}"
            )
        note = (
            f"preprocessing {best}: the best of the presets on these faces; name it with {option('preprocess')} to be "
            "sure"
        )
        return network.with_preprocess(parse(best, network.size)), [note], []
    network = network.with_preprocess(parse(name, network.size))
    return network, [], [warning] if warning else []


def unseen(kind: str, network: Network) -> list[str]:
    """Notes where nothing but images from the teacher itself could be looked at."""
    if kind != DISTILLED:
        return []
    folded = (
        "the file holds no BatchNorm (folded away, or never there), so images are distilled from embeddings alone; "
        "a file that still has them gives better ones"
    )
    caveat = "agreement is measured on images distilled from the teacher, not on faces; prove it with bitface evaluate"
    return [caveat] if has_statistics(network.graph) else [folded, caveat]


def few(count: int) -> list[str]:
    """A warning where too few faces calibrate."""
    return [f"only {count} faces calibrate; ranges are steadier with 300 or more"] if count < _FEW else []


def lonely(labels: np.ndarray | None) -> list[str]:
    """A note where many identities have a single image, from which nobody can learn what a person's faces share."""
    if labels is None:
        return []
    counts = np.bincount(labels)
    alone = int((counts == 1).sum())
    return [f"{alone} of {len(counts)} identities have one image only"] if alone else []
