"""Maps of the faces as teacher and student see them, and how much of each face's neighbourhood the student keeps."""

from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

from bitface.analysis.classes import nearest

MOST_MAPPED = 1000
# Faces whose neighbours are asked for, among all faces.
MOST_ASKED = 10_000
_NEIGHBOURS = 10
_PERPLEXITY = 30
_FEWEST = 5


@dataclass(frozen=True, eq=False)
class Maps:
    """Two maps of the same faces.

    Attributes:
        rows: the faces on them, int64 `[M]`.
        teacher, student: `[M, 2]`.
    """

    rows: np.ndarray
    teacher: np.ndarray
    student: np.ndarray


@dataclass(frozen=True)
class Neighbourhoods:
    """How the nearest faces of each face changed.

    Attributes:
        k: so many nearest faces.
        kept: the mean share of them that teacher and student agree on; `lowest`: its tenth percentile over the faces.
        trustworthiness: 1 where no face among the k nearest of the student is a stranger to the teacher (Venna and
            Kaski 2001), over the faces of the maps.
        faces: how many `kept` is over.
    """

    k: int
    kept: float
    lowest: float
    trustworthiness: float
    faces: int


def maps(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray | None = None, seed: int = 0) -> Maps:
    """t-SNE of the teacher's embeddings, and of the student's, begun where the teacher's ended.

    So the two have the same layout, and what moved between them was moved by the student.

    Args:
        teacher, student: unit rows `[N, D]`.
        labels: classes, whose faces are kept together where more than 1,000 faces would have to be drawn.
    """
    rows = chosen_rows(len(teacher), labels, seed)
    if len(rows) < _FEWEST:
        return Maps(rows[:0], np.zeros((0, 2)), np.zeros((0, 2)))
    settings = {"perplexity": min(_PERPLEXITY, (len(rows) - 1) / 3), "random_state": seed, "metric": "cosine"}
    first = TSNE(init="random", **settings).fit_transform(_dense(teacher[rows]))
    # At full size and without the usual exaggeration: a layout that is shrunk first may grow again as its mirror image.
    second = TSNE(init=first, early_exaggeration=1.0, **settings).fit_transform(_dense(student[rows]))
    return Maps(rows, first, second)


def chosen_rows(count: int, labels: np.ndarray | None, seed: int = 0) -> np.ndarray:
    """The rows of at most 1,000 faces in ascending order: whole classes in random order where classes are known."""
    if count <= MOST_MAPPED:
        return np.arange(count)
    generator = np.random.default_rng(seed)
    if labels is None:
        return np.sort(generator.choice(count, MOST_MAPPED, replace=False))
    order = generator.permutation(int(labels.max()) + 1)[labels]
    return np.sort(np.argsort(order, kind="stable")[:MOST_MAPPED])


def neighbourhoods(teacher: np.ndarray, student: np.ndarray, rows: np.ndarray, seed: int = 0) -> Neighbourhoods | None:
    """What is kept of the ten nearest faces of each, of 10,000 drawn ones where there are more.

    None for fewer than five faces.

    Args:
        teacher, student: unit rows `[N, D]`.
        rows: the faces whose trustworthiness is asked for, which needs all of their distances at once.
    """
    count = len(teacher)
    if count < _FEWEST:
        return None
    k = min(_NEIGHBOURS, (count - 1) // 2)
    queries = np.arange(count)
    if count > MOST_ASKED:
        queries = np.sort(np.random.default_rng(seed).choice(count, MOST_ASKED, replace=False))
    (_, before), (_, after) = nearest(teacher, k, queries), nearest(student, k, queries)
    shares = np.array([len(np.intersect1d(a, b)) for a, b in zip(before, after, strict=True)]) / k
    few = min(k, max(1, (len(rows) - 1) // 2))
    trust = trustworthiness(teacher[rows], student[rows], n_neighbors=few, metric="cosine")
    return Neighbourhoods(k, float(shares.mean()), float(np.quantile(shares, 0.1)), float(trust), len(queries))


def _dense(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, np.float32)
