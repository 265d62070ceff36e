"""What the report says of each model: what `quantize` made, what `evaluate` found, what `bench` took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.report import evaluation_tables, format
from bitface.report.derivation import float_model, steps
from bitface.report.grouping import ReportedModel, ancestors
from bitface.report.quantization import model_of
from bitface.report.remarks import Remarks
from bitface.results.evaluation import BaselineEvaluation, EvaluationRecord
from bitface.results.quantization import QuantizationRecord

Section = dict[str, Any]

_SHOWN = ("accuracy", "protocol", "auc", "eer", "tar", "counts")


def models_of(models: Sequence[ReportedModel], latency: Section | None, remarks: Remarks) -> list[Section]:
    """The report's models, see `report.render`; `latency` is its section."""
    several = len({test_of(one.result) for model in models for one in model.evaluations}) > 1
    rows = []
    for model in models:
        row: Section = {"name": model.name}
        before: list[ReportedModel] = []
        if result := model.result:
            own = model_of(result) if isinstance(result, QuantizationRecord) else float_model(result)
            row = {**own, **row}
            remarks.take(result.warnings, result.notes, model.name)
            if left := len(row.get("unquantized", ())):
                words = f"{left} tensor{'s' * (left != 1)} in floating point, each listed below"
                remarks.note(words, model.name)
            before = ancestors(model, models)
        tables = [*row.get("tables", ()), *([steps([*before, model])] if before else ())]
        row |= _evaluated(model, several, remarks)
        row["tables"] = [*tables, *row["tables"]]
        row["latency"] = _own_time(model, models, latency, remarks)
        rows.append({key: value for key, value in row.items() if value or key == "unquantized"})
    return rows


def _evaluated(model: ReportedModel, several: bool, remarks: Remarks) -> Section:
    """What evaluations say of a model; `several`: not all were made on the same list."""
    row: Section = {"evaluation": [], "figures": [], "scores": [], "tables": []}
    for document in model.evaluations:
        result = document.result
        row["evaluation"] += _columns(result)
        row["figures"] += _figures(result, several)
        row["scores"] += _scores(result)
        row["tables"] += evaluation_tables.tables(result)
        remarks.take(result.warnings, result.notes, model.name)
        if text := _unsupported(result):
            remarks.note(text)
    if model.thresholds and not any(one.result.stored_thresholds for one in model.evaluations):
        row["tables"].append(evaluation_tables.stored(model.thresholds))
    return row


def test_of(result: EvaluationRecord) -> str:
    """What an evaluation was made on, in words."""
    flip = ", flipped images added" if result.flip else ""
    return f"{Path(result.pairs).name}, {result.protocol}{flip}"


def _columns(result: EvaluationRecord) -> list[Section]:
    if result.accuracy is None:
        return []
    columns = [{"label": f"{result.precision} ({result.engine}), {test_of(result)}", "result": _shown(result)}]
    if baseline := result.baseline:
        label = f"baseline {Path(baseline.model).name}, {test_of(result)}"
        columns.append({"label": label, "result": _shown(baseline)})
    return columns


def _shown(result: EvaluationRecord | BaselineEvaluation) -> Section:
    content = result.to_json()
    return {key: content[key] for key in _SHOWN}


def _figures(result: EvaluationRecord, several: bool) -> list[Section]:
    """Accuracy, and TAR at each FAR that the data supports, the strictest last."""
    of, accuracy = f" ({test_of(result)})" if several else "", result.accuracy
    if accuracy is None:  # of a protocol without folds: its own figures
        return [{**one.to_json(), "name": f"{one.name}{of}"} for one in result.figures if one.value is not None]
    figures: list[Section] = [
        {"name": f"accuracy{of}", "value": accuracy.mean, "interval": accuracy.interval.to_json()}
    ]
    for point in sorted(result.tar, key=lambda one: -one.far):
        if point.tar is not None:
            interval = point.interval.to_json() if point.interval else None
            figures.append({"name": f"TAR at FAR {point.far:g}{of}", "value": point.tar, "interval": interval})
    return figures


def _scores(result: EvaluationRecord) -> list[Section]:
    """The histograms of the model and of its baseline, where the evaluation holds them."""
    sides = {result.precision: result.bins, "baseline": result.baseline.bins if result.baseline else None}
    bins = {name: one.to_json() for name, one in sides.items() if one}
    return [{"title": test_of(result), "sides": bins}] if bins else []


def _unsupported(result: EvaluationRecord) -> str | None:
    points = [point for point in result.tar if point.tar is None]
    if not points:
        return None
    fars = ", ".join(f"{point.far:g}" for point in points)
    return f"{test_of(result)}: no TAR at FAR {fars} ({points[0].reason})"


def _own_time(
    model: ReportedModel, models: Sequence[ReportedModel], latency: Section | None, remarks: Remarks
) -> dict[str, Any] | None:
    """A model's time for the overview: of the smallest batch on the fewest threads, of the fastest engine.

    Files of many networks have one name: where both fingerprints are known they decide.
    """
    full, short = model.labels
    alone = [one for one in models if one.labels[1] == short] == [model]
    names = (full, short) if alone else (full,)
    named = [row for row in (latency or {}).get("rows", ()) if row["model"] in names]
    rows = [row for row in named if not model.fingerprint or row.get("fingerprint") in (None, model.fingerprint)]
    if len(rows) < len(named):
        remarks.warn(f"the times of {named[0]['model']} are of another network than {model.name}, and aren't its own")
    return min(rows, key=lambda row: (row["batch"], row["threads"], row["median_ms"]), default=None)


def headline(model: dict[str, Any]) -> list[dict[str, str]]:
    """Size, speed and accuracy of the only model, each with its interval."""
    figures = []
    if files := model.get("files"):
        size, whole = files[0]["bytes"], model["float_bytes"]
        note = f"{whole / size:.1f}x smaller than the teacher's float32 weights"
        figures.append({"label": "size", "value": format.size(size), "note": note})
    if time := model.get("latency"):
        where = f"{time['engine']}, batch {time['batch']}, threads {time['threads']}"
        figures.append({"label": "time", "value": format.milliseconds(time["median_ms"]), "note": where})
    if time and not format.missing(time.get("ratio")):
        low, high = map(format.number, time["ratio_interval"])
        note = f"as fast as {time['baseline']}; {low}–{high} (95 %)"
        figures.append({"label": "speed", "value": format.ratio(time["ratio"]), "note": note})
    for figure in model.get("figures") or ():
        if figure["name"].startswith("accuracy") or figure is model["figures"][-1]:
            note = f"{format.interval(figure['interval'])} (95 %)"
            figures.append({"label": figure["name"], "value": format.percent(figure["value"]), "note": note})
    if agreement := model.get("agreement"):
        engine, row = next(iter(agreement.items()))
        note = f"mean cosine of {row['count']} held-out faces to the teacher's, {engine}"
        figures.append({"label": "agreement", "value": format.unit(row["mean"]), "note": note})
    return figures


def curves_of(models: Sequence[ReportedModel]) -> list[Section]:
    """A group of curves for each list: every model, and every baseline once that isn't among them."""
    groups: dict[str, list[Section]] = {}
    baselines: list[tuple[str, Section]] = []
    for model in models:
        for document in model.evaluations:
            result = document.result
            engine = f" ({result.engine})" if len(model.evaluations) > 1 else ""
            groups.setdefault(test_of(result), []).extend(_curve(f"{model.name}{engine}", result))
            if baseline := result.baseline:
                curve = _curve(f"baseline {Path(baseline.model).name}", baseline)
                baselines += [(test_of(result), one) for one in curve]
    for title, one in baselines:
        if all(one["fingerprint"] != other["fingerprint"] for other in groups[title]):
            groups[title].append(one)
    return [{"title": title, "series": group} for title, group in groups.items() if group]


def _curve(name: str, result: EvaluationRecord | BaselineEvaluation) -> list[Section]:
    """A curve, where the result holds one."""
    if result.roc is None:
        return []
    tar = [point.to_json() for point in result.tar]
    return [{"name": name, "roc": result.roc.to_json(), "tar": tar, "fingerprint": result.fingerprint}]
