"""What evaluations say beside their figures, as tables of text: baselines, mixed galleries, thresholds, groups."""

from collections.abc import Sequence
from typing import Any

from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.intervals import Interval
from bitface.evaluation.figures.match_errors import ErrorRate
from bitface.evaluation.mixed import MixedCell
from bitface.report.tables import percent
from bitface.results.evaluation import EvaluationRecord, FigureDifference, GroupTables, PairedTests, TargetRates

Table = dict[str, Any]


def tables(evaluation: EvaluationRecord) -> list[Table]:
    """The tables of one evaluation; what it doesn't hold has none."""
    candidates = [_thresholds(evaluation), _errors(evaluation)]
    if baseline := evaluation.baseline:
        candidates += [beside(baseline.comparison), _mixed(baseline.mixed)]
    if evaluation.groups:
        candidates += [_groups(evaluation.groups), _spread(evaluation.groups)]
    return [table for table in candidates if table["rows"]]


def _thresholds(evaluation: EvaluationRecord) -> Table:
    """Where the model decides: thresholds found here, and what those stored in the artifact do here."""
    rows = []
    for point in evaluation.tar:
        if point.threshold is not None and point.tar is not None:
            tar = percent(Figure("TAR", point.tar, point.interval))
            rows.append(["found here", f"{point.far:g}", f"{point.threshold:.4f}", f"{point.reached:.3g}", tar])
    for rates in evaluation.stored_thresholds:
        origin = "stored, extrapolated" if rates.extrapolated else "stored"
        rows.append([origin, f"{rates.target:g}", f"{rates.threshold:.4f}", _far(rates), _tar(rates)])
    columns = ["Threshold", "For FAR", "Cosine", "FAR here", "TAR here, %"]
    return {"title": "Thresholds", "columns": columns, "rows": rows}


def _errors(evaluation: EvaluationRecord) -> Table:
    """FMR and FNMR with the errors that each stands on, and images that gave no embedding (ISO/IEC 19795-1)."""
    rows = []
    for one in evaluation.match_errors:
        for name, rate in (("FMR", one.fmr), ("FNMR", one.fnmr)):
            if rate is not None:
                rows.append([f"{name} at FAR {one.far:g}", *_counted(rate)])
    if (acquired := evaluation.failure_to_acquire) and rows:
        rows.append(["FTA", *_counted(acquired)])
    return {
        "title": "Errors (ISO/IEC 19795-1)",
        "caption": "FMR and FNMR: of the comparisons that took place, at the threshold of a FAR. FTA: images without "
        "an embedding; FAR and TAR count theirs as rejected.",
        "columns": ["Rate", "Value", "Errors", "Of", "Remark"],
        "rows": rows,
    }


def _counted(rate: ErrorRate) -> list[str]:
    bounds = f"[{rate.interval.low:.3g}, {rate.interval.high:.3g}]"
    return [f"{rate.rate:.3g} {bounds}", f"{rate.errors:,}", f"{rate.trials:,}", rate.remark or ""]


def stored(thresholds: list[dict[str, Any]]) -> Table:
    """The thresholds in an artifact, where no evaluation says what they do elsewhere."""
    rows = []
    for one in thresholds:
        bounds = one.get("expected")
        expected = f"[{bounds['low']:.3g}, {bounds['high']:.3g}]" if bounds else "–"
        expected += " (extrapolated)" if one.get("extrapolated") else ""
        rows.append([f"{one['far']:g}", f"{one['threshold']:.4f}", expected, str(one.get("data") or "–")])
    columns = ["For FAR", "Cosine", "FAR to expect", "Found on"]
    return {"title": "Thresholds in the artifact", "columns": columns, "rows": rows}


def _far(rates: TargetRates) -> str:
    bounds = rates.far_interval
    return f"{rates.far:.3g} [{bounds.low:.3g}, {bounds.high:.3g}]"


def _tar(rates: TargetRates) -> str:
    return percent(Figure("TAR", rates.tar, rates.tar_interval))


def beside(comparison: PairedTests) -> Table:
    """The paired tests of a model and its baseline."""
    test = comparison.mcnemar
    rows = []
    if test is None:
        return _changes(comparison.changes)
    for one in comparison.differences:
        bounds, reused = one.interval, one.reused
        change = f"{100 * one.change:+.2f} [{100 * bounds.low:+.2f}, {100 * bounds.high:+.2f}]"
        rates = [f"{reused.far:.3g}", f"{100 * reused.tar:.2f}"] if reused else ["–", "–"]
        rows.append([f"{one.far:g}", f"{100 * one.baseline:.2f}", f"{100 * one.model:.2f}", change, *rates])
    return {
        "title": "Beside the baseline",
        "caption": f"{test.flipped} decisions of the list differ, {test.b} for the worse and {test.c} for the "
        f"better (McNemar p = {test.p:.3g}). TAR and its change in per cent; the last two columns are the "
        "model at the baseline's threshold.",
        "columns": ["FAR", "TAR, baseline", "TAR, model", "Change", "FAR, reused", "TAR, reused"],
        "rows": rows,
    }


def _changes(changes: Sequence[FigureDifference]) -> Table:
    rows = []
    for one in changes:
        change = f"{100 * one.change:+.2f} [{100 * one.interval.low:+.2f}, {100 * one.interval.high:+.2f}]"
        rows.append([one.name, f"{100 * one.baseline:.2f}", f"{100 * one.model:.2f}", change, f"{one.mcnemar.p:.3g}"])
    return {
        "title": "Beside the baseline",
        "caption": "In per cent; p of McNemar's test.",
        "columns": ["Figure", "Baseline", "Model", "Change", "p"],
        "rows": rows,
    }


def _mixed(cells: Sequence[MixedCell]) -> Table:
    names = list(dict.fromkeys(figure.name for cell in cells for figure in cell.figures))
    names = [name for name in names if name not in ("AUC", "EER")]
    rows = []
    for cell in cells:
        figures = {figure.name: percent(figure) for figure in cell.figures}
        rows.append([cell.gallery, cell.probe, *(figures.get(name, "–") for name in names)])
    return {
        "title": "Mixed galleries",
        "caption": "Embeddings of one model in the gallery, of the other as probes; per cent, with 95 % intervals.",
        "columns": ["Gallery", "Probes", *names],
        "rows": rows,
    }


def _groups(groups: GroupTables) -> Table:
    """Both rates of each group at everybody's thresholds."""
    rows = [
        [f"{row.attribute}: {row.group}", f"{row.images:,}", f"{rates.target:g}", _far(rates), _tar(rates)]
        for row in groups.model
        for rates in row.rates
    ]
    return {
        "title": "Groups of people",
        "caption": "What everybody's thresholds do in each group.",
        "columns": ["Group", "Images", "FAR of everybody", "FAR", "TAR, %"],
        "rows": rows,
    }


def _spread(groups: GroupTables) -> Table:
    """How far groups lie apart at everybody's threshold, of the model and of its baseline."""
    before = {(one.attribute, one.target, one.rate): one for one in groups.baseline_spread}
    rows = []
    for one in groups.spread:
        old = before.get((one.attribute, one.target, one.rate))
        cells = [
            _ratio(one.worst_to_mean, one.worst_to_mean_interval),
            _ratio(one.worst_to_best, one.worst_to_best_interval),
        ]
        if before:
            cells += [_ratio(old.worst_to_mean, old.worst_to_mean_interval) if old else "–"]
        rows.append([one.attribute, f"{one.rate} at FAR {one.target:g}", one.worst, *cells, one.reason or ""])
    columns = ["Attribute", "Rate", "Worst group", "Worst / mean", "Worst / best"]
    return {
        "title": "Differences between groups",
        "caption": "At everybody's threshold, with 95 % intervals: the worst group's rate over the geometric mean of "
        "all groups', and over the best one's.",
        "columns": [*columns, *(["Worst / mean, baseline"] if before else []), "Remark"],
        "rows": rows,
    }


def _ratio(value: float | None, bounds: Interval | None) -> str:
    return "–" if value is None or bounds is None else f"{value:.2f} [{bounds.low:.2f}, {bounds.high:.2f}]"
