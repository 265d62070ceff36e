"""Faces that are read when they are asked for, as if they were an array."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

Damaged = tuple[int, str]
"""A row whose image can't be read, and the reason."""


@runtime_checkable
class FaceImages(Protocol):
    """uint8 RGB faces `[N, H, W, 3]`: an array, or what reads them as they are needed.

    A slice is a part of the faces, which `np.asarray` reads; an array of rows gives their pixels.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...

    def __array__(self) -> np.ndarray: ...


def pixels(images: FaceImages, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Damaged]]:
    """The faces of rows `[B]`: uint8 RGB `[B, H, W, 3]`, the rows they are of, and which couldn't be read.

    In the place of a damaged face stands the next one that can be read, so that what a step sees depends on its rows
    alone.
    """
    return images[rows], rows, []
