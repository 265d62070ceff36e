"""What every protocol is: images that it needs, and a way from their embeddings to a result.

A protocol is one file of this folder, or of another package: what a person writes of it (`registry.Description`), the
protocol itself and, where none of the known results says what it finds out, a result. Only `score` has to be written;
what else a protocol can say lets more commands use it: whom its images show, and what it compares with what.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, flags
from bitface.evaluation.figures.operating import FARS
from bitface.evaluation.figures.results import Result
from bitface.evaluation.scores.similarity import unit_rows


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What one model makes of a protocol's images.

    Attributes:
        values: `[N, D]`, any floating-point type and any length of the vectors.
        valid: `[N]`, false where an image couldn't be embedded; None: all could.
        fingerprint: of the model (see `Network.fingerprint`); empty where nobody knows.
    """

    values: NDArray[Any]
    valid: Bools | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise BitfaceError(f"embeddings have the shape {self.values.shape}; expected a matrix [images, size]")
        if self.valid is not None:
            flags(self.valid, len(self.values), "valid")

    def __len__(self) -> int:
        return len(self.values)

    @staticmethod
    def of(rows: "Embeddings | ArrayLike") -> "Embeddings":
        """Embeddings as they are, or those of an array of which every row is valid.

        Raises:
            BitfaceError: it isn't a matrix of numbers.
        """
        if isinstance(rows, Embeddings):
            return rows
        try:
            return Embeddings(np.asarray(rows))
        except ValueError as error:  # rows of different lengths
            raise BitfaceError(f"embeddings aren't numbers ({error}); expected a matrix [images, size]") from error


@dataclass(frozen=True, eq=False)
class Comparisons:
    """What a protocol compares with what.

    Attributes:
        members: the U things that are compared: the protocol's images by their paths, or videos, or templates.
        left, right: `[P]`, the two members of a comparison, the left one of the gallery.
        same: `[P]`, whether both show one person.
        fold: `[P]`, where each comparison is held out, for protocols with folds.
    """

    members: tuple[str, ...]
    left: NDArray[np.integer]
    right: NDArray[np.integer]
    same: Bools
    fold: NDArray[np.integer] | None = None


class FaceProtocol(ABC):
    """A protocol whose files have been read.

    Attributes:
        name: what a table calls it.
        paths: the N distinct images, relative to the root folder, with forward slashes.
    """

    if TYPE_CHECKING:  # at run time a property would be taken for the default of a dataclass's field

        @property
        def name(self) -> str: ...
        @property
        def paths(self) -> tuple[str, ...]: ...

    @abstractmethod
    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> Result:
        """The result for embeddings of `paths`, in that order.

        Args:
            gallery: by the model of the enrolled side.
            probe: by the model of the side that is compared with it; None: the same embeddings.
            fars: where to report TAR.
            seed: of whatever is resampled.
            at: thresholds found elsewhere, at which `Result.verification` gives both error rates.

        Raises:
            BitfaceError: the embeddings don't fit the protocol, or the two models' sizes differ.
        """

    def people(self) -> Sequence[str | None] | None:
        """`[N]`, whom each image shows (None: nobody knows); None where the protocol says nothing of people."""
        return None

    def comparisons(self) -> Comparisons | None:
        """The listed comparisons; None where a protocol searches, or compares everything with everything."""
        return None

    def vectors(self, embeddings: Embeddings) -> tuple[Floats, Bools]:
        """The members of `comparisons` as unit vectors `[U, D]`, and which of them are usable `[U]`."""
        return unit_rows(embeddings.values, embeddings.valid)

    def within(self, images: Bools) -> "FaceProtocol | None":
        """The protocol of a group: only what is made of these images `[N]`, `paths` being the same.

        None where the protocol makes no sense within a group.

        Raises:
            BitfaceError: nothing, or only one kind of comparison, is left.
        """
        return None


def both_sides(count: int, gallery: Embeddings, probe: Embeddings | None) -> tuple[Embeddings, Embeddings]:
    """Gallery and probe, checked. Raises BitfaceError where they don't fit `count` images or each other."""
    probe = gallery if probe is None else probe
    for side in (gallery, probe):
        if len(side) != count:
            raise BitfaceError(f"{len(side)} embeddings for {count} images of the protocol; give one for each")
    if gallery.values.shape[1] != probe.values.shape[1]:
        raise BitfaceError(
            f"the gallery's embeddings have {gallery.values.shape[1]} numbers, the probes' {probe.values.shape[1]}: "
            "models of different sizes can't be compared with each other"
        )
    return gallery, probe
