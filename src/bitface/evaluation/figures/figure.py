"""One number of a result with its interval, as a table shows it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bitface.evaluation.figures.intervals import Interval
from bitface.evaluation.figures.operating import OperatingPoint, far_name


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
