"""Galleries: the embeddings of enrolled people, in float32 or int8, and the model that made them.

Scores against int8 are cosines of the vectors that the codes stand for: a code times its scale is a coordinate of the
unit vector, and the scale is a 127th of the largest one. How a gallery lies in a file: `gallery_file`.
"""

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitface.errors import BitfaceError, UsageError, flag, nearest, option
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.keys import GalleryKey
from bitface.evaluation.rotation import SALT, rotation
from bitface.evaluation.scores.nearest import Rows, as_rows
from bitface.evaluation.scores.similarity import unit_rows
from bitface.preprocess import Size

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
        rotation: the salt, in hexadecimal, of what the embeddings were turned by; None: they are as the model gives
            them.

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
    rotation: str | None = None

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
                f"{fingerprint[:12] or 'unknown'}: enrol its people again by this model (bitface enroll MODEL --images "
                f"FOLDER --out GALLERY --again), or give {flag('allow-mixed')} if one was made from the other"
            )

    def quantized(self) -> "Gallery":
        """The gallery in int8; itself where it is that already."""
        if self.scales is not None:
            return self
        codes, scales = quantized(self.embeddings)
        return replace(self, embeddings=codes, scales=scales)

    def without(self, people: Sequence[str]) -> "Gallery":
        """The gallery without some of its people, however the accents of their names are written (see `enrolled`).

        Raises:
            UsageError: somebody isn't in it, or nobody would be left.
        """
        names, leaving = one_form(self.ids), one_form(people)
        unknown = [name for name in leaving if name not in names]
        if unknown:
            raise UsageError(f"'{unknown[0]}' isn't in the gallery{nearest(unknown[0], set(names))}")
        rest = np.array([name not in leaving for name in names])
        if not rest.any():
            raise UsageError("nobody would be left in the gallery; delete the file")
        ids = tuple(name for name, stays in zip(self.ids, rest, strict=True) if stays)
        scales = None if self.scales is None else self.scales[rest]
        return replace(self, embeddings=self.embeddings[rest], ids=ids, scales=scales)

    def turned(self, key: GalleryKey, before: GalleryKey | None = None) -> "Gallery":
        """The gallery turned by a new rotation of a key; codes of int8 are rounded anew.

        Args:
            before: the key by which it is turned already.
        """
        salt = secrets.token_bytes(SALT)
        turn = rotation(key, salt, self.size)
        if self.rotation is not None:
            turn = self._turn(before).T @ turn
        values = self.unit(slice(None))[0] if self.scales is not None else self.embeddings.astype(np.float64)
        plain = replace(self, embeddings=(values @ turn).astype(np.float32), scales=None, rotation=salt.hex())
        return plain.quantized() if self.scales is not None else plain

    def probes(self, embeddings: Single, key: GalleryKey | None) -> Single:
        """Probes `[N, D]` as a model gives them, turned as the gallery is.

        Raises:
            UsageError: the gallery is turned, and no key is given.
        """
        if self.rotation is None:
            return embeddings
        return np.asarray(embeddings.astype(np.float64) @ self._turn(key), np.float32)

    def _turn(self, key: GalleryKey | None) -> Floats:
        if key is None or self.rotation is None:
            raise UsageError(f"the gallery's vectors are turned by a key; name its file ({option('key-file', 'FILE')})")
        return rotation(key, bytes.fromhex(self.rotation), self.size)


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

    Names that differ only in how their accents are written (NFC, NFD) are one.

    Raises:
        BitfaceError: as `Gallery`.
    """
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BitfaceError(f"embeddings aren't numbers ({error}); expected a matrix [images, size]") from error
    gallery = Gallery(values, one_form(ids), **vars(origin))
    return gallery.quantized() if int8 else gallery


def one_form(names: Sequence[str]) -> tuple[str, ...]:
    """Names with each accented letter as one character (NFC): a Mac's folders have two."""
    return tuple(unicodedata.normalize("NFC", name) if isinstance(name, str) else name for name in names)


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
