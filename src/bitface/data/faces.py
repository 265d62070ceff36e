"""Folders of face crops → arrays, in an order that names and seeds alone decide."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from bitface.data.align import CROP, crop_face
from bitface.data.images import ImageSkipped, image_size, read_image
from bitface.errors import BitfaceError, UsageError, flag
from bitface.files import folders_below, write_bytes
from bitface.preprocess import LARGEST_SIDE, Size
from bitface.tables import table_bytes

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
MIN_SIDE = 32
MAX_SKIPPED_SHARE = 0.01
# Of so many crops the headers are read, and so many of those have one size where crops are said to have one.
_MEASURED = 512
_AGREEING_SHARE = 0.9

Progress = Callable[[int, int], None]
Skipped = tuple[str, str]
"""A path relative to its source, and the reason why the image can't be used."""


@dataclass(frozen=True)
class FaceFile:
    """An image below a source folder; `relative` is written with forward slashes on every system.

    Attributes:
        landmarks: where the face is, five points (x, y) in pixels in the order of `align.TEMPLATE`: the image is a
            photograph, and its crop is cut out by them. None: the image is the crop.
    """

    root: Path
    relative: str
    landmarks: tuple[tuple[float, float], ...] | None = None

    @property
    def path(self) -> Path:
        return self.root / self.relative

    @property
    def encoded(self) -> Path | bytes:
        """What `images.read_image` reads. Raises ImageSkipped where an image that lies in another file is damaged."""
        return self.path

    @property
    def person(self) -> str | None:
        """Who is on it by the source itself, such as the name of its folder; None: nobody says."""
        return person_of(self.relative)

    def facts(self) -> object:
        """What decides whether it is still the same."""
        try:
            status = self.path.stat()
            facts: object = (status.st_size, status.st_mtime_ns)
        except OSError:
            facts = None
        return str(self.path.resolve()), facts


def person_of(path: str) -> str | None:
    """Whom an image of this path below its source shows: by its folder, with those that this lies in; None: it lies in
    none. Letters with accents are one name whether they are written as one character or as two (NFC, NFD).
    """
    parent = str(PurePosixPath(path).parent)
    return None if parent == "." else unicodedata.normalize("NFC", parent)


def find_images(sources: Sequence[Path], image_list: Path | None = None) -> list[FaceFile]:
    """All image files below the folders, sorted by relative path; or those of the list, in its order.

    Hidden files and folders (AppleDouble's `._*` among them) are left out. Links are followed, those to folders
    as `files.folders_below` says. The list has one relative path per line; blank lines and lines that start with `#`
    are ignored, and each path is looked up in the sources in the order given.

    Raises:
        BitfaceError: a source isn't a readable folder or holds no image; a listed path is in none of the
            sources, or leads out of them.
    """
    sources = list(dict.fromkeys(Path(source) for source in sources))
    for source in sources:
        if not source.exists():
            raise BitfaceError(f"{source}: no such folder; give the folder that holds the face images")
        if not source.is_dir():
            raise BitfaceError(f"{source}: a file, not a folder; give the folder that holds the face images")
    if image_list is not None:
        return _listed(sources, Path(image_list))
    images: list[FaceFile] = []
    for source in sources:
        below = [FaceFile(source, relative) for relative in _walk(source)]
        if not below:
            raise BitfaceError(
                f"{source}: no image ({' '.join(EXTENSIONS)}) in this folder or below it; give the folder that holds "
                "the face images"
            )
        images += below
    return sorted(images, key=lambda file: file.relative)


def _walk(source: Path) -> Iterator[str]:
    try:
        for folder, names in folders_below(source):
            for name in names:
                if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                    yield (folder / name).relative_to(source).as_posix()
    except OSError as error:
        raise BitfaceError(f"{error.filename}: can't be read ({error.strerror}); mend its permissions") from error


def _listed(sources: Sequence[Path], image_list: Path) -> list[FaceFile]:
    try:
        lines = image_list.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BitfaceError(f"{image_list}: not a readable UTF-8 list of images ({error})") from error
    paths = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    files, absent = [], []
    for relative in dict.fromkeys(paths):
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise BitfaceError(f"{image_list}: '{relative}' leads out of the source; list paths relative to it")
        # os.path.isfile, unlike Path.is_file, is also False for names too long to exist.
        root = next((source for source in sources if os.path.isfile(source / relative)), None)
        if root is None:
            absent.append(relative)
        else:
            files.append(FaceFile(root, parts.as_posix()))
    if absent:
        raise BitfaceError(
            f"{image_list}: {len(absent)} of {len(files) + len(absent)} listed images are in none of the "
            f"sources, the first: '{absent[0]}'; list paths relative to a source"
        )
    if not files:
        raise BitfaceError(f"{image_list}: no image is listed; write one relative path per line")
    return files


def choose(files: Sequence[FaceFile], count: int | None, seed: int) -> list[FaceFile]:
    """`count` of the files (all for None or when there are fewer), drawn by rank of SHA-256 of seed and path.

    The draw depends on relative paths and the seed alone: neither on the order of `files` nor on where their
    folder stands; and what a larger count draws begins with what a smaller one does.

    Raises:
        UsageError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise UsageError(f"can't choose {count} images: give a number from 1 on")

    def rank(file: FaceFile) -> tuple[bytes, str]:
        key = f"{seed}:{file.relative}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(key).digest(), str(file.root)

    return sorted(files, key=rank)[:count]


@dataclass(frozen=True)
class LoadedFaces:
    """Faces as uint8 RGB `[N, H, W, 3]`, the N files they are from, and the account of the others.

    `sizes` counts the sizes that the N crops had in their files; `duplicates` counts files dropped because their
    pixels had been seen before.
    """

    images: np.ndarray
    files: list[FaceFile]
    skipped: list[Skipped] = field(default_factory=list)
    sizes: Counter[Size] = field(default_factory=Counter)
    duplicates: int = 0

    @property
    def resized(self) -> int:
        """How many of the N were of another size."""
        return len(self.files) - self.sizes[Size(*self.images.shape[1:3])]


def crop_sizes(files: Sequence[FaceFile]) -> Counter[Size]:
    """The sizes of crops by the headers of their files: of 512 at most, evenly spread over `files`.

    Those that can't be read are left out; their reasons show when they are.
    """
    count = min(len(files), _MEASURED)
    sizes: Counter[Size] = Counter()
    for file in (files[place * len(files) // count] for place in range(count)):
        try:
            sizes[image_size(file.encoded) if file.landmarks is None else Size(CROP, CROP)] += 1
        except ImageSkipped:
            continue
    return sizes


def common_size(sizes: Mapping[Size, int]) -> Size | None:
    """The size that at least nine of ten crops have; None: they have none, or one that no crop of a face has."""
    size = max(sizes, key=lambda one: sizes[one], default=None)
    if size is None or sizes[size] < _AGREEING_SHARE * sum(sizes.values()):
        return None
    return size if MIN_SIDE <= min(size) <= max(size) <= LARGEST_SIDE else None


def resizing(sizes: Mapping[Size, int], size: tuple[int, int]) -> list[str]:
    """A note where more than half of the crops have to be resized to a network's `size` (height, width).

    Crops that aren't square, or are too small, don't count: they are skipped.
    """
    usable = {own: count for own, count in sizes.items() if own == size or _unresizable(own, size) is None}
    resized = {own: count for own, count in usable.items() if own != size}
    if 2 * sum(resized.values()) <= sum(usable.values()):
        return []
    frequent = max(resized, key=lambda one: resized[one])
    from_it = "all" if len(resized) == 1 else f"{resized[frequent]:,}"
    return [
        f"{sum(resized.values()):,} of {sum(usable.values()):,} crops looked at aren't of the network's {Size(*size)} "
        f"and are resized, {from_it} of them from {frequent}"
    ]


def load_faces(
    files: Sequence[FaceFile],
    size: tuple[int, int] = (112, 112),
    progress: Progress | None = None,
    unique: bool = False,
) -> LoadedFaces:
    """Reads face crops to `size` (height, width), in the order of `files`.

    An image of the exact size is taken as it is. Another square one of at least `MIN_SIDE` pixels is resized
    (by area when shrinking, bilinearly when enlarging). Everything else is skipped with a reason: no crop is
    ever stretched or cut. `unique` keeps the first only of images with identical pixels. `progress` is called
    with (files done, files in all).
    """
    # Pages of this array cost memory only once they are written: no second copy as in stacking a list.
    images = np.empty((len(files), *size, 3), np.uint8)
    usable: list[FaceFile] = []
    skipped: list[Skipped] = []
    digests: set[str] = set()
    sizes: Counter[Size] = Counter()
    duplicates = 0
    for number, file in enumerate(files, start=1):
        try:
            image, own = read_crop(file, size)
        except ImageSkipped as error:
            skipped.append((file.relative, error.reason))
        else:
            digest = content_hash(image) if unique else None
            if digest in digests:
                duplicates += 1
            else:
                if digest:
                    digests.add(digest)
                images[len(usable)] = image
                usable.append(file)
                sizes[own] += 1
        if progress:
            progress(number, len(files))
    return LoadedFaces(images[: len(usable)], usable, skipped, sizes, duplicates)


def batches(
    files: Sequence[FaceFile],
    size: tuple[int, int] = (112, 112),
    batch: int = 64,
    skipped: list[Skipped] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Streams `(images uint8 [B, H, W, 3], valid bool [B])`: exactly one row per file, in the order given.

    An image that can't be used becomes zeros with `valid` False; its path and reason are appended to
    `skipped` where that is given. The same geometry as in `load_faces`; memory doesn't grow with the number
    of files.
    """
    for start in range(0, len(files), batch):
        part = files[start : start + batch]
        images = np.zeros((len(part), *size, 3), np.uint8)
        valid = np.zeros(len(part), bool)
        for row, file in enumerate(part):
            try:
                images[row], _ = read_crop(file, size)
                valid[row] = True
            except ImageSkipped as error:
                if skipped is not None:
                    skipped.append((file.relative, error.reason))
        yield images, valid


def read_crop(file: FaceFile, size: tuple[int, int]) -> tuple[np.ndarray, Size]:
    """A crop at a size, and the size that it had; the geometry of `load_faces`. Raises ImageSkipped."""
    image = read_image(file.encoded)
    if file.landmarks is not None:
        try:
            image = crop_face(image, np.array(file.landmarks, dtype=np.float64))
        except (ValueError, cv2.error):
            raise ImageSkipped("its landmarks don't span a face") from None
    own = Size(*image.shape[:2])
    if own == size:
        return image, own
    reason = _unresizable(own, size)
    if reason:
        raise ImageSkipped(reason)
    method = cv2.INTER_AREA if own.height > size[0] else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=method), own


def _unresizable(own: Size, size: tuple[int, int]) -> str | None:
    """Why a crop can't be resized to `size`; None where it can."""
    height, width = own
    if height != width:
        return f"not a square face crop ({width}x{height}): align it first"
    if height < MIN_SIDE:
        return f"too small for a face crop ({width}x{height}, at least {MIN_SIDE}x{MIN_SIDE})"
    if size[0] != size[1]:
        return f"not a crop of {size[1]}x{size[0]} ({width}x{height}): align it to that size"
    return None


def check_skipped(skipped: Sequence[Skipped], total: int, allow: bool = False, csv_path: Path | None = None) -> None:
    """Lists the skipped images in a CSV file (columns path, reason) and refuses when they are too many.

    With nothing skipped the file is removed, should an earlier run have left one.

    Raises:
        BitfaceError: none of `total` images is left; or more than 1 % are skipped and `allow` is False; or
            the list can't be written.
    """
    where = ""
    if csv_path is not None:
        if skipped:
            write_bytes(csv_path, table_bytes(("path", "reason"), skipped))
            where = f" (all are listed in {csv_path})"
        else:
            _remove(csv_path)
    if total == 0:
        raise BitfaceError("there are no images; give a folder of aligned face crops")
    if not skipped:
        return
    account = (
        f"{len(skipped)} of {total} images ({len(skipped) / total:.1%}) can't be used, "
        f"the first: {skipped[0][0]}: {skipped[0][1]}{where}"
    )
    if len(skipped) >= total:
        raise BitfaceError(f"no image is left: {account}; give aligned face crops")
    if len(skipped) > MAX_SKIPPED_SHARE * total and not allow:
        raise BitfaceError(f"{account}; mend or remove them, or go on without them: {flag('allow-skipped')}")


def append_skipped(path: Path, row: Skipped) -> None:
    """Adds an image to the list of skipped ones, which may not be there yet. Raises BitfaceError: it can't."""
    if not path.exists():
        write_bytes(path, table_bytes(("path", "reason"), [row]))
        return
    try:
        with open(path, "ab") as file:
            file.write(table_bytes(("path", "reason"), [row]).split(b"\n", 1)[1])
    except OSError as error:
        raise BitfaceError(f"{path}: can't be written ({error.strerror or error})") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be removed ({error.strerror}); choose another folder") from error


def content_hash(image: np.ndarray) -> str:
    """SHA-256 of an image's shape and pixels, in hexadecimal."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def manifest_hash(images: Any) -> str:
    """SHA-256 that names a set of faces `[N, H, W, 3]`, whatever their file names; of an array, whatever their order.

    Faces that aren't in memory have one of their own (`crops.Crops.content`).
    """
    if not isinstance(images, np.ndarray):
        return str(images.content)
    return hashlib.sha256("".join(sorted(content_hash(image) for image in images)).encode()).hexdigest()
