import tracemalloc
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation import gallery as module
from bitface.evaluation.gallery import Gallery, Origin, enrolled, quantized
from bitface.evaluation.protocols.closed_set import identify
from bitface.evaluation.scores.nearest import nearest
from bitface.evaluation.scores.similarity import unit_rows

IDS = ("Ann", "Ann", "Böb", "Cy")


def rows(count: int = 4, size: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)) * 7


def test_codes_and_scales_by_hand() -> None:
    codes, scales = quantized(np.array([[3.0, -4.0, 0.0], [0.0, 0.0, -2e-30]]))
    # 3/5 and -4/5: the scale is 0.8/127, and 0.6 of it 95.25 steps.
    assert codes.tolist() == [[95, -127, 0], [0, 0, -127]]
    assert scales == pytest.approx([0.8 / 127, 1 / 127], rel=1e-7)


@pytest.mark.parametrize("size", [1, 7, 512])
def test_every_vector_uses_the_whole_range_and_none_is_half_a_step_off(size: int) -> None:
    values = np.random.default_rng(size).standard_t(2, size=(300, size))
    codes, scales = quantized(values)
    unit = unit_rows(values)[0]
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()
    assert (np.abs(codes * scales[:, None].astype(np.float64) - unit) <= scales[:, None] * 0.50001).all()


def test_scores_against_int8_are_those_of_its_vectors() -> None:
    gallery, probes = enrolled(rows(40), ["x"] * 40, Origin("f", "p"), int8=True), rows(5, seed=1)
    vectors = gallery.embeddings.astype(np.float64) * gallery.scales[:, None]
    cosines = np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in vectors] for a in probes])
    for block in (3, 64):
        neighbours = nearest(gallery, probes, 40, block=block)
        assert neighbours.rows.tolist() == np.argsort(-cosines, axis=1, kind="stable").tolist()
        assert neighbours.scores == pytest.approx(-np.sort(-cosines, axis=1), abs=1e-6)


def test_scoring_an_int8_gallery_never_expands_it_whole() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (40_000, 64), np.int8)
    gallery = Gallery(codes, ("x",) * 40_000, "f", "p", scales=np.ones(40_000, np.float32))
    probes = rows(3, 64)
    tracemalloc.start()
    nearest(gallery, probes, 1, block=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < gallery.embeddings.size * 8 / 4


def test_rank_1_in_int8_is_that_of_its_vectors() -> None:
    rng = np.random.default_rng(5)
    people = rng.normal(size=(60, 24))
    values = people + 0.9 * rng.normal(size=(60, 24))
    probes = (people[:, None] + 0.9 * rng.normal(size=(60, 3, 24))).reshape(-1, 24)
    ids, subjects = [f"p{at}" for at in range(60)], [f"p{at // 3}" for at in range(180)]

    def rank1(vectors: np.ndarray) -> float:
        hits = 0
        for at, probe in enumerate(unit_rows(probes)[0]):
            scores = [float(probe @ vector) for vector in unit_rows(vectors)[0]]
            hits += all(scores[at // 3] > score for other, score in enumerate(scores) if other != at // 3)
        return hits / 180

    gallery = enrolled(values, ids, Origin("f", "p"))
    small = gallery.quantized()
    expanded = small.embeddings * small.scales[:, None].astype(np.float64)
    for form, vectors in ((gallery, values.astype(np.float32)), (small, expanded)):
        rate = identify(form, ids, probes, subjects, (1,)).points[0].rate
        assert rate == rank1(vectors)
        assert 0.2 < rate < 1
    both = [unit_rows(probes)[0] @ unit_rows(form)[0].T for form in (values, expanded)]
    assert 1e-4 < np.abs(both[0] - both[1]).max() < 0.02
    assert small.quantized() is small


def test_another_model_is_refused() -> None:
    gallery = enrolled(rows(), IDS, Origin("a1b2c3d4e5f60718", "rgb-raw"))
    gallery.check_model("a1b2c3d4e5f60718")
    gallery.check_model("0" * 64, allow_mixed=True)
    with pytest.raises(
        UsageError, match=r"by model a1b2c3d4e5f6, the probes come from 000000000000: .*allow_mixed=True"
    ):
        gallery.check_model("0" * 64)
    with pytest.raises(UsageError, match="from unknown"):
        gallery.check_model("")
    with pytest.raises(UsageError, match=r"by model unknown, .* unknown: "):
        enrolled(rows(), IDS, Origin("", "rgb-raw")).check_model("")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(4), IDS), r"float32 \[4\]; expected float32 \[images, size\]"),
        ((np.ones((0, 3)), ()), r"float32 \[0, 3\]"),
        ((np.ones((4, 3)), IDS[:3]), "3 names for 4 embeddings"),
        ((np.ones((2, 3)), ("Ann", "")), "none of them empty"),
        (([[1, 2], [np.nan, 1]], ("Ann", "Bob")), r"row 1 \(Bob\) is not finite"),
        (([[1, 2], [1e300, 1]], ("Ann", "Bob")), r"row 1 \(Bob\) is not finite"),
        (([[1, 2], [0, 0]], ("Ann", "Bob")), r"row 1 \(Bob\) is zero; enrol only images"),
        (([["x"]], ("Ann",)), "aren't numbers"),
    ],
)
def test_what_cannot_be_enrolled(arguments: tuple[Any, Any], message: str) -> None:
    for int8 in (False, True):
        with pytest.raises(BitfaceError, match=message):
            enrolled(*arguments, Origin("f", "p"), int8=int8)


def test_quantizing_names_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 2)
    with pytest.raises(BitfaceError, match="row 4 is zero or not finite"):
        quantized(np.array([[1.0], [2.0], [3.0], [4.0], [0.0], [5.0]]))
