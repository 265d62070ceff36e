"""Photographs as aligned crops: the largest face of each, one that is named, or all."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitface.data.images import ImageSkipped, read_image
from bitface.errors import BitfaceError, UsageError, option
from bitface.preprocess import Size

if TYPE_CHECKING:
    from bitface.data.align import AlignedFace, FaceAligner

LARGEST, ALL = "largest", "all"
FaceWord = str | int


class NoFace(ImageSkipped):
    """A photograph that shows no face, or not the one that is asked for."""


@dataclass(frozen=True)
class Photograph:
    """A face that was aligned: one of the `faces` in a photograph, the `number`-th from the left, and its box.

    `word` is what was asked for.
    """

    path: Path
    faces: int
    box: tuple[int, int, int, int]
    number: int = 1
    word: FaceWord = LARGEST

    @property
    def note(self) -> str:
        """What whoever meant another face must know."""
        if self.faces == 1:
            return f"{self.path}: aligned by the face found in it"
        x, y, width, height = self.box
        which = "the largest" if self.word == LARGEST else "this one"
        return (
            f"{self.path}: {self.faces} faces are found in it; {which} is taken, {width}x{height} pixels from ({x}, "
            f"{y}), number {self.number} from the left; {option('face')} takes another by its number"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"image": str(self.path), "found": self.faces, "number": self.number, "box": list(self.box)}


@dataclass(frozen=True)
class FaceCrop:
    """A crop, uint8 RGB `[H, W, 3]`; `photograph`: what it was cut out of, None: the file is the crop."""

    path: Path
    crop: np.ndarray
    photograph: Photograph | None = None


def face_word(word: FaceWord) -> FaceWord:
    """`largest`, `all`, or the number of a face from the left, from 1 on. Raises UsageError for anything else."""
    text = str(word)
    if text in (LARGEST, ALL):
        return text
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"{option('face')} takes largest, all, or a number from 1 on, from the left; not '{word}'")
    return int(text)


def chosen(faces: "list[AlignedFace]", word: FaceWord) -> "list[AlignedFace]":
    """Those of a photograph's faces that a word means, see `face_word`; at least one.

    Raises:
        NoFace: there is none.
    """
    if not faces:
        raise NoFace("no face is found")
    if word == ALL:
        return faces
    if word == LARGEST:
        return [max(faces, key=lambda face: face.area)]
    if int(word) > len(faces):
        count = "one face is" if len(faces) == 1 else f"{len(faces)} faces are"
        raise NoFace(f"{count} found, so there is no face {word}")
    return [faces[int(word) - 1]]


class Photographs:
    """Reads images as crops of a network's size.

    Args:
        size: height and width. An image that has it counts as a crop.
        word: which face of each other image, see `face_word`.
    """

    def __init__(self, size: tuple[int, int], word: FaceWord = LARGEST) -> None:
        self.size, self.word = size, face_word(word)
        self._aligner: FaceAligner | None = None

    def crops(self, path: Path, source: Path | bytes | None = None, word: FaceWord | None = None) -> list[FaceCrop]:
        """The crops of an image file; several where all faces are wanted.

        Args:
            source: its content, where it lies in another file.
            word: another choice than the one for all.

        Raises:
            ImageSkipped: it can't be read, or shows no such face.
            BitfaceError: it would have to be aligned for a network of another input than the aligner's.
        """
        image = read_image(path if source is None else source)
        if image.shape[:2] == self.size:
            return [FaceCrop(path, image)]
        return self.of(image, path, word)

    def of(self, image: np.ndarray, path: Path, word: FaceWord | None = None) -> list[FaceCrop]:
        """The crops of uint8 RGB `[H, W, 3]`, which is aligned in any case; otherwise as `crops`."""
        word = self.word if word is None else face_word(word)
        if self._aligner is None:
            self._aligner = aligner()
        faces = chosen(self._aligner.faces(image), word)
        if faces[0].crop.shape[:2] != self.size:
            height, width = faces[0].crop.shape[:2]
            raise BitfaceError(
                f"{path}: the aligner makes crops of {width}x{height}, the network takes "
                f"{self.size[1]}x{self.size[0]}; give an aligned crop of that size (bitface align --size "
                f"{Size(*self.size)} cuts some)"
            )
        return [FaceCrop(path, face.crop, Photograph(path, face.faces, face.box, face.number, word)) for face in faces]


def face_crops(paths: Iterable[Path], size: tuple[int, int], words: Iterable[FaceWord]) -> list[list[FaceCrop]]:
    """The faces of each photograph as crops; `words` say which of each.

    Raises:
        NoFace: a photograph without a face, or without the one that is meant.
        BitfaceError: a file that can't be read, or a photograph to be aligned for a network of another input than the
            aligner's.
    """
    photographs, result = Photographs(size), []
    for path, word in zip(paths, words, strict=True):
        try:
            result.append(photographs.crops(path, word=word))
        except NoFace as error:
            raise NoFace(f"{path}: {error.reason}; give a photograph of one, or an aligned crop of it") from error
        except ImageSkipped as error:
            raise BitfaceError(f"{path}: {error.reason}") from error
    return result


def aligner(score: float = 0.6, size: tuple[int, int] = (112, 112)) -> "FaceAligner":
    """The default detector, for photographs of one face and of many, with crops of a size (height, width).

    Raises:
        BitfaceError: it can't be had.
    """
    from bitface.data.align import FaceAligner  # crops need none
    from bitface.data.assets import fetch

    return FaceAligner(fetch("yunet"), score, FaceAligner.MANY, size)
