"""`bitface data`: what a set of faces holds, what of it is damaged or there twice, and the same set in another form."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bitface.cpu import cores
from bitface.data.dataset import FaceDataset, FaceFiles
from bitface.data.duplicates import SIDE, codes_of, copies
from bitface.data.face_source import FaceSource
from bitface.data.faces import Skipped, check_skipped, crop_sizes, read_crop
from bitface.data.images import ImageSkipped, read_image
from bitface.data.labels import identities
from bitface.data.workers import in_order
from bitface.data.writers import order_of, writer_of
from bitface.errors import BitfaceError, UsageError, option
from bitface.files import new_folder
from bitface.inputs.faces import files_of
from bitface.progress import Steps, silent

_BLOCK = 128
# As crops are looked at when copies are sought: any size tells.
_LOOKED_AT = (112, 112)


def describe_dataset(source: FaceSource) -> dict[str, Any]:
    """What a set holds, by its index and the headers of 512 images.

    Returns:
        `images`, `identities` (None: nobody says), `per_identity` {least, median, most}, `alone` (identities with one
        image), `sizes` {"112x112": images looked at}, `bytes`, `content` (see `FaceDataset.content`), `notes`, and
        `warnings`: what is wrong with its labels.

    Raises:
        BitfaceError: it can't be read.
    """
    dataset = _opened(source)
    labels, warnings = _labels(dataset, source)
    counts = np.unique(labels, return_counts=True)[1] if labels is not None else None
    sizes = crop_sizes(dataset)
    return {
        "images": len(dataset),
        "identities": None if counts is None else len(counts),
        "per_identity": None
        if counts is None
        else {"least": int(counts.min()), "median": float(np.median(counts)), "most": int(counts.max())},
        "alone": None if counts is None else int((counts == 1).sum()),
        "sizes": {str(size): count for size, count in sizes.most_common()},
        "bytes": sum(path.stat().st_size for path in dataset.paths()),
        "content": dataset.content,
        "notes": list(dataset.notes),
        "warnings": warnings,
    }


def check_dataset(source: FaceSource, steps: Steps = silent) -> dict[str, Any]:
    """Reads every image of a set.

    Returns:
        `images`; `damaged`, [name, reason] of each that can't be read; `identical`, pairs of images with the same
        bytes, and `near`, other pairs that are copies by their codes (see `duplicates.copies`): [name, name, whether
        they are said to show one person, or None]; `notes` and `warnings` as `describe_dataset`.

    Raises:
        BitfaceError: it can't be read at all.
    """
    dataset = _opened(source)
    labels, warnings = _labels(dataset, source)
    digests = np.zeros(len(dataset), np.uint64)
    codes = np.zeros((len(dataset), SIDE * SIDE // 64), np.uint64)
    good = np.zeros(len(dataset), bool)
    damaged: list[Skipped] = []

    begins, progress = range(0, len(dataset), _BLOCK), steps("reading images")
    blocks = in_order(partial(_looked_at, dataset), begins, _workers(source))
    for begin, (hashes, own, reasons) in zip(begins, blocks, strict=True):
        end = begin + len(hashes)
        digests[begin:end], codes[begin:end], good[begin:end] = hashes, own, True
        for index, reason in reasons:
            good[index] = False
            damaged.append((dataset.name(index), reason))
        progress(end, len(dataset))
    usable = np.flatnonzero(good)
    pairs = usable[copies(codes[usable])]
    same = digests[pairs[:, 0]] == digests[pairs[:, 1]]

    def named(rows: np.ndarray) -> list[list[Any]]:
        return [
            [
                dataset.name(int(one)),
                dataset.name(int(two)),
                None if labels is None else bool(labels[one] == labels[two]),
            ]
            for one, two in rows
        ]

    return {
        "images": len(dataset),
        "damaged": [list(one) for one in damaged],
        "identical": named(pairs[same]),
        "near": named(pairs[~same]),
        "notes": list(dataset.notes),
        "warnings": warnings,
    }


def pack_dataset(source: FaceSource, out: Path | str, steps: Steps = silent) -> dict[str, Any]:
    """Writes a set in another form, `rec:FOLDER` or `tar:FOLDER`: the images as they are encoded, those of a person one
    after the other. Each is decoded before, and left out where that can't be done.

    Returns:
        `images` written, `identities`, `skipped` [name, reason], `bytes`, and `out`, the word that names the new set.

    Raises:
        UsageError: `out` is no such word, or the form needs labels and nobody says them.
        BitfaceError: the folder isn't empty or can't be written, more than 1 % of the images can't be used; then
            nothing is written.
    """
    form, folder = writer_of(out)
    dataset = _opened(source)
    labels, wrong = _labels(dataset, source)
    if wrong:
        raise BitfaceError(wrong[0])
    if labels is None and str(out).startswith("rec:"):
        raise UsageError(
            f"{dataset.root}: nobody says who is on its images, and each record holds that: give {option('labels')}, "
            "or write tar:FOLDER"
        )
    order, skipped = order_of(labels, len(dataset)), list[Skipped]()
    progress = steps("packing")

    def images() -> Iterator[tuple[int, bytes, int | None]]:
        begins = range(0, len(order), _BLOCK)
        blocks = in_order(partial(_encoded, dataset, order), begins, _workers(source))
        for begin, (contents, reasons) in zip(begins, blocks, strict=True):
            failed = dict(reasons)
            for index, content in zip(order[begin : begin + _BLOCK], contents, strict=True):
                if index in failed:
                    skipped.append((dataset.name(index), failed[index]))
                    check_skipped(skipped, len(dataset), source.allow_skipped)
                else:
                    yield index, content, None if labels is None else int(labels[index])
            progress(begin + len(contents), len(order))

    with new_folder(folder) as temporary:
        count = form(temporary).write(images())
        if count == 0:
            raise BitfaceError(f"{dataset.root}: no image of it can be read")
        written = sum(path.stat().st_size for path in temporary.iterdir())
    return {
        "out": str(out),
        "images": count,
        "identities": None if labels is None else len(np.unique(labels)),
        "skipped": [list(one) for one in skipped],
        "bytes": written,
        "notes": list(dataset.notes),
    }


def _opened(source: FaceSource) -> FaceDataset:
    files = files_of(source.images, source.image_list)
    return files if isinstance(files, FaceDataset) else FaceFiles(files)


def _labels(dataset: FaceDataset, source: FaceSource) -> tuple[np.ndarray | None, list[str]]:
    """Who is on each image, 0 to C-1; None: nobody says. And what is wrong with that."""
    try:
        if source.labels or dataset.labels is not None or all(file.person for file in dataset):
            return identities(dataset, source.labels or "folder"), []
    except BitfaceError as error:
        if source.labels:
            raise
        return None, [str(error)]
    return None, []


def _workers(source: FaceSource) -> int:
    return len(cores()) if source.workers is None else source.workers


def _looked_at(dataset: FaceDataset, begin: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str]]]:
    """Hashes of the bytes and codes of a block of images, and which can't be read."""
    rows = range(begin, min(begin + _BLOCK, len(dataset)))
    digests = np.zeros(len(rows), np.uint64)
    codes = np.zeros((len(rows), SIDE * SIDE // 64), np.uint64)
    damaged = []
    for place, index in enumerate(rows):
        try:
            file = dataset.file(index)
            # A crop of any shape; what is a photograph is cut out.
            image = read_image(file.encoded) if file.landmarks is None else read_crop(file, _LOOKED_AT)[0]
            content = dataset.encoded(index)
        except ImageSkipped as error:
            damaged.append((index, error.reason))
            continue
        content = content if isinstance(content, bytes) else content.read_bytes()
        digests[place] = np.frombuffer(hashlib.sha256(content).digest()[:8], np.uint64)[0]
        codes[place] = codes_of(image[None])[0]
    return digests, codes, damaged


def _encoded(dataset: FaceDataset, order: Sequence[int], begin: int) -> tuple[list[bytes], list[tuple[int, str]]]:
    """A block of images as they are encoded, and which can't be read."""
    contents, damaged = [], []
    for index in order[begin : begin + _BLOCK]:
        content: bytes | Path = b""
        try:
            content = dataset.encoded(index)
            content = content if isinstance(content, bytes) else content.read_bytes()
            read_image(content)
        except ImageSkipped as error:
            damaged.append((index, error.reason))
        except OSError as error:
            damaged.append((index, error.strerror or str(error)))
        contents.append(content if isinstance(content, bytes) else b"")
    return contents, damaged
