"""Names for the few kinds of array that this room passes around, and the checks they all need."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitface.errors import BitfaceError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def score_array(scores: ArrayLike, name: str) -> Floats:
    """The scores as a finite float64 vector that isn't empty.

    Args:
        scores: any vector of numbers, [P].
        name: what the message calls them ("genuine", "impostor").

    Raises:
        BitfaceError: no scores, not a vector, or NaN or infinite ones among them.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise BitfaceError(f"{name} scores have {array.ndim} dimensions; give one score per pair")
    if array.size == 0:
        raise BitfaceError(f"there are no {name} pairs; verification needs both genuine and impostor pairs")
    non_finite = int(np.count_nonzero(~np.isfinite(array)))
    if non_finite:
        raise BitfaceError(f"{non_finite} of {array.size} {name} scores are NaN or infinite; check the embeddings")
    return array


def first_times(left: NDArray[np.integer], right: NDArray[np.integer]) -> Bools:
    """Whether a pair stands for the first time, [P]: (b, a) after (a, b) is the same comparison again.

    Args:
        left, right: [P], the two members of each pair as positions from 0 up.
    """
    low, high = np.minimum(left, right).astype(np.int64), np.maximum(left, right).astype(np.int64)
    first = np.zeros(len(low), dtype=bool)
    first[np.unique(low * (high.max(initial=0) + 1) + high, return_index=True)[1]] = True
    return first


def flags(values: ArrayLike, count: int, name: str) -> Bools:
    """The values as a boolean vector of `count` entries. Raises BitfaceError where the size differs."""
    array = np.asarray(values).astype(bool)
    if array.shape != (count,):
        raise BitfaceError(f"{name} has the shape {array.shape}; expected one entry for each of {count}")
    return array
