"""What protocols find out, as plain values that turn into JSON; those of a verification."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.figures.bootstrap import SubjectScores
from bitface.evaluation.figures.curve import Roc, roc_counts
from bitface.evaluation.figures.decisions import Decisions
from bitface.evaluation.figures.figure import Figure, tar_figures
from bitface.evaluation.figures.folds import FoldAccuracy
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.figures.match_errors import ErrorRate, MatchErrors, match_errors
from bitface.evaluation.figures.operating import Distinct, ErrorRates, ImpostorRates, OperatingPoint, operating_points
from bitface.evaluation.scores.impostors import DRAWN_BINS, BinnedImpostors, ImpostorScores, histogram

LIST = "list"
ALL_PAIRS = "all pairs"
PROBES = "probes and gallery"


@dataclass(frozen=True)
class Counts:
    """What was scored. Pairs of failed images are among the genuine and impostor ones, with score -1.

    `distinct` are the pairs without those that repeat another one: the evidence behind every FAR and interval.
    """

    images: int
    failed_images: int
    identities: int | None
    genuine: int
    impostor: int
    failed_pairs: int
    distinct: Distinct

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ScoreBins:
    """Both kinds of score as histograms, [DRAWN_BINS] each, of equal bins from -1 to 1."""

    genuine: Ints
    impostor: Ints

    def to_json(self) -> dict[str, Any]:
        """The lowest score, the width of a bin, and the counts as lists."""
        counts = {"genuine": self.genuine.tolist(), "impostor": self.impostor.tolist()}
        return {"low": -1.0, "width": 2 / DRAWN_BINS, **counts}


@dataclass(frozen=True, eq=False)
class ListedScores:
    """Of a list's pairs: the genuine scores, and those of the distinct impostor pairs in descending order."""

    genuine: Floats
    impostor: Floats


@dataclass(frozen=True, eq=False)
class ScoreSummary:
    """How well genuine and impostor scores are told apart.

    Attributes:
        protocol: what is compared: `LIST`, the pairs of the list, `ALL_PAIRS` of its images, `PROBES` with a gallery's
            images, or things other than images.
        auc, eer: exact over all scores, see `curve`.
        tar: one point per FAR, in the order asked for, see `operating`.
        counts: images and pairs.
        roc: the whole curve; left out of the JSON unless asked for.
        bins: both kinds of score as histograms, as the curve left out unless asked for.
        fixed: both error rates at the thresholds that were given, see `operating.ErrorRates`.
        subjects: what resampling people needs, where people are known; not in the JSON.
        listed: the scores of a list that thresholds are extrapolated from; not in the JSON.
        failed_genuine: the genuine ones among the pairs of failed images; not in the JSON.
    """

    protocol: str
    auc: float
    eer: float
    tar: tuple[OperatingPoint, ...]
    counts: Counts
    roc: Roc = field(repr=False)
    bins: ScoreBins = field(repr=False)
    fixed: tuple[ErrorRates, ...] = ()
    subjects: SubjectScores | None = field(default=None, repr=False)
    listed: ListedScores | None = field(default=None, repr=False)
    failed_genuine: int = field(default=0, repr=False)

    def match_errors(self) -> tuple[MatchErrors, ...]:
        """FMR and FNMR at the threshold of each FAR, with the errors behind them."""
        return match_errors(self.tar, self.failed_genuine, self.counts.failed_pairs - self.failed_genuine)

    def failure_to_acquire(self) -> ErrorRate | None:
        """The share of images that gave no embedding."""
        return ErrorRate.of(self.counts.failed_images, self.counts.images)

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """The fields as plain JSON values; `curve` adds some 200 corners of the ROC curve, and histograms."""
        result: dict[str, Any] = {
            "protocol": self.protocol,
            "auc": self.auc,
            "eer": self.eer,
            "tar": [point.to_json() for point in self.tar],
            "fixed": [rates.to_json() for rates in self.fixed],
            "counts": self.counts.to_json(),
            "match_errors": [one.to_json() for one in self.match_errors()],
            "failure_to_acquire": acquired.to_json() if (acquired := self.failure_to_acquire()) else None,
        }
        if curve:
            result |= {"roc": self.roc.thinned().to_json(), "bins": self.bins.to_json()}
        return result


@dataclass(frozen=True, eq=False)
class ImpostorSummary:
    """What impostor scores alone say, where no two images show one person: the fields of `ScoreSummary`, no TAR."""

    protocol: str
    tar: tuple[OperatingPoint, ...]
    counts: Counts
    fixed: tuple[ImpostorRates, ...]
    subjects: SubjectScores = field(repr=False)
    listed: None = None


class Result(ABC):
    """What a protocol finds out.

    Attributes:
        warnings: what is wrong with the embeddings, in plain words; empty when nothing is.
    """

    warnings: tuple[str, ...]

    @abstractmethod
    def figures(self) -> list[Figure]:
        """The numbers of a table, the most important first."""

    @abstractmethod
    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds what plots need."""

    def verification(self) -> ScoreSummary | None:
        """How genuine and impostor scores are told apart by one threshold; None where no threshold decides, or where
        the scores aren't all known.
        """
        return None

    def decisions(self) -> list[Decisions]:
        """The trials behind the figures, where two models can be held against each other trial by trial."""
        return []


@dataclass(frozen=True, eq=False)
class VerificationResult(Result):
    """Everything `verification.verify` finds out.

    Attributes:
        accuracy: cross-validated over the folds of the list.
        summary: operating points, over the list or all pairs.
        warnings: what is wrong with the embeddings, in plain words; empty when nothing is.
        same, scores: [P], of the list's pairs; not in the JSON.
        first: [P], false where a pair of the list repeats one before it, in either order; not in the JSON.
    """

    accuracy: FoldAccuracy
    summary: ScoreSummary
    warnings: tuple[str, ...]
    same: Bools = field(repr=False)
    scores: Floats = field(repr=False)
    first: Bools = field(repr=False)

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        return self.summary.auc

    @property
    def eer(self) -> float:
        """The equal error rate."""
        return self.summary.eer

    @property
    def tar(self) -> tuple[OperatingPoint, ...]:
        """TAR at each FAR."""
        return self.summary.tar

    @property
    def counts(self) -> Counts:
        """Images and pairs behind AUC, EER and TAR."""
        return self.summary.counts

    def verification(self) -> ScoreSummary:
        """The operating points."""
        return self.summary

    def decisions(self) -> list[Decisions]:
        """The held-out decisions of the folds and, over a list, the genuine pairs at each threshold; repeated pairs
        once.
        """
        genuine = self.scores[self.same & self.first]
        points = [] if self.summary.protocol == ALL_PAIRS else self.tar
        accepted = [
            Decisions(figure.name, genuine >= point.threshold)
            for figure, point in zip(tar_figures(points), points, strict=True)
            if point.threshold is not None
        ]
        return [Decisions("accuracy", self.accuracy.correct[self.first]), *accepted]

    def figures(self, how: str = "") -> list[Figure]:
        """Accuracy with its spread over the folds, TAR at each FAR, AUC and EER; `how` is added to their names."""
        accuracy = self.accuracy
        return [
            Figure(f"accuracy{how}", accuracy.mean, accuracy.interval, spread=accuracy.std),
            *tar_figures(self.tar, how),
            Figure(f"AUC{how}", self.auc),
            Figure(f"EER{how}", self.eer),
        ]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds the ROC curve and histograms."""
        return {
            "accuracy": self.accuracy.to_json(),
            **self.summary.to_json(curve),
            "warnings": list(self.warnings),
        }


def summarise(
    genuine: Floats,
    impostors: BinnedImpostors,
    fars: tuple[float, ...],
    protocol: str,
    counts: Counts,
    at: Sequence[float] = (),
    failed_genuine: int = 0,
) -> ScoreSummary:
    """AUC, EER, ROC, TAR at the given FARs, and both rates at fixed thresholds, with Wilson intervals.

    Args:
        genuine: [G], unsorted.
        at: thresholds that were found elsewhere.
        failed_genuine: the genuine ones among the pairs of failed images.
    """
    curve = roc_counts(genuine, impostors)
    return ScoreSummary(
        protocol=protocol,
        auc=curve.auc(),
        eer=curve.eer(),
        tar=operating_points(np.asarray(genuine), impostors, fars, counts.distinct),
        counts=counts,
        roc=curve.roc(),
        bins=ScoreBins(histogram(np.asarray(genuine, dtype=np.float64)), impostors.histogram()),
        fixed=_rates(np.asarray(genuine), impostors, at, counts.distinct),
        failed_genuine=failed_genuine,
    )


def impostor_rates(impostors: ImpostorScores, at: Sequence[float]) -> tuple[ImpostorRates, ...]:
    """What thresholds that were found elsewhere do, of impostor pairs that all are distinct."""
    false, count = _accepted(impostors, at), impostors.count
    return tuple(ImpostorRates(float(one), false[one] / count, wilson(false[one], count), count) for one in at)


def _accepted(impostors: ImpostorScores, at: Sequence[float]) -> dict[float, int]:
    """The impostor pairs that each threshold accepts."""
    values = np.unique(np.asarray(at, dtype=np.float64))
    return dict(zip(values.tolist(), impostors.counts(values)[1].tolist(), strict=True)) if len(values) else {}


def _rates(
    genuine: Floats, impostors: ImpostorScores, at: Sequence[float], distinct: Distinct
) -> tuple[ErrorRates, ...]:
    accepted = _accepted(impostors, at)
    return tuple(
        ErrorRates.of(
            float(one), int(np.count_nonzero(genuine >= one)), len(genuine), accepted[one], impostors.count, distinct
        )
        for one in at
    )
