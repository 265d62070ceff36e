"""Packed sets, written: the encoded images as they are, in the forms that `datasets/` reads."""

import io
import tarfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from bitface.data.images import image_size
from bitface.data.recordio import packed
from bitface.errors import BitfaceError, UsageError, nearest, option

# Images in one tar file: some 100 MB of crops, as WebDataset's users cut them.
PER_TAR = 10_000

# An image's place in its source, its bytes, and who is on it (None: nobody says).
Images = Iterator[tuple[int, bytes, int | None]]


class Writer:
    """Writes images to a folder, in the order in which they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def write(self, images: Images) -> int:
        """Writes all of them; gives how many they were. Raises OSError."""


class RecWriter(Writer):
    """InsightFace's form: records of images, each identity's one after the other, then those of their ranges."""

    def write(self, images: Images) -> int:
        ranges: list[list[int]] = []
        count, size = 0, None
        with (
            open(self.folder / "train.rec", "wb") as file,
            open(self.folder / "train.idx", "w", encoding="utf-8") as index,
        ):

            def add(key: int, record: bytes) -> None:
                index.write(f"{key}\t{file.tell()}\n")
                file.write(record)

            # Written again at the end, with the numbers that only then are known.
            add(0, packed(0, (0.0, 0.0)))
            for _, content, label in images:
                assert label is not None
                size = size or image_size(content)
                while len(ranges) <= label:
                    ranges.append([count + 1, count + 1])
                count += 1
                ranges[label][1] = count + 1
                add(count, packed(count, (float(label),), content))
            for label, (begin, end) in enumerate(ranges):
                add(count + 1 + label, packed(count + 1 + label, (float(begin), float(end))))
            file.seek(0)
            file.write(packed(0, (float(count + 1), float(count + 1 + len(ranges)))))
        height, width = size or (0, 0)
        (self.folder / "property").write_text(f"{len(ranges)},{height},{width}", encoding="utf-8")
        return count


class TarWriter(Writer):
    """WebDataset's form: `KEY.jpg` and, where somebody says who is on it, `KEY.cls`."""

    def write(self, images: Images) -> int:
        count = 0
        while True:
            # A file is begun with its first image, so that none is empty.
            first = next(images, None)
            if first is None:
                return count
            with tarfile.open(self.folder / f"{count // PER_TAR:05}.tar", "w") as archive:
                for _, content, label in chain([first], islice(images, PER_TAR - 1)):
                    _add(archive, f"{count:09}{suffix_of(content)}", content)
                    if label is not None:
                        _add(archive, f"{count:09}.cls", str(label).encode())
                    count += 1


WRITERS: dict[str, type[Writer]] = {"rec": RecWriter, "tar": TarWriter}


def writer_of(word: str | Path) -> tuple[type[Writer], Path]:
    """What a word such as `rec:FOLDER` asks for. Raises UsageError for another word."""
    kind, _, path = str(word).partition(":")
    if kind not in WRITERS or not path:
        known = " or ".join(f"{name}:FOLDER" for name in WRITERS)
        raise UsageError(f"{option('out')} is {known}, not '{word}'{nearest(kind, WRITERS)}")
    return WRITERS[kind], Path(path)


def order_of(labels: np.ndarray | None, count: int) -> Sequence[int]:
    """The order in which images are written: by identity, each one's in the order of the source."""
    return range(count) if labels is None else np.argsort(labels, kind="stable").tolist()


def suffix_of(content: bytes) -> str:
    """The usual end of an image file's name, by its content. Raises BitfaceError where that is none."""
    for suffix, magic in {
        ".jpg": b"\xff\xd8",
        ".png": b"\x89PNG",
        ".bmp": b"BM",
        ".gif": b"GIF8",
        ".webp": b"RIFF",
    }.items():
        if content.startswith(magic):
            return suffix
    for magic in (b"II*\0", b"MM\0*"):
        if content.startswith(magic):
            return ".tif"
    if content[:1] == b"P" and content[1:2].isdigit():
        return ".ppm"
    raise BitfaceError(f"an image begins with {content[:8]!r}, which is none of the formats that are read")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
