"""Where faces come from: folders, generators of people who don't exist, or nothing but the teacher.

A source is a word: a folder, a shard (`.tar`, `.zip`), a packed set (`rec:FOLDER`, `tar:PATTERN`, `parquet:PATH`),
`synthetic[:N]`, `spread[:N]`, `generator:FILE[:N]`, `none[:N]`, or what another package reads. Each kind is a file in
`datasets/`. What has to be made is made once and kept in the cache as a folder of PNG files with a manifest, like the
one of a folder that `bitface synth` wrote.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitface.data.dataset import FaceDataset, FaceFiles
from bitface.data.faces import Progress, find_images, manifest_hash
from bitface.data.synthetic import DCGAN, SyntheticFaces, fill_faces
from bitface.device import device_of
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network
from bitface.registry import Registry
from bitface.store import Store

REAL = "real or unknown"
DISTILLED = "none (images distilled from the teacher)"
SPREAD = f"{DCGAN}, spread by the teacher"
MANIFEST = "manifest.json"
ANY_OTHER = "folder"


@dataclass(frozen=True)
class Source:
    """What a word means: `kind` is a name of `DATA_SETS`, `path` that of the folder or the file."""

    kind: str
    path: Path | None = None
    count: int = 0

    @staticmethod
    def parse(word: str | Path) -> "Source":
        """A source from its word; whatever isn't one of the others is a folder.

        Raises:
            UsageError: no faces are asked for.
            BitfaceError: another package says that it has a kind of data set, and can't be imported.
        """
        # What is read in place says so, whatever its path looks like.
        named = [kind for kind in [str(word).partition(":")[0]] if kind in DATA_SETS]
        for kind in (*named, *DATA_SETS):
            if kind != ANY_OTHER and (source := DATA_SETS[kind].source(kind, str(word))):
                return source
        return Source(ANY_OTHER, Path(word))

    @property
    def data_set(self) -> "GivenFaces | PackedFaces | MadeFaces":
        return DATA_SETS[self.kind]


@dataclass(frozen=True)
class GivenFaces:
    """A kind of data set that somebody has.

    Attributes:
        fits: whether a path is of this kind; the name decides, as what isn't there or is damaged is an error of
            `folder`.
        folder: the folder with the images; of a packed file, one in the cache. Raises BitfaceError where it can't be
            read.
    """

    fits: Callable[[Path], bool]
    folder: Callable[[Path], Path]

    def source(self, kind: str, word: str) -> Source | None:
        """What a word means, if it is of this kind."""
        path = Path(word)
        return Source(kind, path) if self.fits(path) else None


@dataclass(frozen=True)
class PackedFaces:
    """A kind of data set that somebody has, read where it lies, an image at a time. Its word is `KIND:PATH`.

    Attributes:
        open: the data set at a path. Raises BitfaceError where it can't be read.
    """

    open: Callable[[Path], FaceDataset]

    def source(self, kind: str, word: str) -> Source | None:
        """What a word means, if it is of this kind."""
        prefix = f"{kind}:"
        return Source(kind, Path(word.removeprefix(prefix))) if word.startswith(prefix) else None


@dataclass(frozen=True)
class Making:
    """How faces are made.

    Attributes:
        network: the teacher, where there is one.
        truncation: of a generator's latents; 1 draws them as they come.
        device: where images are distilled, see `device.device_of`.
    """

    seed: int = 0
    network: Network | None = None
    truncation: float = 1.0
    progress: Progress | None = None
    device: str = "cpu"

    def teacher(self, word: str) -> Network:
        """The network, for a data set that needs it. Raises UsageError where there is none."""
        if self.network is None:
            raise UsageError(f"'{word}' makes images from a teacher: name the network")
        return self.network

    def teacher_key(self, word: str, version: str) -> str:
        """What the teacher's images depend on, as a part of a file's name: on another device they are others."""
        device = device_of(self.device).type
        return f"{word}-{self.teacher(word).fingerprint()[:16]}-{version}{'' if device == 'cpu' else '-' + device}"

    def teacher_made(self, word: str, kind: str, images: np.ndarray, steps: int) -> SyntheticFaces:
        """Images that the teacher made in so many steps, with their account."""
        manifest = {
            "kind": kind, "seed": self.seed, "teacher": self.teacher(word).fingerprint(), "steps": steps,
            "kept": len(images), "faces_sha256": manifest_hash(images),
        }  # fmt: skip
        return SyntheticFaces(images, manifest)


@dataclass(frozen=True)
class MadeFaces:
    """A kind of data set that has to be made.

    Attributes:
        word: a regular expression; the number of faces may follow it, after a colon. Its group `file`, if there is one,
            is the path.
        count: of faces where the word gives no number.
        key: what the faces depend on beside their number and the seed, as a part of a file's name.
        make: makes `count` faces.
        from_teacher: made from the network that learns from them.
    """

    word: str
    count: int
    key: Callable[[Source, Making], str]
    make: Callable[[Source, Making], SyntheticFaces]
    from_teacher: bool = False

    def source(self, kind: str, word: str) -> Source | None:
        """What a word means, if it is of this kind.

        Raises:
            UsageError: no faces are asked for.
        """
        match = re.fullmatch(rf"(?:{self.word})(?::(?P<count>\d{{1,7}}))?", word)
        if match is None:
            return None
        count = int(match["count"] or self.count)
        if count < 1:
            raise UsageError(f"'{word}' asks for no faces: give a number from 1 on")
        file = match.groupdict().get("file")
        return Source(kind, Path(file) if file else None, count)


DATA_SETS: Registry[GivenFaces | PackedFaces | MadeFaces] = Registry(
    "data set", "bitface.datasets", package="bitface.data.datasets"
)


def cached(
    source: Source,
    seed: int = 0,
    network: Network | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Path:
    """The folder of a source: there already, or unpacked or made at the first call and kept.

    Raises:
        UsageError: `none` or `spread` without a teacher.
        BitfaceError: it can't be read; see `synthetic.make_faces` and `distilled.distilled_faces`.
    """
    data_set = source.data_set
    assert not isinstance(data_set, PackedFaces)
    if isinstance(data_set, GivenFaces):
        assert source.path is not None
        return data_set.folder(source.path)
    making, store = Making(seed, network, progress=progress, device=device), Store()
    key = f"{data_set.key(source, making)}-{source.count}-{seed}"

    def fill(folder: Path) -> None:
        faces = data_set.make(source, making)
        fill_faces(folder, faces.images, faces.manifest)

    def check(folder: Path) -> None:
        json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if len(list(folder.glob("*.png"))) != source.count:
            raise ValueError("images have gone, or others were added")

    try:
        return store.folder("faces", key, fill, check)
    except OSError as error:
        raise BitfaceError(f"{store.path('faces', key)}: can't be written ({error.strerror or error})") from error


def opened(source: Source) -> FaceDataset:
    """A packed set, read where it lies; a folder, unpacked or made, see `cached`.

    Raises:
        BitfaceError: it can't be read.
    """
    if isinstance(source.data_set, PackedFaces):
        assert source.path is not None
        return source.data_set.open(source.path)
    return FaceFiles(find_images([cached(source)]))


def kind_of(folder: Path, files: int) -> str:
    """What is known of the faces of a folder: what its manifest says, if that is of as many files; or nothing."""
    try:
        manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kind, count = manifest["kind"], manifest["kept"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return REAL
    return kind if isinstance(kind, str) and count == files else REAL
