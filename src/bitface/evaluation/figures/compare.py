"""Two models on the same pairs: does the second decide worse, and by how much?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.figures.bootstrap import paired_differences, paired_list_differences
from bitface.evaluation.figures.intervals import LEVEL, Interval
from bitface.evaluation.figures.operating import ErrorRates, OperatingPoint
from bitface.evaluation.figures.paired import McNemar, mcnemar
from bitface.evaluation.figures.results import VerificationResult


@dataclass(frozen=True)
class Difference:
    """TAR of a model less that of its baseline at one FAR, each at its own threshold.

    Attributes:
        baseline, model: both TARs.
        interval: of the difference, from resamples that both models see alike: of people, over all pairs; of pairs,
            over a list.
        reused: both error rates of the model at the baseline's threshold; None where they weren't asked for.
    """

    far: float
    baseline: float
    model: float
    interval: Interval
    reused: ErrorRates | None = None

    @property
    def change(self) -> float:
        """The difference itself: below 0 where the model accepts fewer."""
        return self.model - self.baseline

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "change": self.change}


@dataclass(frozen=True)
class ModelComparison:
    """A model beside its baseline: decisions on the list, and TAR at each FAR that the data supports."""

    mcnemar: McNemar
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "mcnemar": self.mcnemar.to_json(),
            "differences": [one.to_json() for one in self.differences],
        }


def compare(
    baseline: VerificationResult,
    model: VerificationResult,
    reused: Sequence[ErrorRates] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> ModelComparison:
    """Holds a model against its baseline on the same pairs.

    McNemar's test on the held-out decisions of the folds; the bootstrap of the difference in TAR, by subject where both
    results are over all pairs, by pair where they are over the list. A pair that the list repeats counts once.

    Args:
        reused: what the baseline's thresholds, those of its supported FARs in their order, do on the model.

    Raises:
        BitfaceError: the results are of different pairs or at different FARs.
    """
    if not np.array_equal(baseline.same, model.same):
        raise BitfaceError("the two models were scored on different pairs; compare them on the same list")
    pairs = [
        (a, b) for a, b in zip(baseline.tar, model.tar, strict=False) if a.supported and b.supported and a.far == b.far
    ]
    if [point.far for point in baseline.tar] != [point.far for point in model.tar]:
        raise BitfaceError("the two models were scored at different FARs; compare them at the same ones")
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    rates_at = {rates.threshold: rates for rates in reused}
    return ModelComparison(
        mcnemar(*(one.accuracy.correct[one.first] for one in (baseline, model))),
        tuple(
            Difference(a.far, float(a.tar or 0), float(b.tar or 0), interval, rates_at.get(float(a.threshold or 0)))
            for a, b, interval in zip(
                first, second, _intervals(baseline, model, first, second, resamples, seed), strict=True
            )
        ),
    )


def _intervals(
    baseline: VerificationResult,
    model: VerificationResult,
    first: list[OperatingPoint],
    second: list[OperatingPoint],
    resamples: int,
    seed: int,
) -> list[Interval]:
    subjects, other = baseline.summary.subjects, model.summary.subjects
    if not first:
        return []
    if subjects is not None and other is not None:
        differences, method = (
            paired_differences((first, subjects), (second, other), resamples, seed),
            "paired subject bootstrap",
        )
    else:
        fars = [point.far for point in first]
        once = baseline.first
        differences = paired_list_differences(
            baseline.same[once], baseline.scores[once], model.scores[once], fars, resamples, seed
        )
        method = "paired bootstrap, pairs independent"
    lows, highs = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [Interval(float(a), float(b), method) for a, b in zip(lows, highs, strict=True)]
