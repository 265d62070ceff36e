"""The content of a page about many results: models, curves, plots, tables, analyses, times, provenance."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import bitface
from bitface.report import next_steps, provenance
from bitface.report.annex_iv import ATTACKS
from bitface.report.comparison import comparison_page, suite_page
from bitface.report.grouping import ReportedModel, reported_models, told_apart
from bitface.report.models import curves_of, headline, models_of
from bitface.report.next_steps import Step
from bitface.report.remarks import Remarks
from bitface.report.search_pages import search_page, sensitivity_page
from bitface.results.analysis import AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.comparison import ComparisonRecord
from bitface.results.documents import Document, of_kind
from bitface.results.quantization import QuantizationRecord
from bitface.results.search import SearchRecord
from bitface.results.sensitivity import SensitivityRecord
from bitface.results.suite import SuiteRecord
from bitface.runtime.bench import slower_in_integers

Documents = Sequence[Document[StoredResult]]

_NAMED = 3
_PAGES: dict[type[StoredResult], Callable[[Document[Any]], dict[str, Any]]] = {
    SensitivityRecord: lambda one: sensitivity_page(one.result),
    SearchRecord: lambda one: search_page(one.result, one.path.parent),
    ComparisonRecord: lambda one: comparison_page(one.result),
    SuiteRecord: lambda one: suite_page(one.result),
}
# What such a page may hold, and the key of each one's name.
_PARTS = {"plots": "title", "tables": "title", "curves": "title", "comparisons": "title", "models": "name"}
_MOST_STEPS = 3


def content_of(documents: Documents, title: str | None = None) -> dict[str, Any]:
    """The report's input for results of any kind, see `report.render`; `analyses` are `AnalysisRecord`s."""
    remarks = Remarks()
    models, warnings = reported_models(documents)
    for text in [*warnings, *provenance.teachers(documents)]:
        remarks.warn(text)
    latency = _latency(documents, models, remarks)
    rows = models_of(models, latency, remarks)
    if rows:
        remarks.note(ATTACKS)
    pages, steps = _pages(documents, remarks)
    content = {
        "bitface": bitface.__version__,
        "title": title or _title(models, documents),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "headline": headline(rows[0]) if len(rows) == 1 else None,
        "models": [*rows, *pages.pop("models")],
        "curves": [*curves_of(models), *pages.pop("curves")],
        **pages,
        "analyses": _analyses(documents, models, remarks),
        "latency": latency,
        "next": [*_next(models, documents), *steps][:_MOST_STEPS],
        "provenance": provenance.facts(models, documents),
        **remarks.to_json(),
    }
    return {key: value for key, value in content.items() if value}


def _title(models: Sequence[ReportedModel], documents: Documents) -> str:
    names = [one.name for one in models]
    if not names:
        return f"{documents[0].path.resolve().parent.name}: report"
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} models"


def _latency(documents: Documents, models: Sequence[ReportedModel], remarks: Remarks) -> dict[str, Any] | None:
    """The rows of all benches, as one section; of several, a model's folder tells its rows from others'."""
    benches = list(of_kind(documents, BenchRecord))
    labels = {model.path.resolve(): model.labels[0] for model in models} if len(benches) > 1 else {}
    rows: list[dict[str, Any]] = []
    for one in benches:
        for row in one.result.rows:
            label = labels.get((one.path.parent / row.model).resolve(), row.model)
            rows.append({**asdict(row), "model": label, "fingerprint": one.result.fingerprints.get(row.model)})
        remarks.take([*one.result.warnings, *slower_in_integers(one.result.rows)], one.result.notes)
    if len(benches) > 1:
        remarks.warn(f"times of {len(benches)} runs of bench: only ratios inside one run mean much")
    machines = dict.fromkeys(one.result.machine for one in benches)
    return {"machine": "; ".join(machines), "rows": rows} if rows else None


def _next(models: Sequence[ReportedModel], documents: Documents) -> list[Step]:
    """What isn't known yet of the first artifact, and what an analysis says to try."""
    steps = [
        {"words": "What to try against the loss that was found", "command": one.result.diagnosis.command}
        for one in of_kind(documents, AnalysisRecord)
    ][:1]
    for model in models:
        if not isinstance(model.result, QuantizationRecord):
            continue
        teacher, folder = model.result.model.path, model.path.parent
        if not model.evaluations:
            steps.append(next_steps.evaluation(model.path, folder))
        if not any(of_kind(documents, BenchRecord)):
            steps.append(next_steps.latency([teacher, model.path], folder))
        steps.append(next_steps.trial(model.path, teacher) if model.thresholds else next_steps.calibration(model.path))
        break
    return steps


def _pages(documents: Documents, remarks: Remarks) -> tuple[dict[str, list[dict[str, Any]]], list[Step]]:
    """Plots, tables, curves, comparisons and plans of results that have pages of their own, under that page's title;
    and the commands that these pages end with.
    """
    pages = [
        (document, _PAGES[type(document.result)](document)) for document in documents if type(document.result) in _PAGES
    ]
    names = told_apart([(page["title"], document.path) for document, page in pages])
    parts: dict[str, list[dict[str, Any]]] = {key: [] for key in _PARTS}
    for name, (_, page) in zip(names, pages, strict=True):
        for key, word in _PARTS.items():
            parts[key] += [{**one, word: f"{name}: {one[word]}"} for one in page.get(key, ())]
        remarks.take(page["warnings"], page["notes"], name)
    return parts, [step for _, page in pages for step in page.get("next", ())]


def _analyses(documents: Documents, models: Sequence[ReportedModel], remarks: Remarks) -> list[AnalysisRecord]:
    """The analyses, under the names of their students where those are models of the report."""
    students = {model.fingerprint: model.name for model in models if model.fingerprint}
    analyses = list(of_kind(documents, AnalysisRecord))
    titles = [students.get(one.result.student.fingerprint, one.result.title) for one in analyses]
    names = told_apart(list(zip(titles, (one.path for one in analyses), strict=True)))
    for name, one in zip(names, analyses, strict=True):
        remarks.take(one.result.warnings, one.result.notes, name)
    return [one.result.but(title=name) for name, one in zip(names, analyses, strict=True)]
