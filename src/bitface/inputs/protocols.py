"""From what a person writes of a protocol to the protocol itself and the images that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from bitface.config import File, FilePath, FilePaths, Name, check
from bitface.data.faces import FaceFile, find_images
from bitface.data.packs import is_pack, unpacked_pack
from bitface.errors import UsageError
from bitface.evaluation import read_pairs
from bitface.evaluation.figures.operating import check_fars
from bitface.evaluation.lists.megaface import read_megaface
from bitface.evaluation.lists.templates import (
    TemplateList,
    read_media_list,
    read_searches,
    read_template_files,
    read_template_pairs,
)
from bitface.evaluation.lists.videos import read_video_pairs
from bitface.evaluation.protocols.base import FaceProtocol
from bitface.evaluation.protocols.closed_set import ClosedSetProtocol
from bitface.evaluation.protocols.open_set import SearchProtocol
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.protocols.templates import TemplateProtocol
from bitface.evaluation.protocols.videos import YtfProtocol


def _fars(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise ValueError
    return check_fars([float(far) for far in value])


# False accept rates of a file; YAML takes `1e-4` for a word.
Fars = Annotated[
    tuple[float, ...],
    PlainValidator(_fars),
    WithJsonSchema({"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1}),
]


@dataclass(frozen=True)
class Opened:
    """A protocol, its images in the order of its paths, and what is odd about its files."""

    protocol: FaceProtocol
    files: list[FaceFile]
    notes: tuple[str, ...] = ()


def listed_pairs(
    pairs: Path, root: Path | None, part: str | None = None, all_pairs: bool = False, name: str | None = None
) -> tuple[PairProtocol, Path]:
    """The protocol of a list of pairs in any form (see `evaluation.read_pairs`) or of a `.bin` pack, and its folder.

    Raises:
        BitfaceError: the list or the pack can't be read, or images are missing.
        UsageError: a list without a folder.
    """
    listed = pairs
    if is_pack(pairs):
        root, listed = unpacked_pack(pairs)
    elif root is None:
        raise UsageError(f"{pairs}: a list of pairs needs --root, the folder that its paths start at")
    return PairProtocol(name or pairs.stem, read_pairs(listed, root, part), all_pairs), root


class Described(File):
    """A protocol as a suite describes it."""

    def open(self, name: str) -> Opened:
        """The protocol and its images. Raises BitfaceError where files can't be read."""
        raise NotImplementedError


class Pairs(Described):
    """A list of pairs, in any form, or a `.bin` pack."""

    pairs: FilePath
    root: FilePath | None = None
    part: str | None = None
    all_pairs: bool = False

    def open(self, name: str) -> Opened:
        protocol, folder = listed_pairs(self.pairs, self.root, self.part, self.all_pairs, name)
        return Opened(protocol, _files(folder, protocol.paths), protocol.pairs.notes)


class People(Described):
    """A folder with a folder for each person: everybody is searched among everybody."""

    people: FilePath

    def open(self, name: str) -> Opened:
        found = find_images([self.people])
        protocol = ClosedSetProtocol.of([file.relative for file in found])
        return Opened(replace(protocol, name=name), _files(self.people, protocol.paths))


class Videos(Described):
    """The splits of YouTube Faces; `frames` of each video, None: all."""

    videos: FilePath
    root: FilePath
    frames: int | None = None

    def open(self, name: str) -> Opened:
        pairs = read_video_pairs(self.videos, self.root, self.frames)
        return Opened(YtfProtocol(name, pairs), _files(self.root, pairs.paths))


class Templates(Described):
    """Templates and which of them are compared: IJB's lists, as InsightFace or as NIST gives them."""

    templates: FilePaths
    matches: FilePath
    root: FilePath
    points: FilePath | None = None
    image: str = "{FILENAME}"
    norm: bool = True
    quality: bool = False

    def open(self, name: str) -> Opened:
        found = self._listed(name)
        protocol = TemplateProtocol(name, found, read_template_pairs(self.matches, found), self.norm, self.quality)
        return Opened(protocol, _photographs(self.root, found), found.notes)

    def _listed(self, name: str) -> TemplateList:
        """InsightFace's text file, or NIST's CSV files."""
        if all(path.suffix.lower() == ".csv" for path in self.templates):
            return read_template_files(self.templates, self.image)
        if len(self.templates) > 1:
            raise UsageError(
                f"the protocol '{name}': several files of templates must all be CSV files of NIST's release"
            )
        return read_media_list(self.templates[0], self.points)


class Searches(Described):
    """Galleries and probes of templates, of whom some are in no gallery."""

    galleries: Annotated[dict[Name, FilePath], Field(min_length=1)]
    probes: FilePath
    root: FilePath
    media: FilePath | None = None
    points: FilePath | None = None
    image: str = "{FILENAME}"
    norm: bool = True
    quality: bool = False

    def open(self, name: str) -> Opened:
        known = read_media_list(self.media, self.points) if self.media else None
        found = read_searches(self.galleries, self.probes, known, self.image)
        protocol = SearchProtocol(name, found, self.norm, self.quality)
        return Opened(protocol, _photographs(self.root, found.templates), found.templates.notes)


class Distractors(Described):
    """MegaFace: probes searched among each other and a million strangers."""

    distractors: FilePath
    probes: FilePath
    root: FilePath
    probe_noise: FilePath | None = None
    distractor_noise: FilePath | None = None
    probe_folder: str = "facescrub_images"
    distractor_folder: str = "megaface_images"

    def open(self, name: str) -> Opened:
        lists = self.model_dump(exclude={"distractors", "probes", "root"})
        protocol = read_megaface(self.probes, self.distractors, **lists)
        return Opened(replace(protocol, name=name), _files(self.root, protocol.paths), protocol.notes)


# Kinds of protocols, by the key that names them.
KINDS: dict[str, type[Described]] = {
    "pairs": Pairs,
    "people": People,
    "videos": Videos,
    "templates": Templates,
    "galleries": Searches,
    "distractors": Distractors,
}


def describe(name: str, spec: Any, base: Path = Path()) -> Described:
    """A protocol as a suite describes it, checked.

    Args:
        spec: one of `KINDS`' keys with what belongs to it.
        base: what paths in it are relative to.

    Raises:
        UsageError: no kind, two of them, or see `config.check`.
    """
    if not isinstance(spec, Mapping):
        raise UsageError(f"the protocol '{name}' must be a list of keys such as pairs and root")
    kinds = [key for key in KINDS if key in spec]
    if len(kinds) != 1:
        raise UsageError(f"the protocol '{name}' must have one of the keys {', '.join(KINDS)}")
    return check(spec, KINDS[kinds[0]], f"the protocol '{name}'", base)


def open_protocol(name: str, spec: Mapping[str, Any], base: Path = Path()) -> Opened:
    """A protocol and its images by its description in a suite; see `describe`.

    Raises:
        UsageError: the description makes no sense.
        BitfaceError: its files can't be read.
    """
    return describe(name, spec, base).open(name)


def _files(root: Path, paths: Sequence[str]) -> list[FaceFile]:
    return [FaceFile(root, path) for path in paths]


def _photographs(root: Path, templates: TemplateList) -> list[FaceFile]:
    """The images, each with its landmarks where a file gave them: then it is cut out of the photograph."""
    if templates.landmarks is None:
        return _files(root, templates.paths)
    return [
        FaceFile(root, path, tuple((float(x), float(y)) for x, y in points))
        for path, points in zip(templates.paths, templates.landmarks, strict=True)
    ]
