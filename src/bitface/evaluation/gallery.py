"""Gallery files: the embeddings of enrolled people, in float32 or int8, and the model that made them.

A gallery is a safetensors file. The tensor `embeddings` [N, D] is float32, or int8 beside `scales` [N] float32: a code
times its scale is a coordinate of the unit vector, and the scale is a 127th of the largest one. The metadata entry
`bitface` is JSON: the format's version, names (`ids`), the model's fingerprint, preprocessing, whether the embeddings
of an image and of its mirror image were added, since version 2 the height and width of the images (`image_size`), the
engine that computed the embeddings and how far others lie from it (`runtime.engine_differences`), and a SHA-256 over
these and the tensors. Scores against int8 are cosines of the vectors that the codes stand for.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save

from bitface.errors import BitfaceError, UsageError, flag
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.scores.nearest import Rows, as_rows
from bitface.evaluation.scores.similarity import unit_rows
from bitface.files import write_bytes
from bitface.preprocess import Size

LARGEST_METADATA = 64 << 20
"""The most bytes that names and description may take; enough for a million names of 60 letters."""

_VERSION = 2
_KEYS = {"version", "ids", "fingerprint", "preprocess", "flip", "sha256"}
_KEYS_SINCE = {1: set[str](), 2: {"engine", "engines", "image_size"}}
_BLOCK = 8192

Codes = NDArray[np.int8]
Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Enrolled images, ready to be searched: `search.Rows`, none of which has failed.

    Attributes:
        embeddings: [N, D] float32, or int8 codes.
        ids: [N], whom each shows; a person may have several.
        fingerprint: of the model (see `Network.fingerprint`).
        preprocess: the word for the model's preprocessing (see `preprocess.parse`).
        flip: whether each embedding is that of the image and of its mirror image together.
        scales: [N] float32, the value of a code in each row; None for float32 embeddings.
        engine: what computed the embeddings; None: not known.
        engines: what others make of the same faces, see `runtime.engine_differences`.
        image_size: height and width of the images; None: not known.

    Raises:
        BitfaceError: anything above isn't as described, or a vector is zero or not finite.
    """

    embeddings: Single | Codes
    ids: tuple[str, ...]
    fingerprint: str
    preprocess: str
    flip: bool = False
    scales: Single | None = field(default=None, repr=False)
    engine: str | None = None
    engines: dict[str, Any] = field(default_factory=dict)
    image_size: Size | None = None

    def __post_init__(self) -> None:
        values, scales = self.embeddings, self.scales
        dtype = np.float32 if scales is None else np.int8
        if values.dtype != dtype or values.ndim != 2 or 0 in values.shape:
            shape = list(values.shape)
            raise BitfaceError(
                f"a gallery's embeddings are {values.dtype} {shape}; expected {np.dtype(dtype)} [images, size]"
            )
        if len(self.ids) != len(values):
            raise BitfaceError(f"a gallery has {len(self.ids)} names for {len(values)} embeddings; give one for each")
        if not all(isinstance(name, str) and name for name in self.ids):
            raise BitfaceError("a gallery's ids must be names, none of them empty")
        if scales is not None:
            if scales.dtype != np.float32 or scales.shape != (len(values),):
                raise BitfaceError(
                    f"a gallery's scales are {scales.dtype} {list(scales.shape)}; expected one per vector"
                )
            wrong = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
            if len(wrong):
                raise BitfaceError(f"row {wrong[0]} ({self.ids[wrong[0]]}) has the scale {scales[wrong[0]]:g}")
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            bad = np.flatnonzero(~(np.isfinite(block).all(axis=1) & block.any(axis=1)))
            if len(bad):
                row = first + int(bad[0])
                what = "zero" if np.isfinite(values[row]).all() else "not finite"
                raise BitfaceError(f"row {row} ({self.ids[row]}) is {what}; enrol only images that have an embedding")
            if scales is not None and block.min() < -127:
                row = first + int(block.min(axis=1).argmin())
                raise BitfaceError(f"row {row} ({self.ids[row]}) holds the code -128; codes go from -127 to 127")

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def size(self) -> int:
        return int(self.embeddings.shape[1])

    @property
    def precision(self) -> str:
        """`float32` or `int8`."""
        return "float32" if self.scales is None else "int8"

    def unit(self, rows: slice | Ints) -> tuple[Floats, Bools]:
        """Some of the vectors as `similarity.unit_rows` gives them; int8 codes are expanded for these rows only."""
        values = self.embeddings[rows].astype(np.float64)
        return unit_rows(values if self.scales is None else values * self.scales[rows, None])

    def single(self, rows: slice) -> Single:
        """Some of the vectors as float32 of length 1, see `nearest.UnfailedRows`; scales of int8 don't matter then."""
        values = self.embeddings[rows]
        length = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
        result: Single = np.divide(values, length[:, None], dtype=np.float32, casting="same_kind")
        return result

    def check_model(self, fingerprint: str, allow_mixed: bool = False) -> None:
        """Refuses probes of another model than the gallery's, unless that is what is wanted.

        Raises:
            UsageError: the fingerprints differ, or one isn't known, and `allow_mixed` is false.
        """
        if (not fingerprint or fingerprint != self.fingerprint) and not allow_mixed:
            raise UsageError(
                f"the gallery was enrolled by model {self.fingerprint[:12] or 'unknown'}, the probes come from "
                f"{fingerprint[:12] or 'unknown'}: enrol again, or give {flag('allow-mixed')} if one was made from the "
                "other"
            )

    def quantized(self) -> "Gallery":
        """The gallery in int8; itself where it is that already."""
        if self.scales is not None:
            return self
        codes, scales = quantized(self.embeddings)
        return replace(self, embeddings=codes, scales=scales)


@dataclass(frozen=True)
class Origin:
    """How a gallery's embeddings were made; see `Gallery`."""

    fingerprint: str
    preprocess: str
    flip: bool = False
    engine: str | None = None
    engines: dict[str, Any] = field(default_factory=dict)
    image_size: Size | None = None


def enrolled(embeddings: ArrayLike, ids: Sequence[str], origin: Origin, *, int8: bool = False) -> Gallery:
    """A gallery of embeddings [N, D], of any floating-point type; `int8` takes a quarter of the bytes.

    Raises:
        BitfaceError: as `Gallery`.
    """
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BitfaceError(f"embeddings aren't numbers ({error}); expected a matrix [images, size]") from error
    gallery = Gallery(values, tuple(ids), **vars(origin))
    return gallery.quantized() if int8 else gallery


def quantized(embeddings: Rows | ArrayLike) -> tuple[Codes, Single]:
    """Unit vectors in int8, symmetric, one scale per vector: codes [N, D] and scales [N], float32.

    A scale is the vector's largest magnitude divided by 127, so that no code is clipped and one of them is ±127.

    Raises:
        BitfaceError: a vector is zero or not finite (named by its row).
    """
    rows = as_rows(embeddings)
    codes, scales = np.empty((len(rows), rows.size), np.int8), np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        unit, usable = rows.unit(slice(first, first + _BLOCK))
        if not usable.all():
            raise BitfaceError(f"row {first + int(usable.argmin())} is zero or not finite and can't be brought to int8")
        part = slice(first, first + len(unit))
        scales[part] = np.abs(unit).max(axis=1) / 127
        codes[part] = np.clip(np.rint(unit / scales[part, None]), -127, 127)
    return codes, scales


def write_gallery(path: Path | str, gallery: Gallery) -> int:
    """Writes a gallery file, whole or not at all, and gives its bytes; the same gallery gives the same ones.

    Raises:
        BitfaceError: the file can't be written, or the names take more than 64 MB.
    """
    content = _encoded(gallery)
    write_bytes(Path(path), content)
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


def read_gallery(path: Path | str) -> Gallery:
    """Reads a gallery file and checks everything that is in it.

    Raises:
        BitfaceError: the file can't be read, is damaged, or isn't a gallery; in one line.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(8)
        if len(head) < 8 or struct.unpack("<Q", head)[0] > LARGEST_METADATA:
            raise BitfaceError(f"its header isn't that of a safetensors file, or exceeds {LARGEST_METADATA >> 20} MB")
        with safe_open(path, framework="numpy") as opened:
            description = _description(opened.metadata())
            names = {"embeddings", "scales"} if "scales" in opened.keys() else {"embeddings"}  # noqa: SIM118
            if set(opened.keys()) != names:
                raise BitfaceError(f"it holds the tensors {sorted(opened.keys())}; expected embeddings, perhaps scales")
            tensors = {name: opened.get_tensor(name) for name in names}
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
    for key, kind in kinds.items():
        if not isinstance(description[key], kind):
            raise BitfaceError(f"its {key} is {json.dumps(description[key])[:80]}; expected a {kind[0].__name__}")
    for name, facts in description.get("engines", {}).items():
        if not isinstance(facts, dict) or not all(isinstance(value, int | float) for value in facts.values()):
            raise BitfaceError(f"its engines say {json.dumps(facts)[:80]} of {name[:40]}; expected numbers")
    return description
