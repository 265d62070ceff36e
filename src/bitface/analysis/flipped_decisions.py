"""The decisions of `bitface analyse` that flipped, and what their faces share, as plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.analysis import flips
from bitface.analysis.conditions import shared
from bitface.analysis.sections import Embedded
from bitface.errors import BitfaceError, option
from bitface.evaluation.arrays import Floats
from bitface.evaluation.protocols.base import Comparisons, Embeddings, FaceProtocol
from bitface.runtime import Model


@dataclass(frozen=True, eq=False)
class _Decided:
    """What is decided on.

    Attributes:
        units: of teacher and student, `[U, D]`, the members of pairs as `evaluation.unit_rows` gives them.
        names: of the members; faces: whether these are the embedded faces themselves.
    """

    pairs: flips.Pairs
    units: tuple[Floats, Floats]
    names: Sequence[str]
    faces: bool = True


def decisions(embeddings: Embedded, protocol: FaceProtocol | None, student: Model, notes: list[str]) -> dict[str, Any]:
    """The pairs whose decision flipped, and what their faces share.

    Args:
        protocol: whose listed comparisons are decided on; None, or one that lists none: all pairs of labelled faces.
    """
    nothing: dict[str, Any] = {"flips": None, "conditions": []}
    listed = protocol.comparisons() if protocol else None
    if protocol and listed is None:
        notes.append(
            f"{protocol.name}: this protocol lists no comparisons"
            + ("; flipped decisions are those of all pairs of its faces" if embeddings.who is not None else "")
        )
    decided = _decided(embeddings, protocol, listed, notes)
    if decided is None:
        notes.append("no pairs and no labels: decisions that flipped aren't looked for")
        return nothing
    pairs = decided.pairs
    stored = _stored(student, notes)
    try:
        before, after = (flips.thresholds(unit, pairs, sorted({*stored, *flips.FARS})) for unit in decided.units)
    except BitfaceError as error:
        notes.append(f"decisions that flipped aren't looked for: {error}")
        return nothing
    if not before:
        notes.append("decisions that flipped aren't looked for: too few impostor pairs for a threshold")
        return nothing
    fars = sorted(set(before) & set(stored)) or sorted(before)
    points = [
        flips.flips(*decided.units, pairs, far, (before[far], stored.get(far, after[far]))) for far in fars[:2]
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
                {**asdict(one), "left": decided.names[one.left], "right": decided.names[one.right]}
                for one in strictest.worst
            ],
        },
        "conditions": [asdict(one) for one in shared(embeddings.conditions, strictest.faces)] if decided.faces else [],
    }


def _stored(student: Model, notes: list[str]) -> dict[float, float]:
    """The artifact's own thresholds by their FAR."""
    thresholds = student.details.thresholds if student.details else []
    if any(one.get("flip") for one in thresholds):
        notes.append("the artifact's thresholds are for embeddings with mirrored images added and aren't used here")
    return {one["far"]: float(one["threshold"]) for one in thresholds if not one.get("flip")}


def _decided(
    embeddings: Embedded, protocol: FaceProtocol | None, listed: Comparisons | None, notes: list[str]
) -> _Decided | None:
    """The pairs to decide on: of the embedded faces, or of what the protocol makes of them."""
    names = [file.relative for file in embeddings.files]
    if listed is None or protocol is None:
        return None if embeddings.who is None else _Decided(flips.Pairs(labels=embeddings.who), embeddings.unit, names)
    places = {name: row for row, name in enumerate(names)}
    rows = np.array([places.get(path, -1) for path in protocol.paths])
    if listed.members == protocol.paths:
        there = (rows[listed.left] >= 0) & (rows[listed.right] >= 0)
        pairs = flips.Pairs(rows[listed.left[there]], rows[listed.right[there]], listed.same[there])
        decided = _Decided(pairs, embeddings.unit, names)
    else:
        (before, valid), (after, too) = (
            protocol.vectors(Embeddings(side[rows], rows >= 0)) for side in (embeddings.teacher, embeddings.student)
        )
        usable = valid & too
        there = usable[listed.left] & usable[listed.right]
        pairs = flips.Pairs(listed.left[there], listed.right[there], listed.same[there])
        decided = _Decided(pairs, (before, after), listed.members, faces=False)
    if not there.any():
        raise BitfaceError(
            f"no comparison of the protocol has both of its sides among the faces; leave out {option('image-list')}"
            if not decided.faces
            else (
                f"no pair of {option('pairs')} has both of its images among the faces; leave out {option('image-list')}"
            )
        )
    if not there.all():
        notes.append(f"{int((~there).sum()):,} of {len(there):,} pairs have an image that isn't among the faces")
    return decided
