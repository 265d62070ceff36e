"""The page of an analysis: what a student lost against its teacher, drawn from `analysis.json`."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bitface.analysis.conditions import WORDS
from bitface.files import write_bytes
from bitface.report import angles, format, page

_WORST_RANGES = 6
SHOWN_PAIRS = 24


def render(analysis: Mapping[str, Any], pictures: Mapping[str, np.ndarray] | None = None) -> str:
    """One self-contained HTML page without network or script.

    Args:
        analysis: as `jobs.analyse.analyse_student` gives it.
        pictures: crops of faces by their paths, uint8 RGB `[H, W, 3]`; None: the page shows no face.
    """
    word = analysis["class_word"]
    layers = analysis["layers"] or {"points": [], "ranges": [], "start": None}
    worst = sorted(layers["ranges"], key=lambda one: -one["noise"])[:_WORST_RANGES]
    drawn = analysis["map"]
    sections = {
        "angles": "Angles",
        "layers": "Layers" if layers["points"] else None,
        "maps": "Maps" if drawn["rows"] else None,
        "pairs": "Flipped decisions" if analysis["flips"] else None,
        "provenance": "Provenance",
    }
    return page.fill(
        "analysis.html.j2",
        report={
            "title": analysis["title"],
            "subtitle": _subtitle(analysis),
            "created": analysis["created"],
            "headline": _headline(analysis),
            "warnings": analysis["warnings"],
            "notes": analysis["notes"],
            "provenance": _provenance(analysis),
        },
        sections=[(anchor, title) for anchor, title in sections.items() if title],
        analysis=analysis,
        word=word,
        outlines=_outlines(analysis["angles"], word),
        chart=angles.layer_chart(layers["points"], layers["start"]),
        ranges=[angles.range_plot(one) for one in worst],
        maps=[(side, angles.dots(drawn[side], drawn["group"], drawn["title"])) for side in ("teacher", "student")],
        worst=_worst(analysis["flips"], pictures),
        meanings=WORDS,
    )


def write(path: Path, analysis: Mapping[str, Any], pictures: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes the page, see `render`, whole or not at all. Raises BitfaceError where it can't be written."""
    write_bytes(path, render(analysis, pictures).encode())


def _subtitle(analysis: Mapping[str, Any]) -> str:
    faces, word = analysis["faces"], analysis["class_word"]
    return f"{faces['used']:,} faces, {faces['classes']:,} {word}es of two faces or more"


def _headline(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    means, kept = analysis["errors"]["as embedded"], analysis["neighbourhoods"]
    turned = analysis["errors"]["rotation taken out"]
    rows = [
        {
            "label": "A-QE, mean angle by which a face turns",
            "value": f"{means['face']:.1f}°",
            "note": f"{turned['face']:.1f}° without the rotation of all faces together" if turned else "",
        }
    ]
    if "individual vector" in means:
        word = analysis["class_word"]
        rows.append(
            {
                "label": f"against its {word}",
                "value": f"{means['individual vector']:.1f}°",
                "note": f"the {word} itself turns by {means[word]:.1f}°",
            }
        )
    if kept:
        note = f"of each face's {kept['k']} nearest; trustworthiness {kept['trustworthiness']:.4f}"
        rows.append({"label": "neighbours kept", "value": format.percent(kept["kept"], 1), "note": note})
    if analysis["flips"]:
        point = analysis["flips"]["points"][0]
        rows.append(
            {
                "label": f"decisions lost at FAR {format.far(point['far'])}",
                "value": format.count(point["rejected"] + point["accepted"]),
                "note": f"of {format.count(point['genuine'] + point['impostor'])} pairs; {point['gained']:,} gained",
            }
        )
    return rows


def _outlines(found: Mapping[str, Any], word: str) -> list[tuple[str, str, angles.Outlines]]:
    """(title, explanation, drawing) of each set of distributions."""
    words = {
        "errors": (
            "How far faces turn",
            f"A-QE of faces, of {word} centres, and what is left of a face's error against its {word}: as a difference "
            "of two angles (the paper's form) and as an angle (vector).",
        ),
        "errors without rotation": (
            "The same, without the rotation of all faces together",
            "A rotation of everything changes no similarity, so what is left here is what can harm.",
        ),
        f"inter-{word}": (
            f"Angles between {word} centres",
            f"The nearer to 90°, the less two {word}es know of each other.",
        ),
        f"within-{word}": (
            f"Angles of faces to the centre of their {word}",
            f"The wider, the looser is each {word}.",
        ),
    }
    drawn = ((*words[key], angles.outlines(groups)) for key, groups in found.items())
    return [(title, text, drawing) for title, text, drawing in drawn if drawing]


def _worst(flips: Mapping[str, Any] | None, pictures: Mapping[str, np.ndarray] | None) -> list[dict[str, Any]]:
    rows = flips["worst"][:SHOWN_PAIRS] if flips else []
    uris = {path: _uri(image) for path, image in (pictures or {}).items()}
    return [{**row, "images": [uris[one] for one in (row["left"], row["right"]) if one in uris]} for row in rows]


def _uri(image: np.ndarray) -> str:
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert encoded
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _provenance(analysis: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for side in ("teacher", "student"):
        rows[side] = analysis[side]["path"]
        rows |= {f"{side} {fact}": analysis[side][fact] for fact in ("preprocess", "fingerprint")}
    return {**rows, "bitface": analysis["bitface"], **analysis["machine"]}
