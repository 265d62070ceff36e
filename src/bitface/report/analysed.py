"""The drawings and tables of an analysis, which has a page of its own or a part of another one."""

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from bitface.analysis.conditions import WORDS
from bitface.report.drawings import angles
from bitface.results.analysis import AnalysisRecord, AngleDistribution, FlippedDecisions

_WORST_RANGES = 6
SHOWN_PAIRS = 24


def parts(
    analysis: AnalysisRecord, pictures: Mapping[str, np.ndarray] | None = None, at: str = "", of: str = ""
) -> dict[str, Any]:
    """What `analysed.html.j2` needs, and `sections` for the page's list of them.

    Args:
        analysis, pictures: see `analysis.render`.
        at: before the anchors, of: after the headings, where a page holds more than one.
    """
    word, layers, maps = analysis.class_word, analysis.layers, analysis.map
    points, ranges = (layers.points, layers.ranges) if layers else ((), ())
    worst = sorted(ranges, key=lambda one: -one.noise)[:_WORST_RANGES]
    sections = {
        "angles": "Angles",
        "layers": "Layers" if points else None,
        "maps": "Maps" if maps.rows else None,
        "pairs": "Flipped decisions" if analysis.flips else None,
    }
    return {
        "at": at,
        "of": of,
        "sections": [(at + anchor, title + of) for anchor, title in sections.items() if title],
        "analysis": analysis,
        "word": word,
        "distributions": _outlines(analysis.angles, word),
        "chart": angles.layer_chart(points, layers.start if layers else None),
        "ranges": [angles.range_plot(one) for one in worst],
        "maps": [
            (side, angles.dots(places, maps.group, maps.title))
            for side, places in (("teacher", maps.teacher), ("student", maps.student))
        ],
        "worst": _worst(analysis.flips, pictures),
        "meanings": WORDS,
    }


def _outlines(
    groups: Mapping[str, Mapping[str, AngleDistribution]], word: str
) -> list[tuple[str, str, angles.Outlines]]:
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
    drawings = ((*words[key], angles.outlines(group)) for key, group in groups.items())
    return [(title, text, drawing) for title, text, drawing in drawings if drawing]


def _worst(flips: FlippedDecisions | None, pictures: Mapping[str, np.ndarray] | None) -> list[dict[str, Any]]:
    pairs = flips.worst[:SHOWN_PAIRS] if flips else ()
    uris = {path: _uri(image) for path, image in (pictures or {}).items()}
    return [
        {**pair.to_json(), "images": [uris[one] for one in (pair.left, pair.right) if one in uris]} for pair in pairs
    ]


def _uri(image: np.ndarray) -> str:
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert encoded
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
