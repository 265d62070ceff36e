"""Everything that a protocol can say of a model, and of the model beside a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bitface.evaluation.figures.compare import ModelComparison, compare
from bitface.evaluation.figures.decisions import FigureChange, compare_decisions
from bitface.evaluation.figures.operating import FARS, ErrorRates
from bitface.evaluation.figures.results import Result, VerificationResult
from bitface.evaluation.group_spread import group_spreads
from bitface.evaluation.groups import GroupRow, Groups, by_group, group_changes, groupable
from bitface.evaluation.mixed import MixedCell, matrix
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked beside the figures.

    Attributes:
        fars, seed: see `FaceProtocol.score`.
        thresholds: those that the model decides with, as (the FAR that each is for, threshold).
        groups: of the protocol's images.
        mixed: galleries of the baseline against probes of the model, and the other way round.
    """

    fars: Sequence[float] = FARS
    seed: int = 0
    thresholds: Sequence[tuple[float, float]] = ()
    groups: Groups | None = None
    mixed: bool = True


@dataclass(frozen=True, eq=False)
class RatesAt:
    """Both error rates at a threshold that was found elsewhere, for the FAR `target`."""

    target: float
    rates: ErrorRates

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"target": self.target, **self.rates.to_json()}


@dataclass(frozen=True, eq=False)
class Beside:
    """A model beside its baseline, on the same images.

    Attributes:
        result: of the baseline.
        comparison: of two verifications; None for results of other kinds.
        changes: of the figures, where the trials behind them can be paired; else the figures stand side by side.
        reused: the model at the baseline's thresholds.
        mixed: all four combinations of galleries and probes; empty where nobody asked.
    """

    result: Result
    comparison: ModelComparison | None
    changes: tuple[FigureChange, ...]
    reused: tuple[RatesAt, ...]
    mixed: list[MixedCell]

    def compared(self) -> dict[str, Any]:
        """What changes, as plain JSON values."""
        if self.comparison is not None:
            return self.comparison.to_json()
        changes, reused = ([one.to_json() for one in rows] for rows in (self.changes, self.reused))
        return {"mcnemar": None, "differences": [], "changes": changes, "reused": reused}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on a protocol.

    Attributes:
        result: its figures.
        stored: both error rates at `Questions.thresholds`.
        baseline: None where there is none.
        groups, baseline_groups: a row for each group; None where nobody asked, or the protocol has none.
        notes: what was asked and this protocol has no notion of.
    """

    result: Result
    stored: tuple[RatesAt, ...] = ()
    baseline: Beside | None = None
    groups: list[GroupRow] | None = None
    baseline_groups: list[GroupRow] | None = None
    notes: tuple[str, ...] = field(default=())

    def groups_json(self) -> dict[str, Any] | None:
        """The groups of both models, and what changes between them, as plain JSON values."""
        if self.groups is None:
            return None
        tables: dict[str, Any] = {
            "model": [row.to_json() for row in self.groups],
            "spread": [one.to_json() for one in group_spreads(self.groups)],
        }
        if self.baseline_groups is not None:
            before = [row.to_json() for row in self.baseline_groups]
            tables |= {"baseline": before, "changes": group_changes(self.baseline_groups, self.groups)}
            tables |= {"baseline_spread": [one.to_json() for one in group_spreads(self.baseline_groups)]}
        return tables


def evaluate(
    protocol: FaceProtocol,
    model: Embeddings,
    baseline: Embeddings | None = None,
    questions: Questions | None = None,
    before: Result | None = None,
) -> Evaluation:
    """Scores a model, and holds it against a baseline; for every protocol.

    Args:
        model, baseline: of the protocol's images.
        before: the baseline's result at the same FARs and seed, where it is known already.

    Raises:
        BitfaceError: as `FaceProtocol.score`.
    """
    questions = questions or Questions()
    notes: list[str] = []
    reused: list[tuple[float, float]] = []
    if baseline is not None:
        before = before or protocol.score(baseline, fars=questions.fars, seed=questions.seed)
        own = before.verification()
        reused = [(one.far, float(one.threshold)) for one in own.tar if one.threshold is not None] if own else []
    at = [*reused, *questions.thresholds]
    result = protocol.score(model, fars=questions.fars, seed=questions.seed, at=[threshold for _, threshold in at])
    summary = result.verification() if at else None
    if questions.thresholds and summary is None:
        notes.append(f"{protocol.name}: no single threshold decides here, so that none of the artifact's is tried")
    rates = [RatesAt(far, one) for (far, _), one in zip(at, summary.fixed, strict=True)] if summary else []
    stored = tuple(rates[len(reused) :])
    beside = None
    if baseline is not None and before is not None:
        cells = (
            matrix(protocol, baseline, model, questions.fars, questions.seed, (before, result))
            if questions.mixed
            else []
        )
        comparison, changes = _compared(before, result, rates[: len(reused)], questions.seed)
        if comparison is None and not changes:
            notes.append(f"{protocol.name}: its decisions aren't kept one by one, so that figures stand side by side")
        beside = Beside(before, comparison, changes, tuple(rates[: len(reused)]), cells)
    groups = baseline_groups = None
    if questions.groups and not groupable(protocol):
        notes.append(f"{protocol.name}: this kind of protocol has no figures of groups")
    elif questions.groups:
        groups = by_group(protocol, model, questions.groups, result, questions.seed)
        if baseline is not None and before is not None:
            baseline_groups = by_group(protocol, baseline, questions.groups, before, questions.seed)
    return Evaluation(result, stored, beside, groups, baseline_groups, tuple(notes))


def _compared(
    before: Result, result: Result, reused: Sequence[RatesAt], seed: int
) -> tuple[ModelComparison | None, tuple[FigureChange, ...]]:
    if isinstance(before, VerificationResult) and isinstance(result, VerificationResult):
        return compare(before, result, [one.rates for one in reused], seed=seed), ()
    return None, compare_decisions(before.decisions(), result.decisions(), seed=seed)
