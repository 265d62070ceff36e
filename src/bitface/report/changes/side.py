"""One of the two results that are compared: its one model, and what else its run holds of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface.errors import BitfaceError, flag
from bitface.report.grouping import ReportedModel, reported_models
from bitface.results.analysis import AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.documents import Document, of_kind
from bitface.results.evaluation import EvaluationRecord
from bitface.results.quantization import QuantizationRecord
from bitface.runtime.bench import Row

Table = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """A run and its model.

    Attributes:
        documents: every result of the run.
        warnings: what `reported_models` says.
    """

    documents: Sequence[Document[StoredResult]]
    model: ReportedModel
    warnings: Sequence[str]

    @staticmethod
    def of(run: Path, documents: Sequence[Document[StoredResult]]) -> "Side":
        """Raises BitfaceError where the run holds no model or several."""
        models, warnings = reported_models(documents)
        made = [model for model in models if model.origin]
        candidates = made or models
        if len(candidates) != 1:
            count = (
                f"{len(candidates)} models ({', '.join(one.name for one in candidates)})" if candidates else "no model"
            )
            raise BitfaceError(
                f"{run}: holds {count}; {flag('diff')} compares one with one: name the folder of a quantization, "
                "pruning or distillation, or the JSON file of an evaluation"
            )
        return Side(documents, candidates[0], warnings)

    @property
    def quantization(self) -> QuantizationRecord | None:
        result = self.model.result
        return result if isinstance(result, QuantizationRecord) else None

    @property
    def evaluations(self) -> list[EvaluationRecord]:
        return [one.result for one in self.model.evaluations]

    @property
    def times(self) -> dict[tuple[str, str, int, int], Row]:
        """The model's times by engine, precision, batch and threads."""
        rows: Iterator[Row] = (row for one in of_kind(self.documents, BenchRecord) for row in one.result.rows)
        own = [row for row in rows if row.model in self.model.labels]
        return {(row.engine, row.precision, row.batch, row.threads): row for row in own}

    @property
    def analyses(self) -> list[AnalysisRecord]:
        return [one.result for one in of_kind(self.documents, AnalysisRecord)]
