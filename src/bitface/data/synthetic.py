"""Faces of people who don't exist, aligned and ready to use: noise → generator → detector → 112x112 crops.

Nothing here looks at a real face, so a network can be calibrated, distilled and measured without anyone's.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bitface.data.align import FaceAligner
from bitface.data.assets import fetch
from bitface.data.duplicates import NEAR, SIDE, codes_of, nearest
from bitface.data.faces import Progress, manifest_hash
from bitface.data.generators import open_generator
from bitface.errors import BitfaceError, UsageError
from bitface.files import new_folder, sha256_of, write_json

DCGAN = "synthetic (DCGAN trained on DigiFace-1M)"
MAX_ATTEMPTS = 3
_ENLARGED = 160
_MARGIN = 0.3  # of the shorter side


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
    truncation: float = 1.0,
    progress: Progress | None = None,
) -> SyntheticFaces:
    """Makes `count` aligned faces; the same seed gives the same ones, and more of them begin with fewer.

    Each image is enlarged to 160x160, if it is smaller, and padded, since the detector wants some room around a face.
    Images with no face found are dropped, and so are near-duplicates of faces already kept (see `duplicates`).
    `generator` (see `generators.open_generator`) and `detector` are files; left out, the default assets are fetched to
    `cache`. `truncation` draws a generator's latents nearer to their mean. `progress` is called with (faces kept,
    `count`).

    Raises:
        UsageError: `count` is below 1.
        BitfaceError: an asset can't be had or read, or three attempts per face weren't enough.
    """
    if count < 1:
        raise UsageError(f"can't make {count} faces: give a number from 1 on")
    kind = DCGAN if generator is None else f"synthetic ({generator.name})"
    generator = generator or fetch("dcgan", cache)
    opened = open_generator(generator)
    detector = detector or fetch("yunet", cache)
    aligner = FaceAligner(detector)
    images = np.empty((count, 112, 112, 3), np.uint8)
    codes = np.empty((count, SIDE * SIDE // 64), np.uint64)
    usable = no_face = near_duplicates = 0
    attempts = MAX_ATTEMPTS * count + 32
    for image in islice(opened.images(seed, truncation), attempts):
        face = aligner.align(_with_margin(image))
        if face is None:
            no_face += 1
            continue
        code = codes_of(face.crop[None])
        if nearest(code, codes[:usable])[1][0] <= NEAR:
            near_duplicates += 1
            continue
        images[usable], codes[usable] = face.crop, code[0]
        usable += 1
        if progress:
            progress(usable, count)
        if usable == count:
            break
    total = usable + no_face + near_duplicates
    if usable < count:
        raise BitfaceError(
            f"only {usable} of {count} synthetic faces after {total} images ({no_face} without a face, "
            f"{near_duplicates} near-duplicates); ask for fewer, or use another generator"
        )
    manifest = {
        "kind": kind,
        "generator": opened.name,
        "seed": seed,
        "truncation": truncation,
        "generator_sha256": sha256_of(generator),
        "detector_sha256": sha256_of(detector),
        "made": total,
        "no_face": no_face,
        "near_duplicates": near_duplicates,
        "kept": usable,
        "faces_sha256": manifest_hash(images),
    }
    return SyntheticFaces(images, manifest)


def _with_margin(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = max(_ENLARGED / min(height, width), 1.0)
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image
    margin = round(_MARGIN * min(large.shape[:2]))
    return np.pad(large, ((margin, margin), (margin, margin), (0, 0)), mode="edge")


def fill_faces(folder: Path, images: np.ndarray, manifest: dict[str, Any]) -> None:
    """Writes `000000.png`, `000001.png`, ... and `manifest.json` into a folder that is there and empty."""
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:06d}.png")
    write_json(folder / "manifest.json", manifest)


def write_faces(folder: Path, images: np.ndarray, manifest: dict[str, Any]) -> None:
    """As `fill_faces`, to a new folder, which appears when complete.

    Raises:
        BitfaceError: the folder exists and isn't empty, or can't be written.
    """
    with new_folder(Path(folder)) as temporary:
        fill_faces(temporary, images, manifest)
