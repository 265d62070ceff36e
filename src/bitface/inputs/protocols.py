"""From what a person writes of a protocol to the protocol itself and the images that it needs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitface.data.faces import FaceFile, find_images
from bitface.data.packs import is_pack, unpacked_pack
from bitface.errors import UsageError, nearest
from bitface.evaluation import read_pairs
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


def open_protocol(name: str, spec: Mapping[str, Any], base: Path = Path()) -> Opened:
    """A protocol by its description in a suite.

    Args:
        spec: one of `KINDS`' keys with what belongs to it.
        base: what paths in it are relative to.

    Raises:
        UsageError: no kind, two of them, or an unknown key (the nearest known one is named).
        BitfaceError: its files can't be read.
    """
    kinds = [key for key in KINDS if key in spec]
    if len(kinds) != 1:
        raise UsageError(f"the protocol '{name}' must have one of the keys {', '.join(KINDS)}")
    opener, options = KINDS[kinds[0]]
    values: dict[str, Any] = {}
    for key, value in spec.items():
        if key not in options:
            raise UsageError(f"the protocol '{name}' has an unknown key '{key}'{nearest(key, options)}")
        values[key] = _value(value, options[key], base)
        if values[key] is None:
            raise UsageError(f"'{key}' of the protocol '{name}' can't be {value!r}")
    try:
        inspect.signature(opener).bind(name, **values)
    except TypeError as error:  # a key that the kind can't do without
        raise UsageError(f"the protocol '{name}' lacks {str(error).rpartition(' ')[2]}") from error
    return opener(name, **values)


def _value(value: Any, kind: Any, base: Path) -> Any:
    """A value of the kind that a key has: paths made whole, one path as a list of one; None where it is another."""
    if kind is Path:
        return base / value if isinstance(value, str) and value else None
    if kind == list[Path]:
        paths = [_value(one, Path, base) for one in (value if isinstance(value, list) else [value])]
        return paths if paths and None not in paths else None
    if kind == dict[str, Path]:
        named = {str(key): _value(one, Path, base) for key, one in value.items()} if isinstance(value, Mapping) else {}
        return named if named and None not in named.values() else None
    return value if isinstance(value, kind) and isinstance(value, bool) == (kind is bool) else None


def _pairs(
    name: str, pairs: Path, root: Path | None = None, part: str | None = None, all_pairs: bool = False
) -> Opened:
    protocol, folder = listed_pairs(pairs, root, part, all_pairs, name)
    return Opened(protocol, _files(folder, protocol.paths), protocol.pairs.notes)


def _people(name: str, people: Path) -> Opened:
    found = find_images([people])
    protocol = ClosedSetProtocol.of([file.relative for file in found])
    return Opened(replace(protocol, name=name), _files(people, protocol.paths))


def _files(root: Path, paths: Sequence[str]) -> list[FaceFile]:
    return [FaceFile(root, path) for path in paths]


def _videos(name: str, videos: Path, root: Path, frames: int | None = None) -> Opened:
    pairs = read_video_pairs(videos, root, frames)
    return Opened(YtfProtocol(name, pairs), _files(root, pairs.paths))


def _templates(
    name: str,
    templates: list[Path],
    matches: Path,
    root: Path,
    points: Path | None = None,
    image: str = "{FILENAME}",
    norm: bool = True,
    quality: bool = False,
) -> Opened:
    found = _template_list(name, templates, points, image)
    protocol = TemplateProtocol(name, found, read_template_pairs(matches, found), norm, quality)
    return Opened(protocol, _photographs(root, found), found.notes)


def _searches(
    name: str,
    galleries: dict[str, Path],
    probes: Path,
    root: Path,
    media: Path | None = None,
    points: Path | None = None,
    image: str = "{FILENAME}",
    norm: bool = True,
    quality: bool = False,
) -> Opened:
    known = read_media_list(media, points) if media else None
    found = read_searches(galleries, probes, known, image)
    return Opened(
        SearchProtocol(name, found, norm, quality), _photographs(root, found.templates), found.templates.notes
    )


def _megaface(
    name: str,
    probes: Path,
    distractors: Path,
    root: Path,
    probe_noise: Path | None = None,
    distractor_noise: Path | None = None,
    probe_folder: str = "facescrub_images",
    distractor_folder: str = "megaface_images",
) -> Opened:
    protocol = read_megaface(
        probes, distractors, probe_noise=probe_noise, distractor_noise=distractor_noise, probe_folder=probe_folder,
        distractor_folder=distractor_folder,
    )  # fmt: skip
    return Opened(replace(protocol, name=name), _files(root, protocol.paths), protocol.notes)


def _template_list(name: str, paths: list[Path], points: Path | None, image: str) -> TemplateList:
    """InsightFace's text file, or NIST's CSV files."""
    if all(path.suffix.lower() == ".csv" for path in paths):
        return read_template_files(paths, image)
    if len(paths) > 1:
        raise UsageError(f"the protocol '{name}': several files of templates must all be CSV files of NIST's release")
    return read_media_list(paths[0], points)


def _photographs(root: Path, templates: TemplateList) -> list[FaceFile]:
    """The images, each with its landmarks where a file gave them: then it is cut out of the photograph."""
    if templates.landmarks is None:
        return _files(root, templates.paths)
    return [
        FaceFile(root, path, tuple((float(x), float(y)) for x, y in points))
        for path, points in zip(templates.paths, templates.landmarks, strict=True)
    ]


# Kind, by the key that names it → what opens it, and its keys.
KINDS: dict[str, tuple[Callable[..., Opened], dict[str, Any]]] = {
    "pairs": (_pairs, {"pairs": Path, "root": Path, "part": str, "all_pairs": bool}),
    "people": (_people, {"people": Path}),
    "videos": (_videos, {"videos": Path, "root": Path, "frames": int}),
    "templates": (
        _templates,
        {"templates": list[Path], "matches": Path, "root": Path, "points": Path, "image": str, "norm": bool,
         "quality": bool},
    ),
    "galleries": (
        _searches,
        {"galleries": dict[str, Path], "probes": Path, "root": Path, "media": Path, "points": Path, "image": str,
         "norm": bool, "quality": bool},
    ),
    "distractors": (
        _megaface,
        {"distractors": Path, "probes": Path, "root": Path, "probe_noise": Path, "distractor_noise": Path,
         "probe_folder": str, "distractor_folder": str},
    ),
}  # fmt: skip
