"""Packed sets of faces, written plainly: an own writer, so that the package's reader isn't held against its own."""

import io
import json
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MAGIC = 0xCED7230A


def crops(count: int, seed: int = 0, side: int = 112) -> np.ndarray:
    """Smooth images, all of them different: uint8 `[N, H, W, 3]`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def frame(payload: bytes, part: int = 0) -> bytes:
    return struct.pack("<II", MAGIC, part << 29 | len(payload)) + payload + b"\0" * (-len(payload) % 4)


def image_payload(number: int, labels: Sequence[float], image: bytes) -> bytes:
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], number, 0) + image
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0.0, number, 0, *labels) + image


def write_rec(
    folder: Path, images: Sequence[bytes], labels: Sequence[float], classes: int | None = None, header: bool = True
) -> Path:
    """InsightFace's form: record 0 says that images end at N + 1; an identity's record names its range of images."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = zip(images, labels, strict=True)
    payloads = [image_payload(number, [label], image) for number, (image, label) in enumerate(pairs, 1)]
    if header:
        people = sorted(set(labels))
        ranges = [[number for number, label in enumerate(labels, 1) if label == person] for person in people]
        payloads = [
            image_payload(0, [len(images) + 1, len(images) + 1 + len(people)], b""),
            *payloads,
            *(image_payload(len(images) + 1 + k, [own[0], own[-1] + 1], b"") for k, own in enumerate(ranges)),
        ]
    content, lines = b"", []
    for number, payload in enumerate(payloads):
        lines.append(f"{number}\t{len(content)}\n")
        content += frame(payload)
    (folder / "train.rec").write_bytes(content)
    (folder / "train.idx").write_text("".join(lines))
    (folder / "property").write_text(f"{classes or int(max(labels)) + 1},112,112")
    return folder


def write_tar(path: Path, images: Sequence[bytes], labels: Sequence[object] | None, as_json: bool = False) -> Path:
    """WebDataset's form: KEY.jpg beside KEY.cls or KEY.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, image in enumerate(images):
            members = {f"{path.stem}_{number:06}.jpg": image}
            if labels is not None and as_json:
                members[f"{path.stem}_{number:06}.json"] = json.dumps({"label": labels[number]}).encode()
            elif labels is not None:
                members[f"{path.stem}_{number:06}.cls"] = str(labels[number]).encode()
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path
