"""Which faces calibrate and which are held out, and which size and preprocessing the network wants."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface import ranks
from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.cpu import cores
from bitface.data import faces
from bitface.data.crops import Crops, Damage, FaceImages
from bitface.data.dataset import ChosenFaces, FaceDataset, FaceFiles, FaceRecord, JoinedFaces
from bitface.data.distilled import has_statistics
from bitface.data.face_source import FaceSource
from bitface.data.labels import identities
from bitface.data.sources import (
    DISTILLED,
    REAL,
    SPREAD,
    GivenFaces,
    MadeFaces,
    PackedFaces,
    Source,
    cached,
    kind_of,
    opened,
)
from bitface.errors import BitfaceError, UsageError, option
from bitface.graph import ASSUMED, FreeSize, Network
from bitface.inputs.models import size_of
from bitface.preprocess import Size, parse
from bitface.progress import Steps, silent
from bitface.runtime import open_float

DEFAULT_CALIBRATION, DEFAULT_RECONSTRUCTION = 512, 1024
HELD_OUT = 256
# Bytes of pixels, 57,000 crops of 112x112: any machine that trains has them, and decoding each crop once beats decoding
# it in every epoch. The number is fixed, or the order of faces would depend on the machine.
IN_MEMORY = 1 << 31
_RANKED = 48
_FEW = 32


@dataclass(frozen=True)
class Faces:
    """Faces to learn from and held-out faces, uint8 RGB `[N, H, W, 3]`, in an order that no folder decides.

    Attributes:
        learning: in memory; more than `IN_MEMORY` are read as they are needed.
        files: those of `learning`, in its order.
        damage: what couldn't be used, so far.
        workers: processes that read faces that aren't in memory.
        notes: where most of them had to be resized, or aren't in memory.
    """

    learning: FaceImages
    held_out: np.ndarray
    files: Sequence[faces.FaceFile]
    kind: str
    total: int
    damage: Damage
    resized: int
    duplicates: int
    notes: list[str]
    workers: int = 0

    @property
    def skipped(self) -> int:
        return len(self.damage)

    @property
    def data(self) -> dict[str, Any]:
        """What an artifact keeps of the faces that are learned from: never a face or a name."""
        return {"kind": self.kind, "images": len(self.learning), "manifest": faces.manifest_hash(self.learning)}


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
        given = [one for one in _parsed(source.images) if not isinstance(one.data_set, MadeFaces)]
        return size_of(faces.crop_sizes(_dataset(given, source.image_list)[0])) if given else ASSUMED

    return open_float(path, preprocess, size, choose, output)


def files_of(images: Sequence[Path], image_list: Path | None = None) -> Sequence[faces.FaceFile]:
    """The images of folders and of packed sets.

    Raises:
        BitfaceError: see `faces.find_images` and the data sets.
    """
    parts = _parsed(images)
    if not any(isinstance(one.data_set, PackedFaces) for one in parts):
        return faces.find_images(images, image_list)
    return _dataset(parts, image_list)[0]


def chosen_files(files: Sequence[faces.FaceFile], count: int) -> Sequence[faces.FaceFile]:
    """Some of the images of `files_of`, the same each time."""
    if isinstance(files, FaceDataset):
        return ChosenFaces(files, _drawn(files, 0)[:count])
    return faces.choose(files, count, 0)


def _parsed(images: Sequence[Path]) -> list[Source]:
    return [Source.parse(word) for word in dict.fromkeys(images)]


def _dataset(
    sources: Sequence[Source], image_list: Path | None = None, made: Sequence[Path] = ()
) -> tuple[FaceDataset, list[str]]:
    """The images of sources that are there and of folders that were made, and what is known of their kinds.

    Raises:
        UsageError: a list chooses among the images of a packed set, which have no names.
    """
    packed = [opened(one) for one in sources if isinstance(one.data_set, PackedFaces)]
    if packed and image_list:
        raise UsageError(f"{option('image-list')} chooses among files, and {packed[0].root} is a packed set")
    folders = [cached(one) for one in sources if isinstance(one.data_set, GivenFaces)]
    files = faces.find_images(folders, image_list) if folders or not (packed or made) else []
    kinds = [REAL] if image_list else [kind_of(one, sum(file.root == one for file in files)) for one in folders]
    kinds += [REAL for _ in packed]
    for folder in made:
        images = faces.find_images([folder])
        files += images
        kinds.append(kind_of(folder, len(images)))
    parts = [*([FaceFiles(files)] if files or not packed else []), *packed]
    return parts[0] if len(parts) == 1 else JoinedFaces(parts), kinds


def _drawn(dataset: FaceDataset, seed: int) -> np.ndarray:
    """An order of all faces; what a larger number of them begins with doesn't depend on the number."""
    if isinstance(dataset, FaceFiles):
        return dataset.drawn(seed)
    return np.random.default_rng((seed, 5)).permutation(len(dataset))


def gather(
    source: FaceSource,
    size: tuple[int, int],
    seed: int = 0,
    skipped_csv: Path | None = None,
    steps: Steps = silent,
    network: Network | None = None,
    device: str = "cpu",
) -> Faces:
    """Chooses the faces, and loads them where they fit into memory.

    `network` is the teacher that `none` makes images from, on `device`. `max_images` (None: all) are
    learned from; up to 256 others are held out. Where that leaves none, a fifth of the
    chosen ones, at most 256, is held out instead.

    Raises:
        BitfaceError: no images, fewer than two that can be used, or more than 1 % that can't.
    """
    parts = _parsed(source.images)
    makers = [one for one in parts if isinstance(one.data_set, MadeFaces)]
    there = [one for one in parts if one not in makers]
    with ranks.first_ahead():
        made = [cached(one, seed, network, steps("making faces"), device) for one in makers]
    dataset, kinds = _dataset(there, source.image_list, made)
    skipped_csv = skipped_csv if ranks.is_first() else None
    limit = len(dataset) if source.max_images is None else source.max_images
    sample = ChosenFaces(dataset, _drawn(dataset, seed)[: limit + HELD_OUT])
    learned = learning_count(len(sample), limit)
    large = len(sample) * size[0] * size[1] * 3 > IN_MEMORY
    read = sample[learned:] if large else sample
    crops = faces.load_faces(read, size, steps("reading faces"), unique=not large)
    faces.check_skipped(crops.skipped, len(read), source.allow_skipped, skipped_csv)
    damage = Damage(len(sample), source.allow_skipped, skipped_csv, crops.skipped)
    account = (" and ".join(dict.fromkeys(kinds)), len(dataset), damage)
    notes = [*dataset.notes, *faces.resizing(crops.sizes, size)]
    if large:
        workers = max(1, min(4, len(cores()) - 1)) if source.workers is None else source.workers
        files = sample[:learned]
        notes.append(
            f"{learned:,} faces are read as they are needed; copies among them are learned from, too (bitface data "
            "check finds them)"
        )
        learning = Crops(files, size, damage)
        return Faces(learning, crops.images, files, *account, crops.resized, 0, notes, workers)
    count = len(crops.images)
    if count < 2:
        raise BitfaceError("one face can't calibrate and be held out too; give at least two, better a few hundred")
    learned = learning_count(count, limit)
    return Faces(
        crops.images[:learned], crops.images[learned:], crops.files[:learned], *account, crops.resized,
        crops.duplicates, notes, source.workers or 0,
    )  # fmt: skip


def learning_count(count: int, limit: int) -> int:
    """How many of `count` faces are learned from, the others being held out."""
    return limit if count > limit else count - min(max(1, count // 5), HELD_OUT)


def labels_of(faces: Faces, count: int, labels: str | None, needed: bool = False) -> np.ndarray | None:
    """Who is on the first so many faces to learn from, int64 `[count]` from 0; None: nobody says.

    Args:
        labels: see `data.labels.identities`; None: what packed sets say themselves, where it is needed.

    Raises:
        BitfaceError: see `data.labels.identities`.
    """
    files = faces.files[:count]
    if labels is None and needed and all(isinstance(file, FaceRecord) and file.person for file in files[:1]):
        labels = "folder"
    return identities(files, labels) if labels else None


def settle_preprocess(network: Network, images: FaceImages, word: str | None) -> tuple[Network, list[str], list[str]]:
    """The network with its preprocessing, and (notes, warnings) on how that was decided.

    What was named, or what the file says, is kept, with a warning where the faces speak for another one; otherwise
    the preset under which the faces match their own mirrored and shifted selves best is taken.
    """
    scores = rank_presets(network, np.asarray(images[:_RANKED]))
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
    """Notes where what could be looked at is images from the teacher itself, or faces that it changed."""
    if SPREAD in kind.split(" and "):
        return [
            "agreement is measured on made faces that the teacher brought apart, too, and is higher there than on real "
            "ones; prove it with bitface evaluate"
        ]
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
