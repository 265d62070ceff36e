"""Faces that are read when they are asked for, as if they were an array."""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bitface.data.dataset import FaceDataset
from bitface.data.faces import Skipped, append_skipped, check_skipped, read_crop
from bitface.data.images import ImageSkipped
from bitface.errors import BitfaceError

Damaged = tuple[int, str]
"""A row whose image can't be read, and the reason."""

# So many images in a row that can't be read are no accident.
_IN_A_ROW = 256


class FaceImages(Protocol):
    """uint8 RGB faces `[N, H, W, 3]`: an array, or what reads them as they are needed.

    A slice is a part of the faces, which `np.asarray` reads; an array of rows gives their pixels.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...

    def __array__(self) -> np.ndarray: ...


class Damage:
    """Which images couldn't be read: counted, listed in a file, and refused where they are too many.

    Args:
        total: of the images that may be looked at.
        allow, path: see `faces.check_skipped`.
        skipped: those that are known already, and in the file.
    """

    def __init__(
        self, total: int = 0, allow: bool = False, path: Path | None = None, skipped: list[Skipped] | None = None
    ) -> None:
        self.total, self.allow, self.path = total, allow, path
        self.reasons = dict(skipped or ())

    def __len__(self) -> int:
        return len(self.reasons)

    def note(self, name: str, reason: str) -> None:
        """Takes note of an image, once.

        Raises:
            BitfaceError: there are too many by now, or the list can't be written.
        """
        if name in self.reasons:
            return
        self.reasons[name] = reason
        if self.path is not None:
            append_skipped(self.path, (name, reason))
        check_skipped(list(self.reasons.items()), self.total, self.allow)

    def share(self) -> None:
        """Takes note of what other ranks couldn't read; every rank must be here. Raises as `note`."""
        from bitface import ranks  # with torch, which faces are read without, too

        for reasons in ranks.told(self.reasons):
            for name, reason in reasons.items():
                self.note(name, reason)


class Crops:
    """Faces of a data set at one size, `[N, H, W, 3]`, decoded when they are asked for.

    Args:
        size: height and width.
        damage: where images that can't be read are noted by whoever reads them in this process.
    """

    def __init__(self, files: FaceDataset, size: tuple[int, int], damage: Damage) -> None:
        self.files, self.size, self.damage = files, size, damage

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.files), *self.size, 3)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> Any:
        """A slice: those faces, unread; an array of rows: their pixels."""
        if isinstance(rows, slice):
            return Crops(self.files[rows], self.size, self.damage)
        return noted(self, *pixels(self, np.asarray(rows)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype)

    @property
    def content(self) -> str:
        """SHA-256 that names the faces, their size and their order, in hexadecimal; see `FaceDataset.content`."""
        return hashlib.sha256(f"{self.files.content} {self.shape}".encode()).hexdigest()


def pixels(images: FaceImages, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Damaged]]:
    """The faces of rows `[B]`: uint8 RGB `[B, H, W, 3]`, the rows they are of, and which couldn't be read.

    In the place of a damaged face stands the next one that can be read, so that what a step sees depends on its rows
    alone.

    Raises:
        BitfaceError: none of 256 in a row can be read.
    """
    if not isinstance(images, Crops):
        return images[rows], rows, []
    content = np.empty((len(rows), *images.shape[1:]), np.uint8)
    own, damaged = np.array(rows, np.int64), dict[int, str]()
    for place, row in enumerate(rows.tolist()):
        for _ in range(min(_IN_A_ROW, len(images))):
            try:
                content[place], own[place] = read_crop(images.files.file(row), images.size)[0], row
                break
            except ImageSkipped as error:
                damaged[row] = error.reason
                row = (row + 1) % len(images)
        else:
            raise BitfaceError(
                f"{images.files.root}: {min(_IN_A_ROW, len(images))} images in a row can't be read, from "
                f"{images.files.name(int(rows[place]))} on: {damaged[int(rows[place])]}"
            )
    return content, own, list(damaged.items())


def noted(images: FaceImages, content: np.ndarray, _: np.ndarray, damaged: list[Damaged]) -> np.ndarray:
    """The content of `pixels`, after note was taken of what couldn't be read. Raises BitfaceError: see `Damage`."""
    if isinstance(images, Crops):
        for row, reason in damaged:
            images.damage.note(images.files.name(row), reason)
    return content
