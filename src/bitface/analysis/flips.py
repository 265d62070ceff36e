"""Pairs on which teacher and student decide differently, each at its own threshold for the same false accept rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bitface.evaluation import all_pairs, tar_at_far
from bitface.evaluation.arrays import Floats

# Asked for in this order where nobody names a rate.
FARS = (1e-4, 1e-3, 1e-2, 1e-1)
MOST_KEPT = 100
_BLOCK = 1024


@dataclass(frozen=True)
class Flip:
    """A pair whose decision changed.

    Attributes:
        left, right: rows of the embeddings.
        same: one person, or two.
        teacher, student: similarities.
        damage: by how much the pair moved towards the wrong side of the threshold; below 0: towards the right one.
    """

    left: int
    right: int
    same: bool
    teacher: float
    student: float
    damage: float

    @property
    def lost(self) -> bool:
        """Whether the teacher was right and the student is wrong."""
        return self.damage > 0


@dataclass(frozen=True, eq=False)
class Flips:
    """The flipped decisions at one false accept rate.

    Attributes:
        far: the rate; `teacher`, `student`: the thresholds.
        rejected, accepted: genuine pairs that only the student rejects; impostor pairs that only it accepts.
        gained: pairs that only the student decides rightly, genuine and impostor.
        genuine, impostor: the pairs there are.
        worst: at most 100 of them, the most damage first.
        faces: bool `[N]`, those in one of the worst pairs that the student alone decides wrongly.
    """

    far: float
    teacher: float
    student: float
    rejected: int
    accepted: int
    gained: int
    genuine: int
    impostor: int
    worst: tuple[Flip, ...]
    faces: np.ndarray


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows to decide on: a list, or (with `labels`) all pairs of the faces.

    Attributes:
        left, right: int64 `[P]`; same: bool `[P]`.
        labels: int64 `[N]`; then the other three are None.
    """

    left: np.ndarray | None = None
    right: np.ndarray | None = None
    same: np.ndarray | None = None
    labels: np.ndarray | None = None

    def scored(self, *sides: Floats) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]]:
        """(left, right, same, the similarities of each side), in blocks.

        Args:
            sides: unit rows `[N, D]` of one model each.
        """
        if self.labels is None:
            assert self.left is not None
            assert self.right is not None
            assert self.same is not None
            for start in range(0, len(self.left), _BLOCK**2):
                part = slice(start, start + _BLOCK**2)
                left, right = self.left[part], self.right[part]
                yield left, right, self.same[part], [np.einsum("nd,nd->n", rows[left], rows[right]) for rows in sides]
            return
        count = len(self.labels)
        for top in range(0, count, _BLOCK):
            for side in range(top, count, _BLOCK):
                here, there = np.arange(top, min(top + _BLOCK, count)), np.arange(side, min(side + _BLOCK, count))
                a, b = np.nonzero(here[:, None] < there[None, :])
                scores = [(rows[here] @ rows[there].T)[a, b] for rows in sides]
                left, right = here[a], there[b]
                yield left, right, self.labels[left] == self.labels[right], scores


def thresholds(unit: Floats, pairs: Pairs, fars: Sequence[float] = FARS) -> dict[float, float]:
    """One model's threshold for each FAR that these pairs support (see `evaluation.figures.operating`).

    Args:
        unit: `[N, D]` as `evaluation.unit_rows` gives them.

    Raises:
        BitfaceError: there are no genuine or no impostor pairs.
    """
    if pairs.labels is not None:
        points = all_pairs(unit, pairs.labels, fars, resamples=0).tar
    else:
        _, _, same, scores = zip(*pairs.scored(unit), strict=True)
        genuine, values = np.concatenate(same), np.concatenate([one for (one,) in scores])
        points = tar_at_far(values[genuine], values[~genuine], fars)
    return {point.far: point.threshold for point in points if point.threshold is not None}


def flips(teacher: Floats, student: Floats, pairs: Pairs, far: float, at: tuple[float, float]) -> Flips:
    """The decisions that changed.

    Args:
        teacher, student: unit rows `[N, D]` as `evaluation.unit_rows` gives them.
        at: the thresholds of teacher and student.
    """
    blocks: list[tuple[np.ndarray, ...]] = []
    counts = dict.fromkeys(("rejected", "accepted", "gained", "genuine", "impostor"), 0)
    for left, right, same, (before, after) in pairs.scored(teacher, student):
        changed = (before >= at[0]) != (after >= at[1])
        counts["genuine"] += int(same.sum())
        counts["impostor"] += int((~same).sum())
        left, right, same, before, after = (part[changed] for part in (left, right, same, before, after))
        damage = ((before - at[0]) - (after - at[1])) * np.where(same, 1, -1)
        losses = damage > 0
        counts["rejected"] += int((losses & same).sum())
        counts["accepted"] += int((losses & ~same).sum())
        counts["gained"] += int((~losses).sum())
        worst_rows = np.argsort(-damage, kind="stable")[:MOST_KEPT]
        blocks.append(tuple(part[worst_rows] for part in (left, right, same, before, after, damage)))
    columns = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    order = np.argsort(-columns[-1], kind="stable")[:MOST_KEPT]
    worst = tuple(
        Flip(int(a), int(b), bool(c), float(d), float(e), float(f))
        for a, b, c, d, e, f in zip(*(column[order] for column in columns), strict=True)
    )
    faces = np.zeros(len(teacher), bool)
    faces[[row for one in worst if one.lost for row in (one.left, one.right)]] = True
    return Flips(far, *at, **counts, worst=worst, faces=faces)
