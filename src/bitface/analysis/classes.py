"""How far classes lie apart, and faces from the middle of theirs (Wu et al., CVPR 2020, figure 2).

Where nobody says who is on the faces, the teacher's own similarities make pseudo-classes. Figures over those flatter
the teacher, which chose them, and are named as what they are.
"""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bitface.analysis.angular import class_centers
from bitface.losses.angular import angle_between

MOST_CLASSES = 2000
_NEIGHBOURS = 5
_SAMPLE, _PARTS = 200_000, 20
# How far above the bulk of all pairs two faces must lie to be taken for one person, in standard deviations.
_CLEAR = 5.0
# So many similarities are held at a time, whatever the number of faces.
_BLOCK = 2**22


def inter_class_angles(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The angles between all pairs of class centres, degrees; of 2,000 drawn classes where there are more.

    Args:
        embeddings: `[N, D]`.
        labels: 0 to C-1, int64 `[N]`.
    """
    centers, _ = class_centers(torch.from_numpy(embeddings).double(), torch.from_numpy(labels))
    if len(centers) > MOST_CLASSES:
        sample = np.random.default_rng(seed).choice(len(centers), MOST_CLASSES, replace=False)
        centers = centers[torch.from_numpy(np.sort(sample))]
    units = torch.nn.functional.normalize(centers)
    # Centres are never near one another as faces and their quantized selves are: the cosine will do.
    cosines = (units @ units.T).clamp(-1, 1)
    above = torch.triu(torch.ones_like(cosines, dtype=torch.bool), 1)
    return torch.rad2deg(torch.arccos(cosines[above])).numpy()


def within_class_angles(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The angle of each face to the centre of its class, degrees `[N]`; NaN for a face that is alone in its class."""
    rows, who = torch.from_numpy(embeddings).double(), torch.from_numpy(labels)
    centers, counts = class_centers(rows, who)
    angles = torch.rad2deg(angle_between(rows, centers[who]))
    return angles.where(counts[who] > 1, torch.nan).numpy()


def pseudo_classes(teacher: np.ndarray, seed: int = 0) -> np.ndarray:
    """Groups of faces that the teacher finds alike, int64 `[N]` from 0; a face that is like no other is alone.

    Two faces are joined where each is among the five nearest of the other and their cosine lies clearly (five
    standard deviations, by the median and quartiles of all pairs) above what pairs have; what is joined, directly or
    over others, is one group.
    """
    unit = _units(teacher)
    count = len(unit)
    if count < 2:
        return np.zeros(count, np.int64)
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, count, (2, _SAMPLE))
    parts = zip(*(np.array_split(rows[first != second], _PARTS) for rows in (first, second)), strict=True)
    sample = np.concatenate([np.einsum("nd,nd->n", unit[left], unit[right]) for left, right in parts])
    low, middle, high = np.quantile(sample, [0.25, 0.5, 0.75])
    least = middle + _CLEAR * (high - low) / 1.349  # the quartiles of a normal distribution, apart
    cosines, rows = nearest(unit, min(_NEIGHBOURS, count - 1))
    near = cosines >= least
    sources = np.repeat(np.arange(count), near.sum(1))
    graph = coo_array((np.ones(len(sources)), (sources, rows[near])), shape=(count, count)).tocsr()
    result: np.ndarray = connected_components(graph.multiply(graph.T), directed=False)[1].astype(np.int64)
    return result


def nearest(unit: np.ndarray, k: int, queries: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar other faces of each, the most similar first: cosines `[M, k]` and rows, int64 `[M, k]`.

    Args:
        unit: `[N, D]`, rows of length 1; more than k of them.
        queries: the rows whose neighbours are asked for, `[M]`; None: all.
    """
    queries = np.arange(len(unit)) if queries is None else queries
    step = max(1, _BLOCK // len(unit))
    cosines, rows = [], []
    for start in range(0, len(queries), step):
        own = queries[start : start + step]
        block = unit[own] @ unit.T
        block[np.arange(len(block)), own] = -np.inf
        neighbours = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, neighbours, 1)
        # Ties by the lower row, so that the order is the same everywhere.
        order = np.lexsort((neighbours, -values))
        cosines.append(np.take_along_axis(values, order, 1))
        rows.append(np.take_along_axis(neighbours, order, 1))
    return np.concatenate(cosines), np.concatenate(rows)


def _units(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    result: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return result
