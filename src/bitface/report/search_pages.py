"""The pages of `bitface sensitivity` and `bitface search`: their results as the report's plots and tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.analysis.probe import ACTIVATIONS, WEIGHTS
from bitface.report import format, next_steps
from bitface.report.tables import percent
from bitface.results.search import SearchedPlan, SearchRecord
from bitface.results.sensitivity import SensitivityRecord, UnitCost
from bitface.search.sweep import BLOCK

_TITLES = {WEIGHTS: "Weights alone in few bits", ACTIVATIONS: "Activations alone in few bits"}
_BLOCK_TITLES = {
    WEIGHTS: "All weights of one block in few bits",
    ACTIVATIONS: "All activations that one block reads in few bits",
}


def sensitivity_page(table: SensitivityRecord) -> dict[str, Any]:
    """The report's input for a sweep."""
    faces, blocks = table.faces.measured, table.by == BLOCK
    plots, tables = [], []
    for part, title in (_BLOCK_TITLES if blocks else _TITLES).items():
        rows = [row for row in table.units if row.part == part]
        if not rows:
            continue
        names = list(dict.fromkeys(row.name for row in rows))
        plots.append(_by_layer(rows, names, "cost", title, f"1 - cosine, mean of {faces} faces", True))
        if table.pairs:
            label = f"verification accuracy, {table.pairs.count} pairs"
            plots.append(_by_layer(rows, names, "accuracy", f"{title}: verification", label, False))
        tables.append(_costs(rows, names, title))
    tables.append(_correlations(table.correlations))
    return {
        "title": f"{table.model.name}: sensitivity{' by block' if blocks else ''}",
        "subtitle": f"What rounding one {'block' if blocks else 'tensor'} alone does to the embedding, everything else "
        "in floating point",
        "created": table.created,
        "about": table.model.name,
        "warnings": list(table.warnings),
        "notes": list(table.notes),
        "plots": plots,
        "tables": tables,
        "next": [next_steps.search(table.model.path)],
        "provenance": _provenance(table),
    }


def search_page(result: SearchRecord, folder: Path | None = None) -> dict[str, Any]:
    """The report's input for a search; `folder` is where its plans lie, as far as anybody knows."""
    # Bytes and mean bits of weights are the same axis.
    timed, best = result.budget.axis == "milliseconds", result.best
    points, uniform = result.front, result.uniform
    columns = ["Plan", *(["ms"] if timed else []), "Weights", "Mean bits", "Agreement", "File"]
    rows = [
        [
            f"{point.label} (for {result.budget.word})" if point == best else point.label,
            *([f"{point.milliseconds:.3f}"] if timed else []),
            format.size(point.weight_bytes),
            f"{point.mean_bits:.2f}",
            f"{point.agreement:.5f}",
            point.file or "",
        ]
        for point in [*points, *uniform]
    ]
    return {
        "title": f"{result.model.name}: bit plans",
        "subtitle": "Agreement with the float network, against " + ("time" if timed else "bytes of packed weights"),
        "created": result.created,
        "headline": [
            {"label": f"plan for {result.budget.word}", "value": best.label, "note": best.file},
            {
                "label": "agreement with the teacher",
                "value": f"{best.agreement:.4f}",
                "note": f"mean cosine of {result.faces.reported} faces that chose nothing",
            },
        ],
        "about": result.model.name,
        "warnings": list(result.warnings),
        "notes": list(result.notes),
        "plots": [_curve(result)],
        "tables": [{"title": "Plans", "columns": columns, "rows": rows}, *judged_plans(result)],
        "next": [next_steps.quantization(result.model.path, (folder or Path()) / str(best.file), "out/")],
        "models": [{"name": f"plan for {result.budget.word}", "layers": [layer.to_json() for layer in result.layers]}],
        "provenance": _provenance(result),
    }


def _curve(result: SearchRecord) -> dict[str, Any]:
    """What each plan costs and keeps, with the budget as a line and the plan that was taken for it."""
    best, budget = result.best, result.budget
    timed = budget.axis == "milliseconds"
    plans = [*result.front, *result.uniform]
    divisor, unit = (1.0, "ms") if timed else format.size_unit(max(plan.weight_bytes for plan in plans))

    def points(rows: Sequence[SearchedPlan]) -> list[tuple[float, float, str]]:
        return [
            ((row.milliseconds or 0.0) if timed else row.weight_bytes / divisor, row.agreement,
             f"{row.label}: {row.agreement:.5f}")
            for row in rows
        ]  # fmt: skip

    # So many bits of a weight are so many bytes of all.
    factor = best.weight_bytes / best.mean_bits if budget.axis == "mean_bits" else 1.0
    named = (("searched", result.front), ("uniform", result.uniform))
    series = [{"name": name, "joined": True, "points": points(rows)} for name, rows in named if rows]
    return {
        "title": "What a budget buys",
        "x": {"label": "milliseconds" if timed else f"packed weights, {unit}"},
        "y": {"label": "agreement (mean cosine)"},
        "series": [*series, {"name": f"taken for {budget.word}: {best.label}", "points": points([best])}],
        "limits": [(factor * budget.value / divisor, f"budget {budget.word}")],
    }


def judged_plans(result: SearchRecord) -> list[dict[str, Any]]:
    """What the protocol says of the float network and of every plan."""
    if result.protocol is None:
        return []
    rows = [("float", result.float_figures), *((row.label, row.figures) for row in result.front)]
    names = list(dict.fromkeys(figure.name for _, figures in rows for figure in figures))
    lines = []
    for label, figures in rows:
        percentages = {figure.name: percent(figure, intervals=True) for figure in figures}
        lines.append([label, *(percentages.get(name, "–") for name in names)])
    return [{"title": f"Plans on {result.protocol}, % [95 % interval]", "columns": ["Plan", *names], "rows": lines}]


def _by_layer(rows: list[UnitCost], names: list[str], key: str, title: str, label: str, log: bool) -> dict[str, Any]:
    place = {name: number for number, name in enumerate(names, 1)}
    widths = list(dict.fromkeys(row.bits for row in rows))
    series = [
        {
            "name": f"{bits} bits",
            "joined": True,
            "points": [
                (place[row.name], value, f"{row.name}, {bits} bits: {value:.3g}")
                for row in rows
                if row.bits == bits and (value := getattr(row, key)) is not None
            ],
        }
        for bits in widths
    ]
    axis = {"label": label, "log": log}
    return {"title": title, "x": {"label": "from image to embedding", "names": names}, "y": axis, "series": series}


def _costs(rows: list[UnitCost], names: list[str], title: str) -> dict[str, Any]:
    widths = list(dict.fromkeys(row.bits for row in rows))
    of = {(row.name, row.bits): row for row in rows}
    judged, blocks = rows[0].accuracy is not None, bool(rows[0].tensors)
    columns = ["", "Block" if blocks else "Tensor", *(f"{bits} bits" for bits in widths)]
    columns += [f"accuracy at {bits}" for bits in widths] if judged else []
    columns += ["Tensors"] if blocks else []
    lines = []
    for number, name in enumerate(names, 1):
        line = [str(number), name, *(f"{of[name, bits].cost:.3g}" for bits in widths)]
        line += [f"{of[name, bits].accuracy or 0:.2%}" for bits in widths] if judged else []
        line += [", ".join(of[name, widths[0]].tensors)] if blocks else []
        lines.append(line)
    return {"title": f"{title}: 1 - cosine", "columns": columns, "rows": lines}


def _correlations(correlations: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, Any]:
    keys = [(part, bits) for part, values in next(iter(correlations.values())).items() for bits in values]
    lines = [
        [name, *("" if (value := parts[part][bits]) is None else f"{value:.3f}" for part, bits in keys)]
        for name, parts in correlations.items()
    ]
    columns = ["Proxy", *(f"{part}, {bits}{' bits' if bits != 'all' else ''}" for part, bits in keys)]
    return {"title": "Proxies: rank correlation with the sweep (Spearman)", "columns": columns, "rows": lines}


def _provenance(result: SensitivityRecord | SearchRecord) -> dict[str, Any]:
    return {
        "model": result.model.path,
        "teacher fingerprint": result.model.fingerprint,
        "preprocessing": str(result.model.preprocess),
        **{f"faces, {key}": value for key, value in result.faces.to_json().items()},
        **result.machine,
    }
