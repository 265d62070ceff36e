"""Verification sets packed into one `.bin` file, as InsightFace hands them around.

Such a file is a pickle of `(images, same)`: the encoded images, two in a row for each pair, and a flag for each pair.
It is read as `plain_pickle` does, which runs nothing.
"""

import csv
import hashlib
import io
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitface.data.pickled_arrays import Array, NotAnArray, Span
from bitface.data.plain_pickle import Refused, load
from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.store import Store

SUFFIX = ".bin"
LIST = "pairs.csv"
_NO_PACK = "holds something else than a list of images and a list of flags; give an InsightFace .bin pack"
FOLDS = 10

_MAGIC = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"BM": ".bmp", b"GIF8": ".gif"}


def is_pack(path: Path) -> bool:
    """Whether a path names a file that is read as a pack."""
    return path.name.lower().endswith(SUFFIX) and not path.is_dir()


def unpacked_pack(path: Path) -> tuple[Path, Path]:
    """The folder with the images of a pack, and the list of its pairs there: a CSV with the columns a,b,same,fold.

    Both are made at the first call and kept in the cache by the file's hash. The images are written as they are
    encoded, each once, numbered in the order of the pack. The ten folds are contiguous, in the order of the pairs, and
    differ by one pair at most, the longer ones first, as InsightFace cuts them (scikit-learn's KFold without
    shuffling).

    Raises:
        BitfaceError: the file can't be read, is no such pickle or a damaged one, asks for anything but lists, tuples,
            bytes, numbers and numpy's arrays of them, or its parts don't fit each other.
    """
    path = Path(path)

    def fill(temporary: Path) -> None:
        if path.stat().st_size == 0:
            raise Refused("is empty")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _write(data, *_parts(load(data), data), temporary)

    try:
        folder = Store().folder("packs", sha256_of(path)[:16], fill)
    except Refused as error:
        raise BitfaceError(f"{path}: {error}") from error
    except OSError as error:
        raise BitfaceError(f"{path}: can't be unpacked ({error.strerror or error})") from error
    return folder, folder / LIST


def _parts(value: Any, data: mmap.mmap) -> tuple[list[Span], list[bool]]:
    """Images and flags, out of what the pickle built."""
    parts = _plain(value, data)
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise Refused(_NO_PACK)
    images, same = (_plain(part, data) for part in parts)
    if not isinstance(images, list | tuple) or not isinstance(same, list | tuple):
        raise Refused(_NO_PACK)
    images = [_encoded(image) for image in images]
    for index, image in enumerate(images):
        if not isinstance(image, Span):
            raise Refused(f"image {index} is no string of bytes; pack the images as they are encoded in files")
    for index, flag in enumerate(same):
        if not isinstance(flag, int) or flag not in (0, 1):
            raise Refused(f"the flag of pair {index} is neither true nor false")
    if not same or len(images) != 2 * len(same):
        raise Refused(f"holds {len(images)} images for {len(same)} pairs; expected two for each")
    return list(images), [bool(flag) for flag in same]


def _plain(value: Any, data: mmap.mmap) -> Any:
    """The list that an array stands for; anything else as it is. Raises Refused."""
    if not isinstance(value, Array):
        return value
    if isinstance(value.content, list):
        return value.content
    try:
        return value.numbers(data)
    except NotAnArray as error:
        raise Refused(f"holds an array that {error}; pack the images as they are encoded in files") from None


def _encoded(image: Any) -> Any:
    """An encoded image in an array of bytes as those; anything else as it is."""
    if not isinstance(image, Array) or image.dtype is None or not isinstance(image.content, Span):
        return image
    return image.content if image.dtype.code == "u1" and len(image.shape) == 1 else image


def _write(data: mmap.mmap, images: list[Span], same: list[bool], folder: Path) -> None:
    names: dict[Span, str] = {}
    files: dict[bytes, str] = {}
    for index, image in enumerate(images):
        if image in names:
            continue
        # An image of several pairs is packed once for each of them, and becomes one file: embedded once, and never
        # taken for another image of its person. Only within a pair two equal ones stay two.
        try:
            content = image.read(data)
        except ValueError as error:
            raise Refused(f"is damaged: the string at byte {image.start} can't be decoded ({error})") from None
        digest = hashlib.sha256(content).digest()
        beside = names.get(images[index - 1]) if index % 2 else None
        if digest not in files or files[digest] == beside:
            name = f"{index:06}{_extension(content, index)}"
            (folder / name).write_bytes(content)
            files.setdefault(digest, name)
            names[image] = name
        else:
            names[image] = files[digest]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("a", "b", "same", "fold"))
    for index, (flag, fold) in enumerate(zip(same, _folds(len(same)), strict=True)):
        a, b = names[images[2 * index]], names[images[2 * index + 1]]
        if a == b:
            raise Refused(f"pair {index} is one image with itself")
        rows.writerow((a, b, int(flag), fold))
    (folder / LIST).write_text(text.getvalue(), encoding="utf-8")


def _folds(pairs: int) -> Iterator[int]:
    for fold in range(FOLDS):
        yield from [fold] * (pairs // FOLDS + (fold < pairs % FOLDS))


def _extension(content: bytes, index: int) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    for magic, extension in _MAGIC.items():
        if content.startswith(magic):
            return extension
    raise Refused(f"image {index} begins with {content[:8]!r}: neither JPEG nor PNG, nor another image that is known")
