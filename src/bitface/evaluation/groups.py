"""Groups of people: every figure for each of them, at thresholds found on everybody."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools
from bitface.evaluation.pairs import identity_of

_KEYS = ("path", "person", "identity")


@dataclass(frozen=True, eq=False)
class Groups:
    """Which images belong to which group.

    Attributes:
        members: attribute → group → `[N]`, whether each image belongs to it. Images of which nothing is known are in
            no group.
        unknown: images without any attribute.
    """

    members: dict[str, dict[str, Bools]]
    unknown: int


def read_groups(path: Path, images: Sequence[str]) -> Groups:
    """Reads a CSV of attributes: a column `path` (an image) or `person` (the name of the folder), and others.

    Every other column is an attribute, and every value in it a group; an empty cell says that nobody knows.

    Raises:
        BitfaceError: the file can't be read, names no image or person, has no attribute or contradicts itself (the
            line is named), or knows nothing of these images.
    """
    key, attributes, known = _read(Path(path))
    names = list(images) if key == "path" else [identity_of(image) for image in images]
    values = [known.get(name, {}) for name in names]
    unknown = sum(not any(row.values()) for row in values)
    if unknown == len(images):
        raise BitfaceError(
            f"{path}: has no attribute of any of the {len(images)} images, '{names[0]}' the first; its column '{key}' "
            + ("holds paths below the image folder" if key == "path" else "holds names of the images' folders")
        )
    members: dict[str, dict[str, Bools]] = {}
    for attribute in attributes:
        cells = np.array([row.get(attribute, "") for row in values])
        members[attribute] = {str(group): cells == group for group in sorted({*cells.tolist()} - {""})}
    return Groups({name: groups for name, groups in members.items() if groups}, unknown)


def _read(path: Path) -> tuple[str, list[str], dict[str, dict[str, str]]]:
    known: dict[str, dict[str, str]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = [name or "" for name in rows.fieldnames or ()]
            keys = [name for name in header if name in _KEYS]
            attributes = [name for name in header if name and name not in _KEYS]
            if len(keys) != 1 or not attributes or len(set(header)) != len(header):
                raise BitfaceError(
                    f"{path}: the header is {','.join(header) or 'empty'}; expected a column 'path' or 'person' and "
                    "one column for each attribute"
                )
            for row in rows:
                name = (row[keys[0]] or "").strip().replace("\\", "/")
                if not name or None in row or None in row.values():
                    raise BitfaceError(f"{path}:{rows.line_num}: expected {len(header)} cells, the first ones filled")
                cells = {attribute: row[attribute].strip() for attribute in attributes}
                key = str(PurePosixPath(name))
                if known.setdefault(key, cells) != cells:
                    raise BitfaceError(f"{path}:{rows.line_num}: says something else of '{key}' than a line before")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BitfaceError(f"{path}: no readable CSV file of attributes ({reason})") from error
    return "path" if keys[0] == "path" else "person", attributes, known


@dataclass(frozen=True)
class GroupRow:
    """One group: its images and pairs, accuracy figures of its own, and both error rates at everybody's threshold."""

    attribute: str
    group: str
    images: int
    figures: list[dict[str, Any]]
    rates: list[dict[str, Any]]
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dict(vars(self))
