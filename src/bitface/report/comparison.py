"""Results that hold many models, comparisons and suites, as the report's input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.report.tables import candidates, groups, protocols
from bitface.results.suite import Cell, who

COSTS = {"bytes": "bytes", "milliseconds": "ms"}


def comparison_page(content: dict[str, Any]) -> dict[str, Any]:
    """The report's input for the content of `comparison.json`."""
    rows = content["rows"]
    columns, cells = candidates(content, intervals=True)
    return {
        "title": f"Smaller versions of {Path(content['model']).stem}",
        "created": content["created"],
        "warnings": [
            *content.get("warnings", ()),
            *(f"{row['name']}: {row['error']}" for row in rows if row["error"]),
            *(f"{row['name']}: {text}" for row in rows for text in row.get("warnings") or ()),
        ],
        "notes": [
            f"at equal {name} (within 10 %): {', '.join(equal)} (best first)"
            for name, lists in content["equal"].items()
            for equal in lists
        ],
        "comparisons": [
            {
                "title": "Comparison",
                "rows": rows,
                "drawings": [_drawing(content, name) for name in COSTS],
                "threads": content["threads"],
                "frontier": content["frontier"],
                "table": {"columns": columns, "rows": cells},
            }
        ],
        "provenance": {"model": content["model"], "pairs": content["pairs"], **content["machine"]},
    }


def _drawing(content: dict[str, Any], name: str) -> dict[str, Any]:
    """What `report.scatter` draws: every candidate at its cost, filled where nobody beats it."""
    ranked = content["ranked_by"]
    points = []
    for number, row in enumerate(content["rows"], 1):
        if row["error"] is None:
            figure = figure_of(row, ranked)
            points.append(
                {
                    "number": number,
                    "name": row["name"],
                    "x": cost(row, COSTS[name]),
                    "y": figure["value"],
                    "interval": figure.get("interval"),
                    "best": row["name"] in content["frontier"][name],
                }
            )
    return {"unit": COSTS[name], "of": ranked, "points": points}


def cost(row: dict[str, Any], unit: str) -> float:
    """What a candidate costs, in `bytes` or `ms`."""
    return float(row["bytes"] if unit == "bytes" else row["latency"]["median_ms"])


def figure_of(row: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(figure for figure in row["figures"] if figure["name"] == name)
    return found


def suite_page(content: dict[str, Any]) -> dict[str, Any]:
    """The report's input for the content of a suite's `results.json`."""
    cells = [Cell(**cell) for cell in content["cells"]]
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
    skipped = [f"{name}: {count:,} images can't be used" for name, count in content["skipped"].items()]
    return {
        "title": "Suite",
        "warnings": content["warnings"],
        "notes": [*content["notes"], *skipped, *_unsupported(cells)],
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
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        for figure in cell.figures:
            if figure["value"] is None:
                where = who(cell) if "degenerate" in cell.result else cell.protocol
                found.setdefault((where, str(figure["reason"])), {})[figure["name"]] = None
    return [f"{where}: no {', '.join(names)} ({reason})" for (where, reason), names in found.items()]
