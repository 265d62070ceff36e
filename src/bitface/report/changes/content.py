"""The page about two results: headline, tables of before and after, both plans, and what can't be compared."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import bitface
from bitface.report import next_steps, provenance
from bitface.report.changes import costs, figures, plans
from bitface.report.changes.side import Side
from bitface.report.grouping import told_apart
from bitface.report.models import curves_of
from bitface.report.remarks import Remarks
from bitface.results.base import StoredResult
from bitface.results.documents import Document
from bitface.results.quantization import QuantizationRecord


def changes_of(before: Side, after: Side, title: str | None = None) -> dict[str, Any]:
    """The report's input (see `report.render`) for what changed from one result to the other.

    What only one of them holds has no table, and a note says so.
    """
    sides = (before, after)
    models = [side.model for side in sides]
    names = told_apart([(one.name, one.origin.path if one.origin else one.path) for one in models])
    for model, name in zip(models, names, strict=True):
        model.name = name
    documents = [*before.documents, *after.documents]
    remarks, tests = _remarks(sides, names, documents), figures.common_tests(before, after)
    for test in tests:
        if text := figures.other_images(*test):
            remarks.warn(text)
    paired = figures.decisions(before, after, names)
    tables = [
        *(table for test in tests for table in
          (figures.accuracy(*test, names), figures.operating_points(*test, names))),
        figures.thresholds(before, after, names),
        costs.sizes(before, after, names),
        costs.times(before, after, names),
        plans.plan(before, after, names),
        costs.engines(before, after, names),
        *paired,
    ]  # fmt: skip
    _missing(sides, tests, paired, remarks)
    content = {
        "bitface": bitface.__version__,
        "title": title or f"{names[0]} → {names[1]}",
        "subtitle": f"What changed from {names[0]} to {names[1]}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "headline": [*costs.headline(before, after), *figures.headline(tests)],
        "changes": [table for table in tables if table["rows"]],
        "models": [
            {"name": name, "bits": result.bits, "layers": [layer.to_json() for layer in result.layers]}
            for name, model in zip(names, models, strict=True)
            if isinstance(result := model.result, QuantizationRecord)
        ],
        "curves": curves_of(models),
        "next": [] if paired else [next_steps.paired(before.model.path, after.model.path)],
        "provenance": provenance.facts(models, documents),
        **remarks.to_json(),
    }
    return {key: value for key, value in content.items() if value}


def _remarks(sides: Sequence[Side], names: Sequence[str], documents: Sequence[Document[StoredResult]]) -> Remarks:
    """What each result warns of, and that they are of different networks where they are."""
    remarks = Remarks()
    for text in provenance.teachers(documents):
        remarks.warn(text)
    for side, name in zip(sides, names, strict=True):
        for text in side.warnings:
            remarks.warn(text, name)
        for result in (side.model.result, *side.evaluations):
            if result is not None:
                remarks.take(result.warnings, (), name)
    return remarks


def _missing(sides: Sequence[Side], tests: Sequence[Any], paired: Sequence[Any], remarks: Remarks) -> None:
    """Notes on what can't be compared."""
    if not tests:
        has = [side.model.name for side in sides if side.evaluations]
        remarks.note(
            "accuracy isn't compared: " + (f"only {has[0]} was evaluated" if len(has) == 1 else
            "both were evaluated, but on different tests" if has else "neither was evaluated")
        )  # fmt: skip
    if not paired:
        remarks.note("which decisions flipped isn't known: neither result holds the scores of the other's pairs")
    before, after = sides
    if before.times and after.times and not before.times.keys() & after.times.keys():
        remarks.note("times aren't compared: they were measured on different engines, batches or threads")
