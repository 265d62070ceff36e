"""The decisions of `bitface analyse` that flipped, and what their faces share, as plain data."""

from dataclasses import asdict
from typing import Any

import numpy as np

from bitface.analysis import flips
from bitface.analysis.conditions import shared
from bitface.analysis.sections import Embedded
from bitface.errors import BitfaceError
from bitface.evaluation.lists.pairs import PairList
from bitface.runtime import Model


def decisions(found: Embedded, listed: PairList | None, student: Model, notes: list[str]) -> dict[str, Any]:
    """The pairs whose decision flipped, and what their faces share."""
    nothing: dict[str, Any] = {"flips": None, "conditions": []}
    pairs = _pairs(found, listed, notes)
    if pairs is None:
        notes.append("no pairs and no labels: decisions that flipped aren't looked for")
        return nothing
    stored = _stored(student, notes)
    try:
        before, after = (flips.thresholds(unit, pairs, sorted({*stored, *flips.FARS})) for unit in found.unit)
    except BitfaceError as error:
        notes.append(f"decisions that flipped aren't looked for: {error}")
        return nothing
    if not before:
        notes.append("decisions that flipped aren't looked for: too few impostor pairs for a threshold")
        return nothing
    fars = sorted(set(before) & set(stored)) or sorted(before)
    points = [
        flips.flips(*found.unit, pairs, far, (before[far], stored.get(far, after[far]))) for far in fars[:2]
    ]  # fmt: skip
    strictest = points[0]
    return {
        "flips": {
            "pairs": "list" if listed else "all pairs",
            "points": [
                {
                    **{key: value for key, value in vars(one).items() if key not in ("worst", "faces")},
                    "own": one.far in stored,
                }
                for one in points
            ],
            "worst": [
                {**asdict(one), "left": found.files[one.left].relative, "right": found.files[one.right].relative}
                for one in strictest.worst
            ],
        },
        "conditions": [asdict(one) for one in shared(found.conditions, strictest.faces)],
    }


def _stored(student: Model, notes: list[str]) -> dict[float, float]:
    """The artifact's own thresholds by their FAR."""
    known = student.details.thresholds if student.details else []
    if any(one.get("flip") for one in known):
        notes.append("the artifact's thresholds are for embeddings with --flip and aren't used here")
    return {one["far"]: float(one["threshold"]) for one in known if not one.get("flip")}


def _pairs(found: Embedded, listed: PairList | None, notes: list[str]) -> flips.Pairs | None:
    """The pairs to decide on, as rows of the embedded faces."""
    if listed is None:
        return None if found.who is None else flips.Pairs(labels=found.who)
    places = {file.relative: row for row, file in enumerate(found.files)}
    rows = np.array([places.get(path, -1) for path in listed.paths])
    left, right = rows[listed.left], rows[listed.right]
    there = (left >= 0) & (right >= 0)
    if not there.any():
        raise BitfaceError("no pair of --pairs has both of its images among the faces; leave out --image-list")
    if not there.all():
        notes.append(f"{int((~there).sum()):,} of {len(there):,} pairs have an image that isn't among the faces")
    return flips.Pairs(left[there], right[there], listed.same[there])
