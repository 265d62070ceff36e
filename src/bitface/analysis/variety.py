"""How varied a set of faces is for a network: how long, how alike and in how many dimensions its embeddings are.

Images that a generator repeats, or that all look alike, point one way, and a student that learns from them is wrong in
all other directions: the fewer its bits, the more.
"""

from dataclasses import dataclass

import numpy as np

# Of the square of a normal number.
_MEDIAN = 0.4549


@dataclass(frozen=True)
class Variety:
    """What embeddings say of the faces they are of; none of the figures depends on how many that are.

    Attributes:
        faces: how many were looked at.
        norm: the median length of an embedding, which falls with the quality of an image (as in MagFace, Meng et al.,
            CVPR 2021).
        alike: the cosine that one pair in twenty exceeds.
        dimensions: in which unit vectors would have such cosines if they pointed everywhere alike. Then cos² of two has
            the mean 1 / dimensions (tr M² of their second moments M, so that this is the participation ratio); it is
            taken from the median, as some faces may be of one person.
    """

    faces: int
    norm: float
    alike: float
    dimensions: float


def variety_of(embeddings: np.ndarray) -> Variety:
    """The variety of embeddings `[N, D]`; N at least 2, none of them 0."""
    rows = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(rows, axis=1)
    unit = rows / norms[:, None]
    cosines = (unit @ unit.T)[np.triu_indices(len(rows), 1)]
    dimensions = max(1.0, _MEDIAN / float(np.median(cosines**2)))
    return Variety(len(rows), float(np.median(norms)), float(np.quantile(cosines, 0.95)), dimensions)
