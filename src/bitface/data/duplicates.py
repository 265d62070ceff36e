"""Copies of an image, told by codes that compression, light and size hardly change.

A code says, of a 16 by 17 grey thumbnail, which pixel is darker than its right neighbour: 256 bits. Two photographs of
aligned faces differ in 30 of them at least, a photograph and its recompressed, brightened or rescaled copy in less
than 24 (seen on Labeled Faces in the Wild, where six pairs of files are so found, each one photograph filed twice).
An image can't be had back from its code, but it can be recognised by it.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from bitface.data.crops import FaceImages, pixels
from bitface.data.workers import in_order
from bitface.errors import BitfaceError
from bitface.files import write_bytes

SIDE = 16
NEAR = 24
_BLOCK = 1024
_GROUPS, _GROUP, _PAIRS = 12, 21, 1 << 18


def codes_of(images: FaceImages, workers: int = 0) -> np.ndarray:
    """The codes of uint8 RGB images `[N, H, W, 3]`: uint64 `[N, 4]`. `workers` read what isn't in memory."""
    if not isinstance(images, np.ndarray):
        parts = in_order(partial(_codes_from, images), range(0, len(images), _BLOCK), workers)
        return np.concatenate([codes for (codes,) in parts])
    codes = np.empty((len(images), SIDE * SIDE // 64), np.uint64)
    for index, image in enumerate(images):
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
        codes[index] = np.packbits(small[:, :-1] < small[:, 1:]).view(np.uint64)
    return codes


def _codes_from(images: FaceImages, begin: int) -> tuple[np.ndarray]:
    return (codes_of(pixels(images, np.arange(begin, min(begin + _BLOCK, len(images))))[0]),)


def nearest(codes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each code the nearest of `others` and in how many bits they differ: int64 `[N]` each.

    Without others: 0 and 257.
    """
    place = np.zeros(len(codes), np.int64)
    bits = np.full(len(codes), SIDE * SIDE + 1, np.int64)
    for start in range(0, len(others), _BLOCK):
        block = others[start : start + _BLOCK]
        for index, code in enumerate(codes):
            distances = _ONES[(block ^ code).view(np.uint16)].sum(1, dtype=np.int64)
            best = int(distances.argmin())
            if distances[best] < bits[index]:
                place[index], bits[index] = start + best, distances[best]
    return place, bits


def copies(codes: np.ndarray) -> np.ndarray:
    """Which images are copies of which: int64 `[M, 2]`, pairs of rows that differ in `NEAR` bits at most, i < j.

    Only images that agree in one of twelve groups of 21 bits are compared: all pairs that differ in at most 11 bits are
    found, and four of five of those that differ in 24. On faces one pair in 4,000 agrees so.
    """
    places = np.random.default_rng(0).permutation(SIDE * SIDE)[: _GROUPS * _GROUP].reshape(_GROUPS, _GROUP)
    pairs = [np.zeros((0, 2), np.int64)]
    for group in places:
        words = np.zeros(len(codes), np.uint32)
        for place in group.tolist():
            words = words << np.uint32(1) | (codes[:, place // 64] >> np.uint64(place % 64) & np.uint64(1)).astype(
                np.uint32
            )
        order = np.argsort(words, kind="stable")
        words, first, apart = words[order], np.arange(len(codes)), 0
        while len(first):
            apart += 1
            first = first[first + apart < len(codes)]
            first = first[words[first] == words[first + apart]]
            for start in range(0, len(first), _PAIRS):
                one, other = order[first[start : start + _PAIRS]], order[first[start : start + _PAIRS] + apart]
                bits = _ONES[(codes[one] ^ codes[other]).view(np.uint16)].sum(1, dtype=np.int64)
                near = bits <= NEAR
                pairs.append(np.sort(np.stack([one[near], other[near]], 1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


# The number of ones of each 16-bit word.
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)


def write_codes(path: Path, codes: np.ndarray, manifest: str) -> None:
    """Keeps codes beside a model, with the hash of the faces they are of, so that overlaps can be found later."""
    packed = codes.astype("<u8").view(np.uint8)
    write_bytes(path, safetensors.numpy.save({"codes": packed}, {"manifest": manifest}))


def read_codes(path: Path) -> tuple[np.ndarray, str]:
    """The codes of a file of `write_codes`, and its manifest hash.

    Raises:
        BitfaceError: it isn't one.
    """
    try:
        with safe_open(path, "np") as file:
            codes, manifest = file.get_tensor("codes"), (file.metadata() or {})["manifest"]
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != SIDE * SIDE // 8:
            raise ValueError("its codes have another shape")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BitfaceError(f"{path}: holds no codes of faces ({error}); remove it, or make the model again") from error
    return np.ascontiguousarray(codes).view("<u8").astype(np.uint64), manifest
