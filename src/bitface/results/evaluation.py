"""The result of `bitface evaluate`."""

from typing import Literal

from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.intervals import Interval
from bitface.evaluation.figures.match_errors import ErrorRate, MatchErrors
from bitface.evaluation.figures.operating import ErrorRates, OperatingPoint
from bitface.evaluation.figures.results import Counts
from bitface.evaluation.group_spread import GroupSpread
from bitface.evaluation.mixed import MixedCell
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, Seconds, SkippedImage, Texts


class CrossValidatedAccuracy(Section):
    """Accuracy over folds, see `evaluation.figures.folds.FoldAccuracy`."""

    mean: float
    std: float
    standard_error: float
    interval: Interval
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    pairs: int
    errors: int


class RocCorners(Section):
    """Some 200 corners of ROC and DET curve."""

    far: tuple[float, ...]
    tar: tuple[float, ...]
    frr: tuple[float, ...]


class ScoreHistograms(Section):
    """Both kinds of score in equal bins of `width` from `low` on."""

    low: float
    width: float
    genuine: tuple[int, ...]
    impostor: tuple[int, ...]


class TargetRates(Section):
    """Both error rates at a threshold that was found elsewhere, for the FAR `target`.

    Attributes:
        extrapolated: it was found from the tail of too few scores.
    """

    target: float
    threshold: float
    tar: float
    tar_interval: Interval
    far: float
    far_interval: Interval
    genuine: int
    impostor: int
    extrapolated: bool = False


class TarChange(Section):
    """TAR at a FAR with the baseline and with the model; `reused`: the model at the baseline's threshold."""

    far: float
    baseline: float
    model: float
    interval: Interval
    reused: ErrorRates | None = None
    change: float


class PairedDecisions(Section):
    """Decisions of the list that differ, `b` for the worse and `c` for the better, see `evaluation.figures.paired`."""

    b: int
    c: int
    flipped: int
    p: float


class FigureDifference(Section):
    """A figure with the baseline and with the model, where the trials behind it can be paired."""

    name: str
    baseline: float
    model: float
    change: float
    interval: Interval
    mcnemar: PairedDecisions


class PairedTests(Section):
    """A model beside its baseline: `differences` of a list of pairs, `changes` of other protocols' figures."""

    mcnemar: PairedDecisions | None = None
    differences: tuple[TarChange, ...] = ()
    changes: tuple[FigureDifference, ...] = ()
    reused: tuple[TargetRates, ...] = ()


class BaselineEvaluation(Section):
    """The other model on the same test."""

    model: str
    fingerprint: str
    figures: tuple[Figure, ...] = ()
    accuracy: CrossValidatedAccuracy | None = None
    protocol: str = "list"
    auc: float | None = None
    eer: float | None = None
    tar: tuple[OperatingPoint, ...] = ()
    fixed: tuple[ErrorRates, ...] = ()
    counts: Counts | None = None
    match_errors: tuple[MatchErrors, ...] = ()
    failure_to_acquire: ErrorRate | None = None
    roc: RocCorners | None = None
    bins: ScoreHistograms | None = None
    warnings: Texts = ()
    comparison: PairedTests
    mixed: tuple[MixedCell, ...]


class GroupFigures(Section):
    """A group of people: its own figures, and both rates at everybody's thresholds; or the reason why none."""

    attribute: str
    group: str
    images: int
    figures: tuple[Figure, ...]
    rates: tuple[TargetRates, ...]
    reason: str | None = None


class GroupChange(Section):
    """From the baseline to the model in one group, each at its own threshold for everybody."""

    attribute: str
    group: str
    target: float
    far_ratio: float | None
    tar_change: float


class GroupTables(Section):
    """Every group with the model, and with the baseline where there is one; how far they lie apart with each."""

    model: tuple[GroupFigures, ...]
    baseline: tuple[GroupFigures, ...] = ()
    changes: tuple[GroupChange, ...] = ()
    spread: tuple[GroupSpread, ...] = ()
    baseline_spread: tuple[GroupSpread, ...] = ()


class SharedFaces(Section):
    """What a test shares with the faces that the model was made with, see `inputs.overlap.overlap`."""

    used: int
    images: int
    copies: int
    copied: Texts
    people: int | None = None
    threshold: float | None = None


class EvaluationRecord(StoredResult):
    """A model on a protocol: of lists of pairs every field, of others their `figures` and what they say themselves.

    Attributes:
        model_kind: `float`, `artifact` or `exported`.
        precision: `integer` or `f32`.
        roc, bins: None where the result was written without a curve.
        stored_thresholds: what those in the artifact do here.
    """

    kind: Literal["evaluation"] = "evaluation"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    model: str
    model_kind: str
    fingerprint: str
    sha256: str | None = None
    engine: str
    precision: str
    preprocess: str | None = None
    flip: bool = False
    pairs: str
    test: str = ""
    figures: tuple[Figure, ...] = ()
    accuracy: CrossValidatedAccuracy | None = None
    protocol: str = "list"
    auc: float | None = None
    eer: float | None = None
    tar: tuple[OperatingPoint, ...] = ()
    fixed: tuple[ErrorRates, ...] = ()
    counts: Counts | None = None
    match_errors: tuple[MatchErrors, ...] = ()
    failure_to_acquire: ErrorRate | None = None
    roc: RocCorners | None = None
    bins: ScoreHistograms | None = None
    warnings: Texts = ()
    stored_thresholds: tuple[TargetRates, ...] = ()
    baseline: BaselineEvaluation | None = None
    groups: GroupTables | None = None
    overlap: SharedFaces | None = None
    notes: Texts = ()
    skipped: tuple[SkippedImage, ...] = ()
    seconds: Seconds = Field(default_factory=dict)
    machine: Machine = Field(default_factory=dict)
