"""The alarm for degenerate models: embeddings that no verification result can be trusted with."""

import numpy as np
from numpy.typing import ArrayLike

from bitface.evaluation.arrays import Bools, Floats, flags
from bitface.evaluation.figures.paired import agreement
from bitface.evaluation.scores.similarity import matrix, row_scores, unit_rows

HIGHEST_MEAN_COSINE = 0.9
LOWEST_SPREAD = 1e-3
LOWEST_UNIQUE = 0.5
LOWEST_AGREEMENT = 0.9
MOST_BROKEN = 0.01

_SAMPLE = 20_000


def diagnose(embeddings: ArrayLike, teacher: ArrayLike | None = None) -> list[str]:
    """What is wrong with a model, judging by its embeddings; empty when nothing is.

    Looks for NaN or infinite values, zero vectors, embeddings that hardly vary (their standard deviation over
    the images, all coordinates together, below 1e-3), that all point the same way (mean cosine of different
    images above 0.9) or repeat (fewer than half of the scores unique, over at most 20,000 pairs), and, given
    the teacher's embeddings of the same images, for a mean cosine with them below 0.9.

    Args:
        embeddings: [N, D], before or after normalisation.
        teacher: [N, D].

    Raises:
        BitfaceError: the embeddings aren't a matrix, or the teacher's differ in shape.
    """
    rows = matrix(embeddings)
    unit, usable = unit_rows(rows)
    finite = np.isfinite(rows).all(axis=1)
    problems = []
    if not finite.all():
        non_finite = np.count_nonzero(~finite)
        problems.append(
            f"{non_finite} of {len(rows)} embeddings hold NaN or infinite values: the network overflows, "
            "or its weights are damaged"
        )
    zero = np.count_nonzero(finite & ~usable)
    if zero:
        problems.append(f"{zero} of {len(rows)} embeddings are zero vectors: the last layer's output is dead")
    if np.count_nonzero(usable) > 1:
        problems += _collapsed(rows[usable], unit[usable])
    if teacher is not None and (usable & unit_rows(teacher)[1]).any():
        mean = agreement(teacher, rows).mean
        if mean < LOWEST_AGREEMENT:
            problems.append(
                f"the mean cosine with the teacher's embeddings is {mean:.3f} (below {LOWEST_AGREEMENT}): "
                "the student no longer follows it; check that both see the same preprocessing"
            )
    return problems


def degenerate(embeddings: ArrayLike, valid: ArrayLike | None = None) -> list[str]:
    """Why no figure of these embeddings means anything; empty where figures do.

    What `diagnose` finds, except that up to one embedding in a hundred may be broken: those are counted as failures.

    Args:
        embeddings: [N, D].
        valid: [N], false where an image couldn't be embedded; such rows aren't looked at.
    """
    rows = matrix(embeddings)
    rows = rows if valid is None else rows[flags(valid, len(rows), "valid")]
    usable = unit_rows(rows)[1]
    few = np.count_nonzero(~usable) <= MOST_BROKEN * len(rows)
    return diagnose(rows[usable] if few and usable.any() else rows)


def _collapsed(rows: Floats, unit: Floats) -> list[str]:
    count = len(rows)
    problems = []
    spread = float(np.sqrt(np.mean(np.var(rows, axis=0))))
    if spread < LOWEST_SPREAD:
        problems.append(
            f"embeddings hardly vary between images (standard deviation {spread:.1e}, below "
            f"{LOWEST_SPREAD:g}): the network ignores its input"
        )
    # The sum of all vectors, squared, holds every pair twice and every vector with itself once.
    total = unit.sum(axis=0)
    mean = float((total @ total - np.einsum("nd,nd->", unit, unit)) / (count * (count - 1)))
    if mean > HIGHEST_MEAN_COSINE:
        problems.append(
            f"different images have a mean cosine of {mean:.3f} (above {HIGHEST_MEAN_COSINE}): all "
            "embeddings point the same way; check colour order and range of the input, and the calibration"
        )
    scores = _sampled_scores(unit, np.ones(count, dtype=bool))
    unique = len(np.unique(scores)) / len(scores)
    if unique < LOWEST_UNIQUE:
        problems.append(
            f"only {unique:.0%} of the scores are unique (below {LOWEST_UNIQUE:.0%}): many images get "
            "the same embedding"
        )
    return problems


def _sampled_scores(unit: Floats, usable: Bools) -> Floats:
    """Scores of every image with the next, the second next, and so on, until the sample is full."""
    count = len(unit)
    pairs = min(_SAMPLE, count * (count - 1) // 2)
    shifts = np.arange(1, count)
    sizes = count - shifts
    sample = shifts[: int(np.searchsorted(np.cumsum(sizes), pairs, "left")) + 1]
    left = np.concatenate([np.arange(count - shift) for shift in sample])
    right = np.concatenate([np.arange(shift, count) for shift in sample])
    return row_scores(unit, usable, left[:pairs], right[:pairs])
