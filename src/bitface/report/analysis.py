"""The page of an analysis: what a student lost against its teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitface.files import write_bytes
from bitface.report import analysed, format, page
from bitface.results.analysis import AnalysisRecord


def render(analysis: AnalysisRecord, pictures: Mapping[str, np.ndarray] | None = None) -> str:
    """One self-contained HTML page without network or script.

    Args:
        pictures: crops of faces by their paths, uint8 RGB `[H, W, 3]`; None: the page shows no face.
    """
    one = analysed.parts(analysis, pictures)
    return page.fill(
        "analysis.html.j2",
        report={
            "title": analysis.title,
            "subtitle": _subtitle(analysis),
            "created": analysis.created,
            "headline": _headline(analysis),
            "about": analysis.title,
            "warnings": analysis.warnings,
            "notes": analysis.notes,
            "next": [{"words": "What to try against this loss", "command": analysis.diagnosis.command}],
            "provenance": _provenance(analysis),
        },
        sections=[*one.pop("sections"), ("next", "Next"), ("provenance", "Provenance")],
        **one,
    )


def write(path: Path, analysis: AnalysisRecord, pictures: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes the page, see `render`, whole or not at all. Raises BitfaceError where it can't be written."""
    write_bytes(path, render(analysis, pictures).encode())


def _subtitle(analysis: AnalysisRecord) -> str:
    faces, word = analysis.faces, analysis.class_word
    return f"{faces.used:,} faces, {faces.classes:,} {word}es of two faces or more"


def _headline(analysis: AnalysisRecord) -> list[dict[str, Any]]:
    means, turned = analysis.errors.as_embedded, analysis.errors.rotation_taken_out
    rows = [
        {
            "label": "A-QE, mean angle by which a face turns",
            "value": f"{means['face']:.1f}°",
            "note": f"{turned['face']:.1f}° without the rotation of all faces together" if turned else "",
        }
    ]
    if "individual vector" in means:
        word = analysis.class_word
        rows.append(
            {
                "label": f"against its {word}",
                "value": f"{means['individual vector']:.1f}°",
                "note": f"the {word} itself turns by {means[word]:.1f}°",
            }
        )
    if neighbours := analysis.neighbourhoods:
        trust = f"trustworthiness {neighbours.trustworthiness:.4f} (mapped faces)"
        note = f"of the {neighbours.k} nearest of {neighbours.faces:,} faces; {trust}"
        rows.append({"label": "neighbours kept", "value": format.percent(neighbours.kept, 1), "note": note})
    if analysis.flips:
        point = analysis.flips.points[0]
        rows.append(
            {
                "label": f"decisions lost at FAR {format.far(point.far)}",
                "value": format.count(point.rejected + point.accepted),
                "note": f"of {format.count(point.genuine + point.impostor)} pairs; {point.gained:,} gained",
            }
        )
    return rows


def _provenance(analysis: AnalysisRecord) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for side, model in (("teacher", analysis.teacher), ("student", analysis.student)):
        rows[side] = model.path
        rows |= {f"{side} preprocess": model.preprocess, f"{side} fingerprint": model.fingerprint}
    return {**rows, "bitface": analysis.bitface, **analysis.machine}
