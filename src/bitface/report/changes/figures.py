"""What changed in accuracy and in where a model decides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitface.evaluation.figures.figure import Figure
from bitface.report import evaluation_tables, format
from bitface.report.changes.side import Side, Table
from bitface.report.models import test_of
from bitface.report.tables import percent
from bitface.results.evaluation import EvaluationRecord

_VERDICT = "Beyond the intervals"


def common_tests(before: Side, after: Side) -> list[tuple[str, EvaluationRecord, EvaluationRecord]]:
    """The tests that both were put to: their words, and what each result says."""
    first = {test_of(one): one for one in before.evaluations}
    second = {test_of(one): one for one in after.evaluations}
    return [(name, first[name], second[name]) for name in first if name in second]


def other_images(name: str, before: EvaluationRecord, after: EvaluationRecord) -> str | None:
    """A warning where two tests of one name can't be the same one."""
    if before.counts == after.counts:
        return None
    return f"{name}: not the same pairs on both sides (their numbers differ), so what changed may be the test"


def accuracy(name: str, before: EvaluationRecord, after: EvaluationRecord, columns: Sequence[str]) -> Table:
    """Every figure with its interval on both sides."""
    first, second = _figures(before), _figures(after)
    rows = [[key, *_change(first[key], second[key])] for key in first if key in second]
    return {
        "title": f"Accuracy: {name}",
        "caption": "Per cent, with 95 % intervals. Intervals that don't meet are hardly chance; those that do may "
        "still differ, which a paired test on the same pairs would tell.",
        "columns": ["Figure", *columns, "Change", _VERDICT],
        "rows": rows,
    }


def operating_points(name: str, before: EvaluationRecord, after: EvaluationRecord, columns: Sequence[str]) -> Table:
    """Thresholds and TAR at each FAR that both support."""
    first, second = ({point.far: point for point in one.tar} for one in (before, after))
    rows = []
    for far in sorted(first.keys() & second.keys(), reverse=True):
        points = first[far], second[far]
        figures = [Figure("TAR", point.tar, point.interval) for point in points]
        rows.append([format.far(far), *(format.unit(point.threshold) for point in points), *_change(*figures)])
    words = [f"{word}, {column}" for word in ("Threshold", "TAR") for column in columns]
    return {
        "title": f"Operating points: {name}",
        "caption": "Each at its own threshold for the false accept rate; TAR in per cent, with 95 % intervals.",
        "columns": ["FAR", *words, "Change", _VERDICT],
        "rows": rows,
    }


def thresholds(before: Side, after: Side, columns: Sequence[str]) -> Table:
    """Those stored in the artifacts."""
    first, second = ({one["far"]: one for one in side.model.thresholds} for side in (before, after))
    rows = []
    for far in sorted(first.keys() | second.keys(), reverse=True):
        points = first.get(far, {}), second.get(far, {})
        words = [
            f"{format.unit(point.get('threshold'))}{' (extrapolated)' if point.get('extrapolated') else ''}"
            for point in points
        ]
        change = f"{points[1]['threshold'] - points[0]['threshold']:+.4f}" if all(points) else format.DASH
        rows.append([format.far(far), *words, change])
    title = "Thresholds in the artifacts"
    return {"title": title, "columns": ["FAR", *columns, "Change"], "rows": rows}


def decisions(before: Side, after: Side, columns: Sequence[str]) -> list[Table]:
    """Decisions that differ: by a paired test of one against the other, and by what each lost against its teacher."""
    return [*_paired(before, after), *_lost(before, after, columns), *_flipped(before, after, columns)]


def _paired(before: Side, after: Side) -> Iterator[Table]:
    for own, other, turned in ((after, before, ""), (before, after, ", the other way round")):
        for one in own.evaluations:
            if one.baseline and one.baseline.fingerprint == other.model.fingerprint:
                table = evaluation_tables.beside(one.baseline.comparison)
                yield {
                    **table,
                    "title": f"Paired on the same pairs: {own.model.name} against {other.model.name}{turned}",
                }


def _lost(before: Side, after: Side, columns: Sequence[str]) -> Iterator[Table]:
    """How many decisions of the teacher each lost, where an analysis on the same pairs says so."""
    for first, second in zip(before.analyses, after.analyses, strict=False):
        if not first.flips or not second.flips or first.teacher.fingerprint != second.teacher.fingerprint:
            continue
        points = {point.far: point for point in first.flips.points}
        rows = []
        for point in second.flips.points:
            other = points.get(point.far)
            if other and (other.genuine, other.impostor) == (point.genuine, point.impostor):
                lost = [one.rejected + one.accepted for one in (other, point)]
                rows.append([format.far(point.far), *map(format.count, lost), f"{lost[1] - lost[0]:+,}"])
        if rows:
            yield {
                "title": "Decisions of the teacher that were lost",
                "caption": "Pairs on which the network and its teacher decide differently, to the worse.",
                "columns": ["FAR", *columns, "Change"],
                "rows": rows,
            }


def _flipped(before: Side, after: Side, columns: Sequence[str]) -> Iterator[Table]:
    """The pairs that only one of the two lost, of those whose scores the analyses hold."""
    for first, second in zip(before.analyses, after.analyses, strict=False):
        if not first.flips or not second.flips or first.teacher.fingerprint != second.teacher.fingerprint:
            continue
        sides = [{(pair.left, pair.right): pair for pair in one.worst} for one in (first.flips, second.flips)]
        rows = []
        for key in dict.fromkeys([*sides[0], *sides[1]]):
            pair, other = (side.get(key) for side in sides)
            known = pair or other
            if known and (pair is None or other is None):
                scores = [format.unit(one.student) if one else "as its teacher" for one in (pair, other)]
                kind = "genuine" if known.same else "impostor"
                rows.append([f"{known.left} · {known.right}", kind, format.unit(known.teacher), *scores])
        if rows:
            yield {
                "title": "Flipped pairs",
                "caption": "Of the most damaged pairs of each analysis those that the other doesn't list; cosines.",
                "columns": ["Pair", "Kind", "Teacher", *columns],
                "rows": rows,
            }


def _figures(result: EvaluationRecord) -> dict[str, Figure]:
    if result.accuracy is None:
        return {one.name: one for one in result.figures}
    figures = [Figure("accuracy", result.accuracy.mean, result.accuracy.interval)]
    figures += [Figure(word, value) for word, value in (("AUC", result.auc), ("EER", result.eer)) if value is not None]
    return {one.name: one for one in figures}


def _change(before: Figure, after: Figure) -> list[str]:
    """Both figures, the change, and whether it is beyond the intervals."""
    if before.value is None or after.value is None:
        return [percent(before), percent(after), format.DASH, format.DASH]
    return [percent(before), percent(after), f"{100 * (after.value - before.value):+.2f}", verdict(before, after)]


def verdict(before: Figure, after: Figure) -> str:
    """Whether two intervals are apart; `–` where one is missing."""
    first, second = before.interval, after.interval
    if first is None or second is None:
        return format.DASH
    if second.low > first.high:
        return "yes, higher"
    return "yes, lower" if second.high < first.low else "no"


def headline(tests: Sequence[tuple[str, EvaluationRecord, EvaluationRecord]]) -> list[Mapping[str, Any]]:
    """The change of the first figure of the first test."""
    for name, before, after in tests:
        first, second = _figures(before), _figures(after)
        for key in first:
            if key in second and (change := _change(first[key], second[key]))[2] != format.DASH:
                known = {"no": "within the 95 % intervals", format.DASH: "without intervals"}
                words = known.get(change[3], "beyond the 95 % intervals")
                note = f"{change[0]} before, {change[1]} after, on {name}; {words}"
                return [{"label": f"{key}, points", "value": change[2], "note": note}]
    return []
