"""What every protocol is: images that it needs, and a way from their embeddings to a result."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, flags
from bitface.evaluation.figures.intervals import Interval
from bitface.evaluation.figures.operating import OperatingPoint, far_name


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


@dataclass(frozen=True)
class Figure:
    """One number of a result, as a table shows it.

    Attributes:
        name: such as `accuracy`, `TAR@FAR 1e-4`, `rank-1`, `TPIR@FPIR 1e-2`.
        value: a share from 0 to 1; None where the data can't support it, and `reason` says why.
        interval: its 95 % interval.
        spread: the standard deviation over folds, where there are folds.
    """

    name: str
    value: float | None
    interval: Interval | None = None
    reason: str | None = None
    spread: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def tar_figures(points: Sequence[OperatingPoint], how: str = "") -> list[Figure]:
    """TAR at each FAR as figures; `how` is added to their names."""
    return [Figure(f"TAR@FAR {far_name(one.far)}{how}", one.tar, one.interval, one.reason) for one in points]


class Result(Protocol):
    """What a protocol finds out."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the embeddings, in plain words; empty when nothing is."""

    def figures(self) -> list[Figure]:
        """The numbers of a table, the most important first."""

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds what plots need."""


class FaceProtocol(Protocol):
    """A protocol whose files have been read."""

    @property
    def name(self) -> str:
        """What a table calls it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The N distinct images, relative to the root folder, with forward slashes."""

    def score(
        self, gallery: Embeddings, probe: Embeddings | None = None, *, fars: Sequence[float], seed: int = 0
    ) -> Result:
        """The result for embeddings of `paths`, in that order.

        Args:
            gallery: by the model of the enrolled side.
            probe: by the model of the side that is compared with it; None: the same embeddings.
            fars: where to report TAR.
            seed: of whatever is resampled.

        Raises:
            BitfaceError: the embeddings don't fit the protocol, or the two models' sizes differ.
        """


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
