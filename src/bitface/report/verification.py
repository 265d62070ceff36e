"""Verification results side by side: one column for each result, one row for each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitface.report import format


@dataclass(frozen=True)
class FigureCell:
    """A figure, its interval or other detail, and the footnote that explains why it is missing."""

    value: str
    detail: str = ""
    footnote: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class VerificationTable:
    """What the template writes. Footnotes are numbered from 1; warnings name the result they belong to."""

    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FigureCell, ...]], ...]
    footnotes: tuple[str, ...]
    methods: str
    warnings: tuple[str, ...]


def table(evaluations: Sequence[Mapping[str, Any]]) -> VerificationTable:
    """The table of a model's `evaluation`: a list of {"label", "result"}, see `page.render`."""
    results = [entry.get("result") or {} for entry in evaluations]
    labels = tuple(str(entry.get("label", "")) for entry in evaluations)
    reasons: list[str] = []
    rows = [
        ("Accuracy", tuple(_accuracy(result.get("accuracy") or {}) for result in results)),
        ("AUC", tuple(FigureCell(format.unit(result.get("auc"))) for result in results)),
        ("EER", tuple(FigureCell(format.percent(result.get("eer"))) for result in results)),
    ]
    points = [{point.get("far"): point for point in result.get("tar") or ()} for result in results]
    fars = sorted({far for tars in points for far in tars if not format.missing(far)}, reverse=True)
    for far in fars:
        rows.append((f"TAR at FAR {format.far(far)}", tuple(_tar(tars.get(far), reasons) for tars in points)))
    rows += [
        (title, tuple(FigureCell(format.count((result.get("counts") or {}).get(key))) for result in results))
        for title, key in (("Genuine pairs", "genuine"), ("Impostor pairs", "impostor"))
    ]
    failed = [(result.get("counts") or {}).get("failed_images") for result in results]
    if any(failed):
        rows.append(("Failed images", tuple(FigureCell(format.count(number)) for number in failed)))
    return VerificationTable(
        labels,
        tuple(row for row in rows if any(cell.value != format.DASH for cell in row[1])),
        tuple(reasons),
        ", ".join(_methods(results)),
        tuple(
            f"{label}: {warning}"
            for label, result in zip(labels, results, strict=True)
            for warning in result.get("warnings") or ()
        ),
    )


def _accuracy(accuracy: Mapping[str, Any]) -> FigureCell:
    return FigureCell(
        format.spread(accuracy.get("mean"), accuracy.get("std")), format.interval(accuracy.get("interval"))
    )


def _tar(point: Mapping[str, Any] | None, reasons: list[str]) -> FigureCell:
    if point is None:
        return FigureCell(format.DASH)
    if point.get("tar") is None:
        reason = str(point.get("reason") or "too few impostor pairs")
        if reason not in reasons:
            reasons.append(reason)
        return FigureCell("not supported", "", reasons.index(reason) + 1, reason)
    return FigureCell(format.percent(point["tar"]), format.interval(point.get("interval")))


def _methods(results: Sequence[Mapping[str, Any]]) -> list[str]:
    intervals = [(result.get("accuracy") or {}).get("interval") for result in results]
    intervals += [point.get("interval") for result in results for point in result.get("tar") or ()]
    return sorted({str(interval["method"]) for interval in intervals if interval and interval.get("method")})
