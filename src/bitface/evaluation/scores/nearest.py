"""The nearest gallery rows of probes, found by comparing every probe with every row.

All products are formed in float32, block by block. How far one of them can be from the exact score is known
beforehand, so the few that might matter are formed again in float64 on the grid of `similarity`. The answer is
therefore the exact one, with the bits of `similarity.row_scores`, whatever the size of a block, the number of
threads or the engine; ties go to the lower row. Where nearly all scores of a block might matter (a collapsed
model), the whole block is formed again. Memory is bounded by a block: a gallery may be a memory-mapped file.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.arrays import Bools, Floats, Ints, flags
from bitface.evaluation.scores.similarity import FAILED, unit_rows

ENGINES = ("numpy", "faiss")
LARGE, SEVERAL = 100_000, 4
"""Gallery rows, and probes, from which faiss is used where it is installed: for fewer its index isn't worth it."""

_PROBES = 4096
_BLOCK = {"numpy": 1024, "faiss": 16384}
_SPARE = 16
_PAIRS = 1 << 12

Single = NDArray[np.float32]


class Rows(Protocol):
    """Vectors that are asked for in parts: embeddings in memory or in a file, or a gallery in int8."""

    @property
    def size(self) -> int:
        """The numbers of a vector, D."""

    def __len__(self) -> int: ...

    def unit(self, rows: slice | Ints) -> tuple[Floats, Bools]:
        """Some of the vectors as `similarity.unit_rows` gives them: float64 [B, D], and which are usable, [B]."""


@runtime_checkable
class UnfailedRows(Rows, Protocol):
    """Vectors none of which has failed: they are searched without `unit` of each, which only the best are asked for."""

    def single(self, rows: slice) -> Single:
        """Some of the vectors as float32 [B, D], of length 1 but for rounding: each coordinate is rounded twice at
        most.
        """


class _Exact:
    """A part of such vectors by their place in it, read as they are asked for."""

    def __init__(self, rows: UnfailedRows, part: slice) -> None:
        self._rows, self._part = rows, part

    def __getitem__(self, at: slice | Ints) -> Floats:
        if isinstance(at, slice):
            return self._rows.unit(self._part)[0]
        places, of = np.unique(at, return_inverse=True)
        return self._rows.unit(places + self._part.start)[0][of]


class EmbeddingRows:
    """Embeddings `[N, D]` of any floating-point type, perhaps in a memory-mapped file, read in parts.

    Args:
        values: [N, D]. An array isn't copied.
        valid: [N], false where an image could not be embedded.

    Raises:
        BitfaceError: not a matrix, or `valid` has another length.
    """

    def __init__(self, values: ArrayLike, valid: ArrayLike | None = None) -> None:
        self._values = np.asanyarray(values)
        if self._values.ndim != 2 or self._values.shape[1] == 0:
            raise BitfaceError(f"embeddings have the shape {self._values.shape}; expected a matrix [images, size]")
        self._valid = None if valid is None else flags(valid, len(self._values), "valid")

    @property
    def size(self) -> int:
        return int(self._values.shape[1])

    def __len__(self) -> int:
        return len(self._values)

    def unit(self, rows: slice | Ints) -> tuple[Floats, Bools]:
        return unit_rows(self._values[rows], None if self._valid is None else self._valid[rows])


def as_rows(vectors: Rows | ArrayLike, valid: ArrayLike | None = None) -> Rows:
    """The vectors as `Rows`: a matrix is wrapped, anything else is taken to be `Rows` already."""
    return cast(Rows, vectors) if hasattr(vectors, "unit") else EmbeddingRows(vectors, valid)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The best k gallery rows of P probes.

    Attributes:
        scores: [P, k], descending; -1 where there is no further usable row, or the probe itself isn't usable.
        rows: [P, k], positions in the gallery; -1 likewise.
        failed_probes, failed_rows: vectors that aren't usable: marked as failed, zero, or not finite.
    """

    scores: Floats
    rows: Ints
    failed_probes: int
    failed_rows: int


def nearest(
    gallery: Rows | ArrayLike, probes: Rows | ArrayLike, k: int, *, engine: str | None = None, block: int | None = None
) -> Nearest:
    """The k most similar gallery rows of each probe, exactly.

    Args:
        gallery: [N, D] embeddings, or `Rows`.
        probes: [P, D] embeddings, or `Rows`.
        k: at least 1; may exceed N.
        engine: "numpy", or "faiss" (`IndexFlatIP`; needs the extra `search`). None: see `chosen_engine`. Changes the
            time it takes and nothing else.
        block: gallery rows at a time; bounds memory and changes nothing else.

    Raises:
        BitfaceError: the vectors of both sides have different sizes.
        UsageError: k or `block` below 1, an unknown engine, or one that isn't installed.
    """
    rows = as_rows(gallery)
    return nearest_at(rows, probes, k, (len(rows),), engine=engine, block=block)[0]


def nearest_at(
    gallery: Rows | ArrayLike,
    probes: Rows | ArrayLike,
    k: int,
    sizes: Sequence[int],
    *,
    engine: str | None = None,
    block: int | None = None,
    watch: "Callable[[Products], None] | None" = None,
) -> list[Nearest]:
    """`nearest` among the first rows of the gallery, for each of several sizes, in one pass.

    Args:
        sizes: ascending; each from 0 to N.
        watch: is shown every block of products, for what else is to be found in the same pass.

    Raises:
        BitfaceError, UsageError: as `nearest`, or the sizes aren't ascending or exceed N.
    """
    enrolled, asking = as_rows(gallery), as_rows(probes)
    engine = chosen_engine(len(enrolled), engine, len(asking))
    block = _BLOCK[engine] if block is None else block
    if k < 1 or block < 1:
        raise UsageError(f"k is {k} and block {block}; both must be at least 1")
    if list(sizes) != sorted(set(sizes)) or not sizes or sizes[0] < 0 or sizes[-1] > len(enrolled):
        raise UsageError(f"sizes are {list(sizes)}; give ascending ones, none above the gallery's {len(enrolled)} rows")
    same_size(enrolled, asking)
    results = [Nearest(*_nothing(len(asking), k), 0, 0) for _ in sizes]
    unusable = np.zeros((len(sizes), 2), dtype=np.int64)
    for start in range(0, max(len(asking), 1), _PROBES):
        unit, usable = asking.unit(slice(start, start + _PROBES))
        at = np.flatnonzero(usable)
        unusable[:, 0] += len(unit) - len(at)
        best = _Best(len(at), k, engine)
        vectors = unit[at]
        single = vectors.astype(np.float32)
        begin, failed = 0, 0
        for index, end in enumerate(sizes):
            for first in range(begin, end, block):
                part = slice(first, min(first + block, end))
                if isinstance(enrolled, UnfailedRows):
                    positions = np.arange(part.stop - first)
                    products = Products(vectors, single, _Exact(enrolled, part), enrolled.single(part))
                else:
                    rows, good = enrolled.unit(part)
                    positions = np.flatnonzero(good)
                    failed += len(rows) - len(positions)
                    products = Products(vectors, single, rows[positions])
                if len(positions) and len(at):
                    best.see(products, positions + first)
                    if watch:
                        watch(products)
            begin = end
            # The gallery is read once for each part of the probes, and its failures are the same every time.
            unusable[index, 1] = failed
            hits = best.rows >= 0
            results[index].scores[start + at] = np.where(hits, best.scores, FAILED)
            results[index].rows[start + at] = best.rows
    return [
        Nearest(part.scores, part.rows, int(counts[0]), int(counts[1]))
        for part, counts in zip(results, unusable, strict=True)
    ]


def same_size(gallery: Rows, probes: Rows) -> None:
    """Raises BitfaceError where the vectors of both sides have different sizes."""
    if gallery.size != probes.size:
        raise BitfaceError(
            f"the gallery's vectors have {gallery.size} numbers, the probes' {probes.size}: "
            "models of different sizes can't be compared with each other"
        )


def chosen_engine(rows: int, engine: str | None = None, probes: int = SEVERAL) -> str:
    """The engine asked for; else faiss where it is installed, the gallery has at least `LARGE` rows, and there are at
    least `SEVERAL` probes; else numpy.

    Raises:
        UsageError: there is no such engine, or faiss isn't installed.
    """
    installed = importlib.util.find_spec("faiss") is not None
    if engine is None:
        return "faiss" if installed and rows >= LARGE and probes >= SEVERAL else "numpy"
    if engine not in ENGINES:
        raise UsageError(f"there is no search engine '{engine}'; use {' or '.join(ENGINES)}")
    if engine == "faiss" and not installed:
        raise UsageError("faiss isn't installed; install bitface[search], or search with numpy")
    return engine


class Products:
    """The scores of P probes with B gallery rows: float32 ones of all pairs, exact ones of those asked for.

    Attributes:
        rough: [P, B] float32.
        margin: how far a rough score can be from the exact one. For any order of additions it is at most
            (D + 4) 2^-24: both vectors' rounding to float32, perhaps twice, then D products and sums, the vectors
            being of unit length (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); and sqrt(D)
            2^-27, where the rough vectors aren't on the grid of `similarity`, of which each coordinate is half a step
            away at most.
        top: [P], the highest rough score of each probe.
    """

    def __init__(
        self, unit: Floats, single: Single, rows: "Floats | _Exact", single_rows: Single | None = None
    ) -> None:
        self._unit, self._rows = unit, rows
        self._single = single
        self._single_rows: Single = np.asarray(rows, np.float32) if single_rows is None else single_rows
        self.margin = 1.01 * ((unit.shape[1] + 4) * 2.0**-24 + unit.shape[1] ** 0.5 * 2.0**-27)
        self._rough: Single | None = None
        self._top: Single | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._unit), len(self._single_rows)

    @property
    def rough(self) -> Single:
        if self._rough is None:
            self._rough = self._single @ self._single_rows.T
        return self._rough

    @property
    def top(self) -> Single:
        if self._top is None:
            self._top = self.rough.max(axis=1)
        return self._top

    def exact(self, probes: Ints) -> Floats:
        """The exact scores of some probes with all rows, [len(probes), B]."""
        return np.clip(self._unit[probes] @ self._rows[:].T, -1.0, 1.0)

    def pairs(self, probes: Ints, rows: Ints) -> Floats:
        """The exact scores of single pairs, [M]."""
        scores = np.empty(len(probes), dtype=np.float64)
        for start in range(0, len(probes), _PAIRS):
            part = slice(start, start + _PAIRS)
            scores[part] = np.einsum("md,md->m", self._unit[probes[part]], self._rows[rows[part]])
        return np.clip(scores, -1.0, 1.0)

    def at_least(self, limit: Floats, most: int) -> tuple[Ints, Ints, Floats] | Ints:
        """The pairs `(probes, rows, scores)` of exact scores not below a limit per probe, [P].

        Where more than `most` pairs might be among them, the probes concerned come back alone.
        """
        low = (limit - self.margin).astype(np.float32)
        hit = np.flatnonzero(self.top >= low)
        mask = self.rough[hit] >= low[hit, None]
        if np.count_nonzero(mask) > most:
            return hit
        probes, rows = np.nonzero(mask)
        probes = hit[probes]
        scores = self.pairs(probes, rows)
        hits = scores >= limit[probes]
        return probes[hits], rows[hits], scores[hits]

    def faiss_best(self, k: int) -> tuple[Single, Ints]:
        """The k best rows of each probe by faiss: rough scores, descending, and rows, [P, k] each."""
        faiss: Any = importlib.import_module("faiss")
        index = faiss.IndexFlatIP(self._single.shape[1])
        index.add(self._single_rows)
        result: tuple[Single, Ints] = index.search(self._single, k)
        return result


class _Best:
    """The k best rows of each of P probes so far: `scores` (-inf where there are fewer) and `rows` (-1), [P, k]."""

    def __init__(self, probes: int, k: int, engine: str) -> None:
        self.scores, self.rows = _nothing(probes, k)
        self.scores[:] = -np.inf
        self._k, self._engine = k, engine

    def see(self, products: Products, names: Ints) -> None:
        """Takes in a block of rows, whose positions in the gallery are `names`, [B], above all before."""
        # A later row wins by a higher score only: of equal ones the lower row stays.
        limit = np.nextafter(self.scores[:, -1], np.inf)
        limit[np.isneginf(self.scores[:, -1])] = -np.inf
        k = min(self._k, len(names))
        if self._engine == "faiss" and k == self._k:
            limit = self._see_by_faiss(products, names, limit)
        short = np.flatnonzero(np.isneginf(limit))
        if len(short) and k == self._k:
            kth = np.partition(products.rough[short], len(names) - k, axis=1)[:, len(names) - k]
            limit[short] = kth.astype(np.float64) - products.margin
        if np.isposinf(limit).all():
            return
        candidates = products.at_least(limit, most=4 * k * len(limit) + (1 << 16))
        if isinstance(candidates, tuple):
            self._merge(candidates[0], names[candidates[1]], candidates[2])
            return
        exact = products.exact(candidates)
        # A stable order leaves the lower of equal rows in front.
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        self._merge(np.repeat(candidates, k), names[order].ravel(), np.take_along_axis(exact, order, axis=1).ravel())

    def _see_by_faiss(self, products: Products, names: Ints, limit: Floats) -> Floats:
        """Takes in what faiss finds; what limits remain, infinite for the probes that are done with."""
        k = min(self._k + _SPARE, len(names))
        rough, rows = products.faiss_best(k)
        limit = np.maximum(limit, rough[:, self._k - 1].astype(np.float64) - products.margin)
        # What faiss leaves out scores no more than the last that it names: where that is too low, nothing is lost.
        whole = (rough[:, -1] < limit - 2 * products.margin) | (k == len(names))
        probes, columns = np.nonzero(whole[:, None] & (rough >= (limit - products.margin)[:, None]))
        candidates = rows[probes, columns]
        self._merge(probes, names[candidates], products.pairs(probes, candidates))
        return np.where(whole, np.inf, limit)

    def _merge(self, probes: Ints, rows: Ints, scores: Floats) -> None:
        if not len(probes):
            return
        changed = np.unique(probes)
        all_probes = np.concatenate((np.repeat(changed, self._k), probes))
        all_rows = np.concatenate((self.rows[changed].ravel(), rows))
        all_scores = np.concatenate((self.scores[changed].ravel(), scores))
        order = np.lexsort((all_rows, -all_scores, all_probes))
        starts = np.searchsorted(all_probes[order], changed)
        best = order[starts[:, None] + np.arange(self._k)]
        self.scores[changed], self.rows[changed] = all_scores[best], all_rows[best]


def _nothing(probes: int, k: int) -> tuple[Floats, Ints]:
    return np.full((probes, k), FAILED), np.full((probes, k), -1, dtype=np.int64)
