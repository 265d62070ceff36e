"""Who is on each image, where somebody knows: from folder names or from a file."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from bitface.data.dataset import FaceDataset, FaceRecord
from bitface.data.faces import FaceFile
from bitface.errors import BitfaceError, option


def identities(files: Sequence[FaceFile], source: str) -> np.ndarray:
    """The identity of each file, 0 to C-1 in the order of their names, int64 `[N]`.

    Args:
        source: `folder`: images of one folder are of one person, and those of a packed set of whom it says; otherwise
            a CSV file with the columns `path` and `label`, paths as below the image folders.

    Raises:
        BitfaceError: a file without an identity, images that are in no folder, an unreadable or contradictory CSV.
    """
    own = files.labels if source == "folder" and isinstance(files, FaceDataset) else None
    return np.unique(names_of(files, source) if own is None else own, return_inverse=True)[1].astype(np.int64)


def ambiguous_names(files: Sequence[FaceFile], names: Sequence[str]) -> list[str]:
    """What there is to say of people's names that may be one person's or several's.

    Args:
        names: as `names_of`, or whatever else is made of `FaceFile.person`.
    """
    folders: dict[str, set[str]] = {}
    sources: dict[str, set[Path]] = {}
    for file, name in zip(files, names, strict=True):
        if isinstance(file, FaceRecord):  # of a packed set, which is told apart from others
            continue
        folders.setdefault(PurePosixPath(name).name, set()).add(name)
        sources.setdefault(name, set()).add(file.root)
    notes = []
    if several := [sorted(full) for full in folders.values() if len(full) > 1]:
        first, second, *_ = several[0]
        notes.append(
            f"{len(several):,} folders' names are in several places, such as {first} and {second}: these count as "
            "different people"
        )
    if shared := [name for name, roots in sources.items() if len(roots) > 1]:
        notes.append(
            f"{len(shared):,} people are in several of the folders given, '{shared[0]}' the first: each counts as one"
        )
    return notes


def names_of(files: Sequence[FaceFile], source: str) -> list[str]:
    """The name of each file's identity; arguments and errors as in `identities`."""
    return _by_folder(files) if source == "folder" else _by_file(files, Path(source))


def _by_folder(files: Sequence[FaceFile]) -> list[str]:
    names = []
    for file in files:
        name = file.person
        if name is None:
            raise BitfaceError(
                f"{file.path}: lies in no person's folder; {option('labels', 'folder')} wants one folder for each "
                "person, or a packed set that says who is on its images "
                f"(or give {option('labels')} a CSV file with the columns path,label)"
            )
        names.append(name)
    return names


def _by_file(files: Sequence[FaceFile], path: Path) -> list[str]:
    labels: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = csv.DictReader(handle)
            if not {"path", "label"} <= set(rows.fieldnames or ()):
                raise BitfaceError(f"{path}: needs the columns path,label")
            for row in rows:
                key, label = (row["path"] or "").replace("\\", "/"), row["label"] or ""
                if not key or not label:
                    raise BitfaceError(f"{path}: line {rows.line_num} has no path or no label")
                if labels.setdefault(key, label) != label:
                    raise BitfaceError(f"{path}: line {rows.line_num} gives '{key}' a second label")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BitfaceError(f"{path}: no readable label file ({getattr(error, 'strerror', None) or error})") from error
    gaps = [file.relative for file in files if file.relative not in labels]
    if gaps:
        raise BitfaceError(
            f"{path}: has no label for {len(gaps)} of {len(files)} images, '{gaps[0]}' the first; paths are "
            "those below the image folder"
        )
    return [labels[file.relative] for file in files]
