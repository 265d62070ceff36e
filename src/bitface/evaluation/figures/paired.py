"""Two models on the same images: do their decisions differ, do their embeddings agree."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import flags
from bitface.evaluation.scores.similarity import matrix, unit_rows


class McNemar(NamedTuple):
    """McNemar's test: `b` pairs only model A judged rightly, `c` only model B, and the two-sided p value."""

    b: int
    c: int
    p: float

    @property
    def flipped(self) -> int:
        """The number of decisions that differ."""
        return self.b + self.c

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"b": self.b, "c": self.c, "flipped": self.flipped, "p": self.p}


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Whether two models' accuracies on the same pairs differ, by the exact binomial test (McNemar, 1947).

    Args:
        correct_a, correct_b: [P] bool, whether each model judged the pair rightly.

    Raises:
        BitfaceError: the lengths differ.
    """
    first = np.asarray(correct_a).astype(bool).ravel()
    second = flags(correct_b, len(first), "correct_b")
    b = int(np.count_nonzero(first & ~second))
    c = int(np.count_nonzero(~first & second))
    return McNemar(b, c, _two_sided(min(b, c), b + c))


def _two_sided(fewer: int, flips: int) -> float:
    """Twice the probability of at most `fewer` heads in `flips` throws of a fair coin, at most 1."""
    log_term = math.lgamma(flips + 1) - math.lgamma(fewer + 1) - math.lgamma(flips - fewer + 1) - flips * math.log(2)
    # From the largest term downwards each is k / (n - k + 1) of the one before.
    total, term = 0.0, 1.0
    for k in range(fewer, -1, -1):
        total += term
        term *= k / (flips - k + 1)
        if term < total * 1e-17:
            break
    return min(1.0, 2 * math.exp(log_term) * total)


@dataclass(frozen=True)
class Agreement:
    """How closely a student's embeddings follow its teacher's, image by image.

    Attributes:
        mean, p01, minimum: of the cosine similarity; p01 is the first percentile.
        mean_angle, p99_angle, maximum_angle: the same as angles in degrees.
        count: images compared.
        failed: images left out, because one of the two has no usable embedding.
    """

    mean: float
    p01: float
    minimum: float
    mean_angle: float
    p99_angle: float
    maximum_angle: float
    count: int
    failed: int

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def agreement(teacher: ArrayLike, student: ArrayLike) -> Agreement:
    """Cosine and angle between the rows of two sets of embeddings, each [N, D].

    Raises:
        BitfaceError: the shapes differ, or no row is usable in both.
    """
    ours, theirs = matrix(student), matrix(teacher)
    if ours.shape != theirs.shape:
        raise BitfaceError(
            f"teacher embeddings are {theirs.shape}, student embeddings {ours.shape}; "
            "compare the same images and the same size"
        )
    (first, first_usable), (second, second_usable) = unit_rows(theirs), unit_rows(ours)
    usable = first_usable & second_usable
    if not usable.any():
        raise BitfaceError("no image has a usable embedding of both teacher and student; check both models")
    # The chord keeps its digits where the cosine, close to 1, has lost them.
    chord = np.linalg.norm(first[usable] - second[usable], axis=1)
    angle = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1.0)))
    cosine = np.maximum(1 - chord**2 / 2, -1.0)
    return Agreement(
        mean=float(cosine.mean()),
        p01=float(np.quantile(cosine, 0.01)),
        minimum=float(cosine.min()),
        mean_angle=float(angle.mean()),
        p99_angle=float(np.quantile(angle, 0.99)),
        maximum_angle=float(angle.max()),
        count=len(cosine),
        failed=len(usable) - len(cosine),
    )
