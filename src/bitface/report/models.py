"""What the report says of each model: what `quantize` made, what `evaluate` found, what `bench` took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.report import evaluation_tables, format
from bitface.report.derivation import learned, steps
from bitface.report.grouping import Subject, ancestors
from bitface.report.quantization import model_of
from bitface.report.remarks import Remarks
from bitface.results.documents import QUANTIZATION, reading

Section = dict[str, Any]

_SHOWN = ("accuracy", "protocol", "auc", "eer", "tar", "counts")


def models_of(found: Sequence[Subject], latency: Section | None, remarks: Remarks) -> list[dict[str, Any]]:
    """The report's models, see `report.render`; `latency` is its section."""
    several = len({_list(one.content) for model in found for one in model.evaluations}) > 1
    models = []
    for model in found:
        row: dict[str, Any] = {"name": model.name}
        before: list[Subject] = []
        if model.result:
            with reading(model.result):
                made = model_of if model.of(QUANTIZATION) else learned
                row = {**made(model.result.content), **row}
                remarks.take(model.result.content, model.name)
                if left := len(row.get("unquantized", ())):
                    words = f"{left} tensor{'s' * (left != 1)} in floating point, each listed below"
                    remarks.note(words, model.name)
                before = ancestors(model, found)
        own = [*row.get("tables", ()), *([steps([*before, model])] if before else ())]
        row |= _evaluated(model, several, remarks)
        row["tables"] = [*own, *row["tables"]]
        row["latency"] = _own_time(model, found, latency)
        models.append({key: value for key, value in row.items() if value or key == "unquantized"})
    return models


def _evaluated(model: Subject, several: bool, remarks: Remarks) -> Section:
    """What evaluations say of a model; `several`: not all were made on the same list."""
    row: Section = {"evaluation": [], "figures": [], "scores": [], "tables": []}
    for document in model.evaluations:
        with reading(document):
            result = document.content
            row["evaluation"] += _columns(result)
            row["figures"] += _figures(result, several)
            row["scores"] += _scores(result)
            row["tables"] += evaluation_tables.tables(result)
            remarks.take(result, model.name)
            if text := _unsupported(result):
                remarks.note(text)
    if model.stored and not any(one.content.get("stored_thresholds") for one in model.evaluations):
        row["tables"].append(evaluation_tables.stored(model.stored))
    return row


def _list(result: dict[str, Any]) -> str:
    """What an evaluation was made on, in words."""
    flip = ", flipped images added" if result.get("flip") else ""
    return f"{Path(str(result['pairs'])).name}, {result.get('protocol', 'list')}{flip}"


def _columns(result: dict[str, Any]) -> list[dict[str, Any]]:
    label = f"{result['precision']} ({result['engine']}), {_list(result)}"
    found = [{"label": label, "result": {key: result[key] for key in _SHOWN}}]
    if baseline := result.get("baseline"):
        shown = {key: baseline[key] for key in _SHOWN}
        found.append({"label": f"baseline {Path(baseline['model']).name}, {_list(result)}", "result": shown})
    return found


def _figures(result: dict[str, Any], several: bool) -> list[dict[str, Any]]:
    """Accuracy, and TAR at each FAR that the data supports, the strictest last."""
    of, accuracy = f" ({_list(result)})" if several else "", result["accuracy"]
    found = [{"name": f"accuracy{of}", "value": accuracy["mean"], "interval": accuracy["interval"]}]
    for point in sorted(result["tar"], key=lambda one: -one["far"]):
        if point["tar"] is not None:
            name = f"TAR at FAR {point['far']:g}{of}"
            found.append({"name": name, "value": point["tar"], "interval": point["interval"]})
    return found


def _scores(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The histograms of the model and of its baseline, where the evaluation holds them."""
    sides = {result["precision"]: result, "baseline": result.get("baseline") or {}}
    bins = {name: one["bins"] for name, one in sides.items() if one.get("bins")}
    return [{"title": _list(result), "sides": bins}] if bins else []


def _unsupported(result: dict[str, Any]) -> str | None:
    points = [point for point in result["tar"] if point["tar"] is None]
    if not points:
        return None
    fars = ", ".join(f"{point['far']:g}" for point in points)
    return f"{_list(result)}: no TAR at FAR {fars} ({points[0]['reason']})"


def _own_time(model: Subject, models: Sequence[Subject], latency: Section | None) -> dict[str, Any] | None:
    """A model's time for the overview: of the smallest batch on the fewest threads, of the fastest engine."""
    full, short = model.labels
    alone = [one for one in models if one.labels[1] == short] == [model]
    rows = [row for row in (latency or {}).get("rows", ()) if row["model"] == full or (alone and row["model"] == short)]
    return min(rows, key=lambda row: (row["batch"], row["threads"], row["median_ms"]), default=None)


def headline(model: dict[str, Any]) -> list[dict[str, str]]:
    """Size, speed and accuracy of the only model, each with its interval."""
    found = []
    if files := model.get("files"):
        size, whole = files[0]["bytes"], model["float_bytes"]
        note = f"{whole / size:.1f}x smaller than the teacher's float32 weights"
        found.append({"label": "size", "value": format.size(size), "note": note})
    if time := model.get("latency"):
        where = f"{time['engine']}, batch {time['batch']}, threads {time['threads']}"
        found.append({"label": "time", "value": format.milliseconds(time["median_ms"]), "note": where})
    if time and not format.missing(time.get("ratio")):
        low, high = map(format.number, time["ratio_interval"])
        note = f"as fast as {time['baseline']}; {low}–{high} (95 %)"
        found.append({"label": "speed", "value": format.ratio(time["ratio"]), "note": note})
    for figure in model.get("figures") or ():
        if figure["name"].startswith("accuracy") or figure is model["figures"][-1]:
            note = f"{format.interval(figure['interval'])} (95 %)"
            found.append({"label": figure["name"], "value": format.percent(figure["value"]), "note": note})
    if agreement := model.get("agreement"):
        engine, row = next(iter(agreement.items()))
        note = f"mean cosine of {row['count']} held-out faces to the teacher's, {engine}"
        found.append({"label": "agreement", "value": format.unit(row["mean"]), "note": note})
    return found


def curves_of(models: Sequence[Subject]) -> list[Section]:
    """A group of curves for each list: every model, and every baseline once that isn't among them."""
    groups: dict[str, list[Section]] = {}
    baselines: list[tuple[str, Section]] = []
    for model in models:
        for document in model.evaluations:
            with reading(document):
                result = document.content
                engine = f" ({result['engine']})" if len(model.evaluations) > 1 else ""
                groups.setdefault(_list(result), []).extend(_curve(f"{model.name}{engine}", result))
                if baseline := result.get("baseline"):
                    found = _curve(f"baseline {Path(baseline['model']).name}", baseline)
                    baselines += [(_list(result), one) for one in found]
    for title, one in baselines:
        if all(one["fingerprint"] != other["fingerprint"] for other in groups[title]):
            groups[title].append(one)
    return [{"title": title, "series": group} for title, group in groups.items() if group]


def _curve(name: str, result: Section) -> list[Section]:
    """A curve, where the result holds one."""
    return [{"name": name, **{key: result[key] for key in ("roc", "tar", "fingerprint")}}] if result.get("roc") else []
