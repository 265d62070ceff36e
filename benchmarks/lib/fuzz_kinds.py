"""The kinds of files that bitface reads: small whole ones, ways to damage what they say, and how they are read."""

import csv
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import yaml
from PIL import Image

from bitface import artifact, backbones
from bitface.artifact import Artifact
from bitface.artifact.file import _description, _unwrap, _wrap
from bitface.backbones.weights import read_tensors
from bitface.data.datasets.rec import RecordFaces
from bitface.data.datasets.shards import unpacked
from bitface.data.images import ImageSkipped, read_image
from bitface.data.packs import unpacked_pack
from bitface.data.recordio import packed
from bitface.evaluation import read_pairs
from bitface.evaluation.gallery import Origin, enrolled
from bitface.evaluation.gallery_file import read_gallery, write_gallery
from bitface.graph import from_module, load_network, to_onnx
from bitface.inputs import recipes
from bitface.inputs.comparisons import read_comparison
from bitface.inputs.protocols import read_protocol
from bitface.inputs.suites import read_suite
from bitface.quant import BitPlan, quantize
from lib.mutating import Random, damaged, mutated, pick

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 1 << 31, 1 << 63, -(1 << 63), 10**30, 0.5, -0.5, 1e308, 1e-320, "", "x",
    "0", "\x1b[2J", "../../x", "/etc/passwd", "é" * 30, "x" * 5000, "nan", [], {}, [[]], [0], [1, 2, 3], ["x"] * 40,
    {"x": 1}, "w4a4", "rgb-raw", "1e-4", [1 << 40] * 4,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        files: whole ones by name, of which the suffix counts.
        damage: makes another one of one.
        read: reads it, or raises BitfaceError.
    """

    files: Mapping[str, bytes]
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[Path], object]


def kinds(place: Path) -> dict[str, Kind]:
    """All of them; `place` gets what files speak of."""
    torch.manual_seed(0)
    network = from_module(
        backbones.create("mobilefacenet:0.125", embedding_size=16, input_size=32), "rgb-127.5-127.5", size=(32, 32)
    )
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    student, _ = quantize(network, faces, BitPlan.parse("w4a8"))
    artifact.write(place / "a.bitface", Artifact(student, {}, {"name": "net"}))
    vectors = random.normal(size=(6, 16)).astype(np.float32)
    origin = Origin("0" * 64, "rgb-127.5-127.5")
    galleries = {}
    for name, int8 in (("float", False), ("int8", True)):
        write_gallery(place / "g.safetensors", enrolled(vectors, list("abcdef"), origin, int8=int8))
        galleries[f"{name}.safetensors"] = (place / "g.safetensors").read_bytes()
    images = _images(faces[0])
    for index, face in enumerate(faces):
        Image.fromarray(face).save(place / f"{index}.png")
    for name in ("anna", "bert"):
        (place / name).mkdir()
        for index in (1, 2):
            Image.fromarray(faces[index]).save(place / name / f"{name}_{index:04}.jpg")
    lists = _lists()
    (place / "a.csv").write_bytes(lists["a.csv"])
    return {
        "artifact": Kind({"a.bitface": (place / "a.bitface").read_bytes()}, _artifact, artifact.read),
        "ONNX": Kind(
            {"float.onnx": to_onnx(network.graph).SerializeToString(),
             "integer.onnx": to_onnx(student.graph).SerializeToString()},
            mutated, load_network,
        ),
        "state dict": Kind(_weights(), _archive_or_bytes, read_tensors),
        "pack": Kind(_packs(images), damaged, unpacked_pack),
        "archive": Kind(_archives(images), damaged, unpacked),
        "records": Kind({"a.rec": b"".join(packed(n, (1.0,), images["a.jpg"]) for n in range(4))}, damaged, _records),
        "image": Kind(images, damaged, read_image),
        "list": Kind(lists, _text, lambda path: read_pairs(path, place)),
        "gallery": Kind(galleries, _gallery, read_gallery),
        "YAML": Kind(_configurations(place), _configuration, _read_configuration),
    }  # fmt: skip


def _images(face: np.ndarray) -> dict[str, bytes]:
    picture = Image.fromarray(face)
    result = {}
    for suffix, mode in (("jpg", "RGB"), ("png", "RGBA"), ("webp", "RGB"), ("bmp", "RGB"), ("tiff", "L"), ("gif", "P"),
                         ("ppm", "RGB")):  # fmt: skip
        file = io.BytesIO()
        picture.convert(mode).save(file, {"jpg": "JPEG", "tiff": "TIFF", "ppm": "PPM"}.get(suffix, suffix.upper()))
        result[f"a.{suffix}"] = file.getvalue()
    return result


def _weights() -> dict[str, bytes]:
    state = backbones.create("mobilefacenet:0.125", embedding_size=16, input_size=32).state_dict()
    result = {}
    for name, zipped in (("zip.pt", True), ("old.pt", False)):
        file = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, file, _use_new_zipfile_serialization=zipped)
        result[name] = file.getvalue()
    arrays = {key: value.numpy() for key, value in state.items()}
    return {**result, "a.safetensors": safetensors.numpy.save(arrays)}


def _packs(images: Mapping[str, bytes]) -> dict[str, bytes]:
    content = ([images["a.jpg"], images["a.png"]] * 4, [True, False] * 2)
    arrays = ([np.frombuffer(one, np.uint8) for one in content[0]], np.array(content[1]))
    files = {f"{protocol}.bin": pickle.dumps(content, protocol) for protocol in (0, 2, 4)}
    return {**files, "arrays.bin": pickle.dumps(arrays, 2)}


def _archives(images: Mapping[str, bytes]) -> dict[str, bytes]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in images.items():
            archive.writestr(f"p/{name}", content)
    result = {"a.zip": zipped.getvalue()}
    for name, mode, form in (("a.tar", "w", tarfile.GNU_FORMAT), ("a.tar.gz", "w:gz", tarfile.PAX_FORMAT)):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=form) as tar:  # type: ignore[call-overload]
            for own, content in images.items():
                member = tarfile.TarInfo(f"{'p' * 120}/{own}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        result[name] = file.getvalue()
    return result


def _lists() -> dict[str, bytes]:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("a", "b", "same", "fold"))
    rows.writerows((f"{n}.png", f"{(n + k) % 8}.png", k % 2, n % 4) for n in range(8) for k in (1, 2))
    plain = "".join(f"{n}.png {(n + 1) % 8}.png {n % 2}\n" for n in range(8))
    lfw = "2\t1\n" + "anna\t1\t2\nanna\t1\tbert\t2\nbert\t1\t2\nbert\t1\tanna\t2\n"
    return {"a.csv": text.getvalue().encode(), "b.txt": plain.encode(), "lfw.txt": lfw.encode()}


def _configurations(place: Path) -> dict[str, bytes]:
    protocol = {"pairs": f"{place}/a.csv", "root": str(place)}
    contents: dict[str, Any] = {
        "suite": {"models": {"a": "a.onnx", "b": {"path": "b.onnx", "preprocess": "rgb-raw", "size": 32}},
                  "protocols": {"one": protocol, "two": {"people": str(place)}}, "fars": [1e-3], "threads": 2,
                  "seed": 1, "mixed": True, "out": "out"},
        "recipe": {"bits": {"bits": "w4a4", "first": "w8a8", "layers": {"*.fc": "w8a8"}}, "weights": "lsq",
                   "calibration": {"observer": "mse", "effort": "fast"}, "preprocess": "rgb-raw",
                   "training": {"loss": {"feature": 1.0, "ekd": {"weight": 0.5}}, "epochs": 2, "batch": 8}},
        "comparison": {"model": "a.onnx", "images": "crops", "protocol": protocol, "fars": [0.01], "seed": 0,
                       "candidates": {"w8a8": {"quantize": {"bits": "w8a8"}},
                                      "small": {"prune": {"ratio": 0.3}, "quantize": {"bits": "w8a8"}}}},
        "plan": {"bits": "w4a8", "first": "w8a8", "weights": {"symmetric": True}, "layers": {"0-3": "w6a8"}},
        "protocol": {"protocols": {"one": protocol}},
    }  # fmt: skip
    return {f"{name}.yaml": yaml.safe_dump(content).encode() for name, content in contents.items()}


def _read_configuration(path: Path) -> object:
    """By what stands in it: damaged files keep no name."""
    for read in (read_suite, lambda one: recipes.read(str(one)), read_comparison, lambda one: BitPlan.parse(str(one))):
        try:
            return read(path)
        except recipes.UsageError as error:
            last = error
    try:
        return read_protocol(str(path))
    except recipes.UsageError:
        raise last from None


def _records(path: Path) -> None:
    begin, index = 0, []
    content = path.read_bytes()
    while (begin := content.find(struct.pack("<I", 0xCED7230A), begin)) >= 0 and len(index) < 20:
        index.append(f"{len(index)}\t{begin}\n")
        begin += 4
    path.with_suffix(".idx").write_text("".join(index))
    faces = RecordFaces(path)
    for number in range(len(faces)):
        try:
            read_image(faces.encoded(number))
        except ImageSkipped:
            continue


def changed(value: Any, random: Random, depth: int = 0) -> Any:
    """Plain data with one of its values, keys or lists another one."""
    inner = isinstance(value, dict | list) and len(value) > 0
    if not inner or (depth and random.random() < 0.15):
        return pick(random, _VALUES)
    if isinstance(value, dict):
        key = pick(random, list(value))
        match int(random.integers(8)):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {**value, str(pick(random, ("x", "", "name", "\x1b[31m", *value))): pick(random, _VALUES)}
            case _:
                return {**value, key: changed(value[key], random, depth + 1)}
    place = int(random.integers(len(value)))
    match int(random.integers(6)):
        case 0:
            return value[:place] + value[place + 1 :]
        case 1:
            return value[:place] + [value[place]] * int(pick(random, (2, 3, 1000))) + value[place:]
        case _:
            return [*value[:place], changed(value[place], random, depth + 1), *value[place + 1 :]]


def _artifact(content: bytes, random: Random) -> bytes:
    """Signed again, as nothing else is read at all."""
    inner = _unwrap(content)
    if random.random() < 0.3:
        return _wrap(damaged(inner, random))
    description: Any = _description(inner)
    for _ in range(int(random.integers(1, 4))):
        description = changed(description, random)
    tensors = safetensors.numpy.load(inner)
    if random.random() < 0.2:
        name = pick(random, list(tensors))
        tensors[name] = tensors[name].reshape(-1)[: int(random.integers(1 + tensors[name].size))]
    return _wrap(safetensors.numpy.save(tensors, {"bitface": json.dumps(description, default=str)}))


def _gallery(content: bytes, random: Random) -> bytes:
    if random.random() < 0.4:
        return damaged(content, random)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if random.random() < 0.3:
        header = changed(header, random)
    else:
        header["__metadata__"]["bitface"] = json.dumps(changed(json.loads(header["__metadata__"]["bitface"]), random))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _archive_or_bytes(content: bytes, random: Random) -> bytes:
    """Of a zip archive mostly what its members hold, with checksums that fit."""
    if not content.startswith(b"PK") or random.random() < 0.2:
        return damaged(content, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen = next(name for name in members if name.endswith("data.pkl"))
    name = chosen if random.random() < 0.8 else str(pick(random, list(members)))
    members[name] = damaged(members[name], random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for own, one in members.items():
            archive.writestr(own, one)
    return file.getvalue()


def _text(content: bytes, random: Random) -> bytes:
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    for _ in range(int(random.integers(1, 5))):
        if not lines or random.random() < 0.2:
            return damaged(content, random)
        place = int(random.integers(len(lines)))
        words = lines[place].replace("\t", ",").split(",")
        words[int(random.integers(len(words)))] = str(pick(random, _VALUES))
        match int(random.integers(4)):
            case 0:
                del lines[place]
            case 1:
                lines[place:place] = [lines[place]] * int(pick(random, (1, 2, 500)))
            case _:
                lines[place] = pick(random, (",", "\t", " ")).join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _configuration(content: bytes, random: Random) -> bytes:
    if random.random() < 0.25:
        return damaged(content, random)
    value: Any = yaml.safe_load(content)
    for _ in range(int(random.integers(1, 4))):
        value = changed(value, random)
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
