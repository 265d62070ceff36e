"""Gallery files: what is enrolled, on disk.

A gallery is a safetensors file. The tensor `embeddings` [N, D] is float32, or int8 beside `scales` [N] float32. The
metadata entry `bitface` is JSON: the format's version, names (`ids`), the model's fingerprint, preprocessing, whether
the embeddings of an image and of its mirror image were added, since version 2 the height and width of the images
(`image_size`), the engine that computed the embeddings and how far others lie from it (`runtime.engine_differences`),
since version 3 the salt of the rotation that they were turned by (see `rotation`), and a SHA-256 over these and the
tensors. With a key the whole file is encrypted (see `sealed`): names, vectors and fingerprint are one message. A new
file can be read by its owner alone.
"""

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load, save

from bitface.errors import BitfaceError, UsageError, option
from bitface.evaluation.gallery import Gallery
from bitface.evaluation.keys import GalleryKey, read_key
from bitface.evaluation.rotation import SALT
from bitface.evaluation.sealed import MAGIC, sealed, unsealed
from bitface.files import readable_by_others, write_bytes
from bitface.preprocess import Size

LARGEST_METADATA = 64 << 20
"""The most bytes that names and description may take; enough for a million names of 60 letters."""

_VERSION = 3
_KEYS = {"version", "ids", "fingerprint", "preprocess", "flip", "sha256"}
_SECOND = {"engine", "engines", "image_size"}
_KEYS_SINCE = {1: set[str](), 2: _SECOND, 3: {*_SECOND, "rotation"}}


@dataclass(frozen=True)
class GalleryFile:
    """A gallery's file, and the file of the key that it is encrypted by (None: it isn't)."""

    path: Path
    key: Path | None = None

    def secret(self) -> GalleryKey | None:
        """The key. Raises BitfaceError where its file holds none."""
        return read_key(self.key) if self.key else None

    def exposed(self, secret: GalleryKey | None) -> list[str]:
        """A warning for each of the files, which are there, that others than its owner can read."""
        return [text for text in (secret and secret.warning, readable_by_others(self.path)) if text]


def write_gallery(path: Path | str, gallery: Gallery, key: GalleryKey | None = None) -> int:
    """Writes a gallery file, whole or not at all, and gives its size in bytes.

    Without a key the same gallery gives the same bytes; encrypted by a key, others every time. A new file can be read
    by its owner alone.

    Raises:
        BitfaceError: the file can't be written, the names take more than 64 MB, or it can't be encrypted.
    """
    content = _encoded(gallery)
    content = sealed(content, key) if key else content
    write_bytes(Path(path), content, private=True)
    return len(content)


def _encoded(gallery: Gallery) -> bytes:
    tensors: dict[str, np.ndarray] = {"embeddings": np.ascontiguousarray(gallery.embeddings)}
    if gallery.scales is not None:
        tensors["scales"] = np.ascontiguousarray(gallery.scales)
    text = _text(_described(gallery) | {"sha256": _checksum(gallery)})
    content = save(tensors, {"bitface": text})
    if struct.unpack("<Q", content[:8])[0] > LARGEST_METADATA:
        raise BitfaceError(
            f"the names of the gallery take more than {LARGEST_METADATA >> 20} MB; shorten or divide them"
        )
    return content


def read_gallery(path: Path | str, key: GalleryKey | None = None) -> Gallery:
    """Reads a gallery file and checks everything that is in it.

    Args:
        key: of an encrypted one. With a key a plain file is refused, as anybody may have put it there.

    Raises:
        BitfaceError: the file can't be read, is damaged, isn't a gallery, or is encrypted by another key; in one line.
        UsageError: it is encrypted and no key is given, or the other way round.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    if head == MAGIC and key is None:
        raise UsageError(f"{path}: is encrypted; name its key ({option('key-file', 'FILE')})")
    if head != MAGIC and key is not None:
        raise UsageError(f"{path}: isn't encrypted, so that anybody may have written it; leave the key out to read it")
    try:
        metadata, tensors = _content(path, unsealed(path.read_bytes(), key) if key else None, head)
        description = _description(metadata)
        expected = {"embeddings", "scales"} if "scales" in tensors else {"embeddings"}
        if set(tensors) != expected:
            raise BitfaceError(f"it holds the tensors {sorted(tensors)}; expected embeddings, perhaps scales")
        gallery = Gallery(
            tensors["embeddings"],
            tuple(description["ids"]),
            description["fingerprint"],
            description["preprocess"],
            description["flip"],
            tensors.get("scales"),
            description.get("engine"),
            description.get("engines", {}),
            Size.parse(description["image_size"]) if description.get("image_size") else None,
            description.get("rotation"),
        )
        if _checksum(gallery, description["version"]) != description["sha256"]:
            raise BitfaceError("its content doesn't match its checksum, so that it was damaged or changed; enrol again")
        return gallery
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror or error})") from error
    except BitfaceError as error:
        raise BitfaceError(f"{path}: not a usable gallery: {error}") from error
    except Exception as error:  # what safetensors makes of a damaged file has no common type
        reason = " ".join(str(error).split())[:200]
        raise BitfaceError(f"{path}: not a gallery file, or damaged ({reason}); enrol again") from error


def _content(path: Path, decrypted: bytes | None, head: bytes) -> tuple[dict[str, str] | None, dict[str, np.ndarray]]:
    """The metadata and the tensors of a gallery file, or of what one holds encrypted."""
    head = head if decrypted is None else decrypted[:8]
    length = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else LARGEST_METADATA + 1
    if length > LARGEST_METADATA:
        raise BitfaceError(f"its header isn't that of a safetensors file, or exceeds {LARGEST_METADATA >> 20} MB")
    if decrypted is not None:
        tensors = load(decrypted)
        return json.loads(decrypted[8 : 8 + length]).get("__metadata__"), tensors
    with safe_open(path, framework="numpy") as opened:
        # Others than these may be of any size: their names are enough to refuse them.
        names = list(opened.keys())
        known = ("embeddings", "scales")
        return opened.metadata(), {name: opened.get_tensor(name) if name in known else np.empty(0) for name in names}


def _described(gallery: Gallery, version: int = _VERSION) -> dict[str, Any]:
    return {
        "version": version,
        "ids": list(gallery.ids),
        "fingerprint": gallery.fingerprint,
        "preprocess": gallery.preprocess,
        "flip": gallery.flip,
        **{key: getattr(gallery, key) for key in sorted(_KEYS_SINCE[version])},
    }


def _text(description: dict[str, Any]) -> str:
    return json.dumps(description, separators=(",", ":"))


def _checksum(gallery: Gallery, version: int = _VERSION) -> str:
    """SHA-256 over the description and the little-endian bytes of the tensors."""
    digest = hashlib.sha256(_text(_described(gallery, version)).encode())
    for tensor in (gallery.embeddings, gallery.scales):
        if tensor is not None:
            digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _description(metadata: dict[str, str] | None) -> dict[str, Any]:
    """The description in the metadata. Raises BitfaceError where it isn't one."""
    if not metadata or "bitface" not in metadata:
        raise BitfaceError("it has no description of a gallery")
    try:
        description = json.loads(metadata["bitface"])
    except (ValueError, RecursionError) as error:
        raise BitfaceError("its description isn't JSON") from error
    if (
        not isinstance(description, dict)
        or type(description.get("version")) is not int
        or description["version"] not in _KEYS_SINCE
    ):
        raise BitfaceError(f"its description isn't of version {_VERSION} or before; read it with a newer bitface")
    expected = _KEYS | _KEYS_SINCE[description["version"]]
    if set(description) != expected:
        raise BitfaceError(f"its description has the entries {sorted(description)}; expected {sorted(expected)}")
    ids = description["ids"]
    if not isinstance(ids, list):
        raise BitfaceError("its ids aren't a list of names")
    kinds: dict[str, tuple[type, ...]] = {
        "fingerprint": (str,),
        "preprocess": (str,),
        "flip": (bool,),
        "sha256": (str,),
    }
    if description["version"] > 1:
        kinds |= {"engine": (str, type(None)), "engines": (dict,), "image_size": (list, type(None))}
    if description["version"] > 2:
        kinds |= {"rotation": (str, type(None))}
    for key, kind in kinds.items():
        if not isinstance(description[key], kind):
            raise BitfaceError(f"its {key} is {json.dumps(description[key])[:80]}; expected a {kind[0].__name__}")
    if not re.fullmatch(f"([0-9a-f]{{{2 * SALT}}})?", description.get("rotation") or ""):
        raise BitfaceError(f"its rotation is {description['rotation'][:40]!r}; expected {2 * SALT} hexadecimal digits")
    for name, facts in description.get("engines", {}).items():
        if not isinstance(facts, dict) or not all(isinstance(value, int | float) for value in facts.values()):
            raise BitfaceError(f"its engines say {json.dumps(facts)[:80]} of {name[:40]}; expected numbers")
    return description
