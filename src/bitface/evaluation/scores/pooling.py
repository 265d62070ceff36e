"""Templates and videos as vectors, and their scores: many images of a person become one.

Pooling follows the IJB-C report (Maze et al., ICB 2018) and InsightFace's evaluation: the images of one medium are
averaged, then the media of the template, then the result is brought to length 1. So a video counts as one still image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, Ints, flags
from bitface.evaluation.lists.templates import Positions, TemplateList
from bitface.evaluation.protocols.base import Embeddings, both_sides
from bitface.evaluation.scores.similarity import FAILED, row_scores, unit_rows

_ROWS = 2048
_PAIRS = 1 << 20
_CELLS = 1 << 22
# A cell of a matrix product costs about a hundredth of a pair whose two vectors are gathered first.
_CELLS_PER_PAIR = 64


@dataclass(frozen=True, eq=False)
class Pooled:
    """Templates as vectors.

    Attributes:
        unit: [T, D] float64, as from `similarity.unit_rows`.
        usable: [T], whether any image of the template has an embedding (and was wanted).
        failed_images: [N], images of these templates without a usable embedding.
    """

    unit: Floats
    usable: Bools
    failed_images: Bools


def pool(
    embeddings: Embeddings,
    templates: TemplateList,
    selection: Bools | None = None,
    *,
    norm: bool = True,
    quality: bool = False,
    rows: int = _ROWS,
) -> Pooled:
    """Makes a vector of each template. Images without a usable embedding are left out.

    Embeddings are read and converted some at a time: beside the result, memory holds `rows` of them, or the largest
    template. The result has the same bits for every `rows` and on every machine.

    Args:
        embeddings: of `templates.paths`, [N, D]; may be memory-mapped.
        selection: [T], templates to pool; None: all.
        norm: average the embeddings as they are, so that faces the network is sure of (long vectors) count more;
            False: bring each to length 1 first.
        quality: multiply each embedding by its image's detector score before averaging.

    Raises:
        BitfaceError: `quality` without detector scores, or the embeddings don't fit the list.
    """
    if quality and templates.quality is None:
        raise BitfaceError("the list has no detector scores to weight images by; give the file of points and scores")
    both_sides(len(templates.paths), embeddings, None)
    valid = None if embeddings.valid is None else flags(embeddings.valid, len(embeddings), "valid")
    count, size = len(templates), embeddings.values.shape[1]
    pooled = Pooled(np.zeros((count, size)), np.zeros(count, bool), np.zeros(len(embeddings), bool))
    for block in _blocks(templates, selection, rows):
        image, template = templates.image[block], templates.template[block]
        values = embeddings.values[image]
        vectors, usable = unit_rows(values, None if valid is None else valid[image])
        pooled.failed_images[image[~usable]] = True
        if not usable.any():
            continue
        if norm:
            vectors = values.astype(np.float64)
        if quality and templates.quality is not None:
            vectors *= templates.quality[image].astype(np.float64)[:, None]
        means, of_template = _medium_means(vectors[usable], template[usable], templates.medium[block][usable])
        sums, _ = _sums(means, of_template)
        at = np.unique(of_template)
        pooled.unit[at], pooled.usable[at] = unit_rows(sums)
    return pooled


def _blocks(templates: TemplateList, selection: Bools | None, rows: int) -> Iterator[Ints]:
    """Yields rows of the list, sorted by template and medium: whole templates, about `rows` rows at a time."""
    order = np.lexsort((templates.medium, templates.template))
    if selection is not None:
        order = order[selection[templates.template[order]]]
    begins = np.append(np.flatnonzero(np.diff(templates.template[order], prepend=-1)), len(order))
    first = 0
    while first < len(begins) - 1:
        after = max(first + 1, int(np.searchsorted(begins, begins[first] + rows, "right")) - 1)
        yield order[begins[first] : begins[after]]
        first = after


def _medium_means(vectors: Floats, template: Positions, medium: Positions) -> tuple[Floats, Positions]:
    """The mean of each medium of each template, and whose it is. Rows are sorted by template, then by medium."""
    fresh = (np.diff(template, prepend=-1) != 0) | (np.diff(medium, prepend=-1) != 0)
    sums, counts = _sums(vectors, np.cumsum(fresh))
    return sums / counts[:, None], template[fresh]


def _sums(vectors: Floats, group: NDArray[np.integer]) -> tuple[Floats, Ints]:
    """The sum and the number of the rows of each group. Equal groups stand together, at least one row each.

    A group's rows are added one after the other, so that the order of additions, and with it every bit, is known.
    """
    begins = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    counts = np.diff(begins, append=len(group))
    sums = vectors[begins]
    for place in range(1, int(counts.max())):
        longer = np.flatnonzero(counts > place)
        sums[longer] += vectors[begins[longer] + place]
    return sums, counts


def pair_scores(gallery: Pooled, probe: Pooled, left: Positions, right: Positions, block: int = _PAIRS) -> Floats:
    """Cosine similarity of gallery templates `left[p]` and probe templates `right[p]`, [P], `block` pairs at a time.

    The same bits as from `similarity.row_scores`. Where the pairs of a block fill a good part of a matrix, as they do
    in IJB-C (its file is sorted), the matrix product is formed, which is many times as fast.
    """
    scores = np.empty(len(left))
    for begin in range(0, len(left), block):
        part = slice(begin, begin + block)
        rows, row = np.unique(left[part], return_inverse=True)
        columns, column = np.unique(right[part], return_inverse=True)
        first, second = gallery.unit[rows], probe.unit[columns]
        usable = np.concatenate((gallery.usable[rows], probe.usable[columns]))
        if len(rows) * len(columns) > _CELLS_PER_PAIR * len(row):
            scores[part] = row_scores(np.concatenate((first, second)), usable, row, column + len(rows))
            continue
        cosines = np.empty(len(row))
        order = np.argsort(row, kind="stable")
        step = max(1, _CELLS // len(columns))
        for top in range(0, len(rows), step):
            here = order[slice(*np.searchsorted(row, (top, top + step), sorter=order))]
            cosines[here] = (first[top : top + step] @ second.T)[row[here] - top, column[here]]
        np.clip(cosines, -1.0, 1.0, out=cosines)
        cosines[~(usable[row] & usable[column + len(rows)])] = FAILED
        scores[part] = cosines
    return scores
