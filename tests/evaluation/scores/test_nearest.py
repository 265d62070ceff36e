import importlib.util
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.gallery import Origin, enrolled
from bitface.evaluation.scores import nearest as search
from bitface.evaluation.scores.nearest import EmbeddingRows, Products, nearest, nearest_at
from bitface.evaluation.scores.similarity import unit_rows

ENGINES = [
    "numpy",
    pytest.param(
        "faiss", marks=pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss isn't installed")
    ),
]
KINDS = ("spread", "coarse", "collapsed", "equal", "nearly equal")


def vectors(kind: str, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    rows = rng.normal(size=(count, 12))
    if kind == "coarse":
        return rng.integers(-1, 2, size=(count, 2)) + np.array([0.0, 1e-3])
    if kind == "collapsed":
        return 1 + 1e-2 * rows
    if kind == "nearly equal":
        return 1 + 1e-7 * rows
    return np.ones((count, 12)) if kind == "equal" else rows


def slow(
    gallery: np.ndarray,
    probes: np.ndarray,
    k: int,
    usable_rows: np.ndarray | None = None,
    usable_probes: np.ndarray | None = None,
) -> tuple[list[list[float]], list[list[int]]]:
    """Every probe meets every row; sorted by score and row in plain Python."""
    rows, good = unit_rows(gallery, usable_rows)
    asking, able = unit_rows(probes, usable_probes)
    scores, found = [], []
    for probe, can in zip(asking, able, strict=True):
        met = [(-min(1.0, max(-1.0, float(probe @ row))), at) for at, row in enumerate(rows) if can and good[at]]
        best = sorted(met)[:k] + [(1.0, -1)] * max(0, k - len(met))
        scores.append([-score for score, _ in best])
        found.append([at for _, at in best])
    return scores, found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("k", "block"), [(1, 1), (1, 64), (3, 7), (5, None), (150, 40)])
def test_the_same_as_one_by_one_to_the_last_bit(kind: str, k: int, block: int | None, engine: str) -> None:
    gallery, probes = vectors(kind, 130, 1), vectors(kind, 23, 2)
    found = nearest(gallery, probes, k, engine=engine, block=block)
    scores, rows = slow(gallery, probes, k)
    assert found.rows.tolist() == rows
    assert found.scores.tolist() == scores
    assert (found.failed_probes, found.failed_rows) == (0, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_candidates_are_formed_again_as_a_block(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    exact = Products.exact
    monkeypatch.setattr(Products, "exact", lambda self, probes: asked.append(len(probes)) or exact(self, probes))
    gallery, probes = vectors("nearly equal", 600, 1), vectors("nearly equal", 300, 2)
    found = nearest(gallery, probes, 2, engine=engine, block=300)
    scores, rows = slow(gallery, probes, 2)
    assert asked
    assert found.rows.tolist() == rows
    assert found.scores.tolist() == scores


def test_float32_alone_would_be_wrong() -> None:
    gallery = np.repeat(vectors("spread", 1, 3), 2000, axis=0) * (1 + 1e-7 * vectors("spread", 2000, 4))
    probes = vectors("spread", 5, 5)
    rough = unit_rows(probes)[0].astype(np.float32) @ unit_rows(gallery)[0].astype(np.float32).T
    rows = np.array(slow(gallery, probes, 1)[1])[:, 0]
    assert (rough.argmax(axis=1) != rows).any()
    assert nearest(gallery, probes, 1, engine="numpy").rows[:, 0].tolist() == rows.tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_unusable_vectors_are_never_found_and_find_nothing(engine: str) -> None:
    gallery, probes = vectors("spread", 9, 1), vectors("spread", 4, 2)
    gallery[2], gallery[4, 3], gallery[5, 0], probes[1, 1] = 0, np.nan, np.inf, np.nan
    valid, able = np.arange(9) != 7, np.arange(4) != 3
    found = nearest(EmbeddingRows(gallery, valid), EmbeddingRows(probes, able), 6, engine=engine, block=2)
    scores, rows = slow(gallery, probes, 6, valid, able)
    assert found.rows.tolist() == rows
    assert found.scores.tolist() == scores
    assert set(found.rows[0]) == {0, 1, 3, 6, 8, -1}
    assert found.rows[[1, 3]].tolist() == [[-1] * 6] * 2
    assert (found.scores[[1, 3]] == -1).all()
    assert (found.failed_probes, found.failed_rows) == (2, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_growing_galleries_in_one_pass(engine: str) -> None:
    gallery, probes = vectors("coarse", 100, 1), vectors("coarse", 17, 2)
    gallery[3] = gallery[50] = np.nan
    shown = []
    sizes = (0, 1, 10, 37, 100)
    found = nearest_at(
        gallery, probes, 4, sizes, engine=engine, block=16, watch=lambda block: shown.append(block.shape)
    )
    for size, part in zip(sizes, found, strict=True):
        scores, rows = slow(gallery[:size], probes, 4)
        assert part.rows.tolist() == rows
        assert part.scores.tolist() == scores
        assert part.failed_rows == (size > 3) + (size > 50)
    assert sum(probes * rows for probes, rows in shown) == 17 * 98


def test_many_probes_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, probes = vectors("spread", 50, 1), vectors("spread", 33, 2)
    probes[20], gallery[9] = 0, 0
    whole = nearest(gallery, probes, 3)
    monkeypatch.setattr(search, "_PROBES", 8)
    parts = nearest(gallery, probes, 3)
    assert parts.rows.tolist() == whole.rows.tolist() == slow(gallery, probes, 3)[1]
    assert parts.scores.tolist() == whole.scores.tolist()
    assert (parts.failed_probes, parts.failed_rows) == (whole.failed_probes, whole.failed_rows) == (1, 1)


def test_no_probes_and_no_gallery() -> None:
    assert nearest(vectors("spread", 5, 1), np.empty((0, 12)), 2).rows.shape == (0, 2)
    assert nearest(np.empty((0, 12)), vectors("spread", 3, 1), 2).rows.tolist() == [[-1, -1]] * 3


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["spread", "nearly equal"])
def test_galleries_are_searched_without_making_each_vector(engine: str, kind: str, int8: bool) -> None:
    """As the slow way, though only the best are made in float64; lengths from the smallest to the largest."""
    values = vectors(kind, 400, 6) * np.exp(np.linspace(-80, 80, 400))[:, None]
    gallery = enrolled(values, [str(row) for row in range(400)], Origin("a", "rgb-raw"), int8=int8)
    probes = vectors(kind, 30, 7)
    whole = gallery.unit(slice(None))[0]
    for k in (1, 7):
        found = nearest(gallery, probes, k, engine=engine, block=90)
        scores, rows = slow(whole, probes, k)
        assert found.rows.tolist() == rows
        assert found.scores.tolist() == scores
    products = Products(whole, whole.astype(np.float32), whole, gallery.single(slice(None)))
    assert np.abs(products.rough - products.exact(np.arange(400))).max() <= products.margin


@pytest.mark.parametrize("dimensions", [1, 2, 128, 1024])
def test_the_margin_holds_for_the_worst_rounding(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    # Long runs of one sign make the partial sums, and with them the errors, as large as they get.
    unit = unit_rows(np.abs(rng.normal(size=(300, dimensions))) + 1)[0]
    products = Products(unit, unit.astype(np.float32), unit)
    errors = np.abs(products.rough - products.exact(np.arange(300)))
    assert errors.max() <= products.margin
    one_by_one = np.cumsum(unit[:, None].astype(np.float32) * unit[None, :9].astype(np.float32), axis=2)[..., -1]
    assert one_by_one.dtype == np.float32
    assert np.abs(one_by_one - products.exact(np.arange(300))[:, :9]).max() <= products.margin


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, UsageError, "k is 0"),
        ({"k": 1, "block": 0}, UsageError, "block 0"),
        ({"k": 1, "engine": "annoy"}, UsageError, "no search engine 'annoy'; use numpy or faiss"),
    ],
)
def test_wrong_requests(arguments: dict[str, Any], error: type[UsageError], message: str) -> None:
    with pytest.raises(error, match=message):
        nearest(vectors("spread", 5, 1), vectors("spread", 2, 1), **arguments)


@pytest.mark.parametrize("sizes", [(), (3, 2), (2, 2), (-1, 2), (6,)])
def test_sizes_must_ascend_within_the_gallery(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="give ascending ones, none above the gallery's 5 rows"):
        nearest_at(vectors("spread", 5, 1), vectors("spread", 2, 1), 1, sizes)


def test_wrong_shapes() -> None:
    with pytest.raises(BitfaceError, match="the gallery's vectors have 12 numbers, the probes' 3"):
        nearest(vectors("spread", 5, 1), np.ones((2, 3)), 1)
    with pytest.raises(BitfaceError, match=r"shape \(4,\)"):
        nearest(np.ones(4), np.ones((2, 3)), 1)
    with pytest.raises(BitfaceError, match=r"valid has the shape \(2,\)"):
        EmbeddingRows(np.ones((3, 4)), [True, False])


def test_the_engine_that_is_used_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert search.chosen_engine(search.LARGE) == "faiss"
    assert search.chosen_engine(search.LARGE, probes=1) == "numpy"
    assert search.chosen_engine(search.LARGE - 1) == "numpy"
    assert search.chosen_engine(search.LARGE, "numpy") == "numpy"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert search.chosen_engine(search.LARGE) == "numpy"
    with pytest.raises(UsageError, match=r"faiss isn't installed; install bitface\[search\]"):
        search.chosen_engine(5, "faiss")


def test_a_gallery_in_a_file_is_never_copied(tmp_path: Path) -> None:
    gallery = np.lib.format.open_memmap(tmp_path / "gallery.npy", "w+", np.float32, (120_000, 256))
    gallery[:] = np.random.default_rng(0).normal(size=256)
    gallery[::7, 3] += 1
    gallery.flush()
    gallery = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    probes = np.random.default_rng(1).normal(size=(20, 256))
    nearest(gallery[:5000], probes, 2, engine="numpy")
    tracemalloc.start()
    found = nearest(gallery, probes, 2, engine="numpy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < gallery.nbytes / 4
    assert found.rows.min() >= 0
