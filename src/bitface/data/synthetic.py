"""Faces of people who don't exist, aligned and ready to use: noise → generator → detector → 112x112 crops.

Nothing here looks at a real face, so a network can be calibrated, distilled and measured without anyone's.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from bitface.data.align import FaceAligner
from bitface.data.assets import fetch
from bitface.data.dcgan import LATENT, load_generator
from bitface.data.faces import Progress, manifest_hash
from bitface.errors import BitfaceError, UsageError
from bitface.files import cache_folder, sha256_of, write_json

MAX_ATTEMPTS = 3
NEAR = 3

_BATCH = 32
_ENLARGED = 160
_MARGIN = 48


@dataclass(frozen=True)
class SyntheticFaces:
    """uint8 RGB `[N, 112, 112, 3]`, and what they were made with and how many were dropped."""

    images: np.ndarray
    manifest: dict[str, Any]


def make_faces(
    count: int,
    seed: int = 0,
    cache: Path | None = None,
    generator: Path | None = None,
    detector: Path | None = None,
    progress: Progress | None = None,
) -> SyntheticFaces:
    """Makes `count` aligned faces; the same seed gives the same ones, and more of them begin with fewer.

    Each 64x64 image is enlarged to 160x160 and padded, since the detector wants some room around a face.
    Images with no face found are dropped, and so are near-duplicates: faces whose difference hash is within 3
    of 64 bits of one already kept. `generator` and `detector` are files; left out, the default assets are
    fetched to `cache`. `progress` is called with (faces kept, `count`).

    Raises:
        UsageError: `count` is below 1.
        BitfaceError: an asset can't be had or read, or three attempts per face weren't enough.
    """
    if count < 1:
        raise UsageError(f"can't make {count} faces: give a number from 1 on")
    generator = generator or fetch("dcgan", cache)
    detector = detector or fetch("yunet", cache)
    aligner = FaceAligner(detector)
    images = np.empty((count, 112, 112, 3), np.uint8)
    hashes = np.empty(count, np.uint64)
    kept = no_face = near_duplicates = 0
    attempts = MAX_ATTEMPTS * count + _BATCH
    for image in islice(_generate(generator, seed), attempts):
        face = aligner.align(_with_margin(image))
        if face is None:
            no_face += 1
            continue
        code = difference_hash(face.crop)
        if kept and hamming(hashes[:kept], code).min() <= NEAR:
            near_duplicates += 1
            continue
        images[kept], hashes[kept] = face.crop, code
        kept += 1
        if progress:
            progress(kept, count)
        if kept == count:
            break
    made = kept + no_face + near_duplicates
    if kept < count:
        raise BitfaceError(
            f"only {kept} of {count} synthetic faces after {made} images ({no_face} without a face, "
            f"{near_duplicates} near-duplicates); ask for fewer, or use another generator"
        )
    manifest = {
        "seed": seed,
        "generator_sha256": sha256_of(generator),
        "detector_sha256": sha256_of(detector),
        "made": made,
        "no_face": no_face,
        "near_duplicates": near_duplicates,
        "kept": kept,
        "faces_sha256": manifest_hash(images),
    }
    return SyntheticFaces(images, manifest)


def cached_faces(count: int, seed: int = 0, progress: Progress | None = None) -> Path:
    """A folder of synthetic faces in the cache, made at the first call. Arguments and errors as `make_faces`."""
    folder = cache_folder() / "faces" / f"dcgan-{count}-{seed}"
    if not (folder / "manifest.json").is_file():
        made = make_faces(count, seed, progress=progress)
        write_faces(folder, made.images, made.manifest)
    return folder


def _generate(path: Path, seed: int) -> Iterator[np.ndarray]:
    """An endless stream of uint8 RGB images `[64, 64, 3]`."""
    network = load_generator(path)
    noise = torch.Generator().manual_seed(seed)
    while True:
        # Batches are always full, whatever is asked for, and each latent is drawn by itself: both the random
        # generator and the convolutions otherwise give other numbers for another batch size.
        latents = torch.stack([torch.randn(LATENT, generator=noise) for _ in range(_BATCH)])
        with torch.inference_mode():
            pixels = (network(latents).permute(0, 2, 3, 1) + 1) * 127.5
            batch = pixels.round().clamp(0, 255).to(torch.uint8).numpy()
        yield from batch


def _with_margin(image: np.ndarray) -> np.ndarray:
    large = cv2.resize(image, (_ENLARGED, _ENLARGED), interpolation=cv2.INTER_CUBIC)
    return np.pad(large, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")


def difference_hash(image: np.ndarray) -> np.uint64:
    """64 bits that say, of an 8 by 9 grey thumbnail, which pixel is darker than its right neighbour.

    Small changes of light, noise or scale turn few of them over.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, :-1] < small[:, 1:]).view(np.uint64)[0]


def hamming(codes: np.ndarray, code: np.uint64) -> np.ndarray:
    """How many of 64 bits differ: uint64 `[N]` against one, as integers `[N]`."""
    return _ONES[(codes ^ code).view(np.uint16).reshape(-1, 4)].sum(axis=1)


_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)
"""The number of ones of each 16-bit word."""


def write_faces(folder: Path, images: np.ndarray, manifest: dict[str, Any]) -> None:
    """Writes `000000.png`, `000001.png`, ... and `manifest.json` to a new folder, which appears when
    complete.

    Raises:
        BitfaceError: the folder exists and isn't empty, or can't be written.
    """
    folder = Path(folder)
    temporary = None
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BitfaceError(f"{folder}: exists and isn't an empty folder; choose another one")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for index, image in enumerate(images):
            Image.fromarray(image).save(temporary / f"{index:06d}.png")
        write_json(temporary / "manifest.json", manifest)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise BitfaceError(f"{folder}: can't be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
