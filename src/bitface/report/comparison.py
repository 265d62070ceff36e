"""Results that hold many models, comparisons and suites, as the report's input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.report import next_steps
from bitface.report.tables import candidates, groups, protocols
from bitface.results.comparison import CandidateRow, ComparisonRecord
from bitface.results.suite import Cell, SuiteRecord, who

COSTS = {"bytes": "bytes", "milliseconds": "ms"}


def comparison_page(result: ComparisonRecord) -> dict[str, Any]:
    """The report's input for the result of `bitface compare`."""
    columns, cells = candidates(result, intervals=True)
    return {
        "title": f"Smaller versions of {Path(result.model).stem}",
        "created": result.created,
        "warnings": [
            *result.warnings,
            *(f"{row.name}: {row.error}" for row in result.rows if row.error),
            *(f"{row.name}: {text}" for row in result.rows for text in row.warnings),
        ],
        "notes": [
            f"at equal {name} (within 10 %): {', '.join(equal)} (best first)"
            for name, lists in result.equal.items()
            for equal in lists
        ],
        "comparisons": [
            {
                "title": "Comparison",
                "rows": [row.to_json() for row in result.rows],
                "drawings": [_drawing(result, name) for name in COSTS],
                "threads": result.threads,
                "frontier": {name: list(best) for name, best in result.frontier.items()},
                "table": {"columns": columns, "rows": cells},
            }
        ],
        "next": _next(result),
        "provenance": {
            "model": result.model,
            "pairs": result.pairs,
            **({"engine": result.engine} if result.engine else {}),
            **result.machine,
        },
    }


def _next(result: ComparisonRecord) -> list[next_steps.Step]:
    """What to do with the smallest candidate that nobody beats."""
    best = [row for row in result.rows if row.model and row.name in result.frontier.get("bytes", ())]
    small = min(best, key=lambda row: row.bytes or 0, default=None)
    if small is None or small.model is None:
        return []
    path = Path(small.model)
    if path.suffix == ".bitface":
        return [next_steps.calibration(path), next_steps.trial(path, result.model)]
    return [next_steps.quantization(small.model, None, "out/")]


def _drawing(result: ComparisonRecord, name: str) -> dict[str, Any]:
    """What `report.drawings.scatter` draws: every candidate at its cost, filled where nobody beats it."""
    points = []
    for number, row in enumerate(result.rows, 1):
        if row.error is None:
            figure = row.figure(result.ranked_by)
            points.append(
                {
                    "number": number,
                    "name": row.name,
                    "x": cost(row, COSTS[name]),
                    "y": figure.value,
                    "interval": figure.interval.to_json() if figure.interval else None,
                    "best": row.name in result.frontier[name],
                }
            )
    return {"unit": COSTS[name], "of": result.ranked_by, "points": points}


def cost(row: CandidateRow, unit: str) -> float:
    """What a candidate costs, in `bytes` or `ms`. Raises ValueError where nobody measured it."""
    if row.bytes is None or row.latency is None:
        raise ValueError(f"nobody measured what '{row.name}' costs")
    return float(row.bytes if unit == "bytes" else row.latency.median_ms)


def suite_page(result: SuiteRecord) -> dict[str, Any]:
    """The report's input for the result of a suite."""
    cells = result.cells
    tables: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for name in dict.fromkeys(cell.protocol for cell in cells):
        own = [cell for cell in cells if cell.protocol == name]
        tables += [_figures(name, own), *_groups(name, own)]
        series = [
            {"name": cell.sides, "roc": cell.result["roc"], "tar": cell.result["tar"]}
            for cell in own
            if cell.result.get("roc")
        ]
        curves += [{"title": name, "series": series}] if series else []
    skipped = [f"{name}: {count:,} images can't be used" for name, count in result.skipped.items()]
    return {
        "title": "Suite",
        "warnings": list(result.warnings),
        "notes": [*result.notes, *skipped, *_unsupported(cells)],
        "tables": tables,
        "curves": curves,
    }


def _figures(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """A row for each model, and for each mixed gallery."""
    ((_, names, rows),) = protocols(cells, intervals=True)
    mixed = any(cell.gallery != cell.probe for cell in cells)
    return {
        "title": name,
        "caption": "Per cent, with 95 % intervals" + ("; gallery of one model, probes of the other." if mixed else "."),
        "columns": [*(("Gallery", "Probes") if mixed else ("Model",)), *names],
        "rows": rows if mixed else [[row[0], *row[2:]] for row in rows],
    }


def _groups(name: str, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    columns, rows = groups(cells)
    caption = "What everybody's thresholds do in each group."
    title = f"{name}: groups of people"
    return [{"title": title, "caption": caption, "columns": columns, "rows": rows}] if rows else []


def _unsupported(cells: Sequence[Cell]) -> list[str]:
    """Why figures are missing, the same reason once."""
    names: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        for figure in cell.figures:
            if figure.value is None:
                where = who(cell) if "degenerate" in cell.result else cell.protocol
                names.setdefault((where, str(figure.reason)), {})[figure.name] = None
    return [f"{where}: no {', '.join(figures)} ({reason})" for (where, reason), figures in names.items()]
