"""The result of `bitface calibrate`: thresholds, and what the teacher's would do here."""

from typing import Any, Literal

from bitface.evaluation.figures.extrapolate import Tail
from bitface.evaluation.figures.intervals import Interval
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, SkippedImage, Texts


class StoredThreshold(Section):
    """A threshold as the artifact holds it; see `evaluation.figures.thresholds.Threshold` for the first nine fields.

    Attributes:
        data: how the faces are described; failed: images without an embedding.
        engine: that found it; engines: how far the other ones lie from it.
        flip: whether mirrored images were added.
        extrapolated: the tail that the threshold was found from, where too few pairs decide.
    """

    far: float
    threshold: float
    interval: Interval | None
    expected: Interval
    reached: float
    tar: float | None
    tar_interval: Interval | None
    genuine: int
    impostor: int
    protocol: str
    data: str
    images: int
    people: int | None
    failed: int
    engine: str
    engines: dict[str, Any]
    flip: bool
    seed: int
    extrapolated: Tail | None = None


class UnsupportedFar(Section):
    """A FAR that has no threshold; see `evaluation.figures.thresholds.UnsupportedFar`."""

    far: float
    reason: str
    pairs: int
    impostor: int
    images: int | None


class TeacherRates(Section):
    """What the teacher's threshold for the FAR `target` does on the integer model."""

    threshold: float
    tar: float | None
    tar_interval: Interval | None
    far: float
    far_interval: Interval
    genuine: int
    impostor: int
    target: float


class CalibrationRecord(StoredResult):
    """The thresholds that were written into `model`."""

    kind: Literal["calibration"] = "calibration"
    schema_version: Literal[1] = Field(1, alias="schema")
    model: str
    engine: str
    thresholds: tuple[StoredThreshold, ...]
    unsupported: tuple[UnsupportedFar, ...] = ()
    teacher: tuple[TeacherRates, ...]
    skipped: tuple[SkippedImage, ...]
    notes: Texts
    warnings: Texts
    machine: Machine
