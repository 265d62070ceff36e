"""Cosine similarity that gives the same bits whatever the order of summation.

Every coordinate of a unit vector is rounded to a multiple of 2^-26. Products are then multiples of 2^-52,
and no partial sum exceeds 2 (Cauchy-Schwarz), so that float64 adds them without rounding. A score therefore
depends neither on the size of a block, nor on the number of threads, nor on the processor: a pair of the
list has the same score among all pairs, and another machine finds the same one. The price is a change of at
most sqrt(D) 2^-26 in a score (3.4e-7 for D = 512; typically 1e-8), below what float32 embeddings carry.
"""

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, flags

RESOLUTION = 2.0**-52
FAILED = -1.0
"""The score of a pair of which an image has no embedding: the worst there is."""

_STEPS = 2.0**26
_CHUNK = 1 << 22


def matrix(embeddings: ArrayLike) -> Floats:
    """The embeddings as float64 [N, D]. Raises BitfaceError where they aren't a matrix of numbers."""
    try:
        array = np.asarray(embeddings, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BitfaceError(f"embeddings aren't numbers ({error}); expected a matrix [images, size]") from error
    if array.ndim != 2 or array.shape[1] == 0:
        raise BitfaceError(f"embeddings have the shape {array.shape}; expected a matrix [images, size]")
    return array


def unit_rows(embeddings: ArrayLike, valid: ArrayLike | None = None) -> tuple[Floats, Bools]:
    """L2-normalised embeddings on the grid of 2^-26, and which rows are usable.

    Args:
        embeddings: [N, D], any floating-point type.
        valid: [N], false where the embedding of an image failed.

    Returns:
        The unit vectors, float64 [N, D], and a mask [N]. A row that is marked as failed, holds NaN or
        infinity, or is zero, isn't usable; it comes back as zeros.

    Raises:
        BitfaceError: the embeddings aren't a matrix, or the mask has another length.
    """
    rows = matrix(embeddings)
    usable = np.asarray(np.isfinite(rows).all(axis=1))
    if valid is not None:
        usable &= flags(valid, len(rows), "valid")
    rows = np.where(usable[:, None], rows, 0.0)
    # Dividing by the largest entry first keeps the squares from overflowing and from vanishing.
    largest = np.abs(rows).max(axis=1, initial=0.0)
    usable &= largest > 0
    rows /= np.where(usable, largest, 1.0)[:, None]
    # A running sum has one order of additions only; other sums take that which suits the processor.
    length = np.sqrt(np.cumsum(np.square(rows), axis=1)[:, -1])
    rows /= np.where(usable, length, 1.0)[:, None]
    return np.rint(rows * _STEPS) / _STEPS, usable


def row_scores(unit: Floats, usable: Bools, left: ArrayLike, right: ArrayLike) -> Floats:
    """Cosine similarity of the rows `left[p]` and `right[p]`, [P], in [-1, 1].

    `unit` and `usable` come from `unit_rows`. A pair that touches an unusable row scores -1.
    """
    left, right = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
    scores = np.empty(len(left), dtype=np.float64)
    step = max(1, _CHUNK // unit.shape[1])
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        scores[part] = np.einsum("pd,pd->p", unit[left[part]], unit[right[part]])
    np.clip(scores, -1.0, 1.0, out=scores)
    scores[~(usable[left] & usable[right])] = FAILED
    return scores
