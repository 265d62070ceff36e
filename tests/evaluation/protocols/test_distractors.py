"""Identification among distractors, against plain loops."""

import json
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.figures.operating import Distinct, operating_points
from bitface.evaluation.protocols import distractors as module
from bitface.evaluation.protocols.closed_set import shares_by_person
from bitface.evaluation.protocols.distractors import HighestImpostors, ListSizes, Photographs, among_distractors
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.nearest import EmbeddingRows
from bitface.evaluation.scores.similarity import unit_rows

from .test_closed_set import people, score


def slow_found(
    mates: np.ndarray,
    probes: np.ndarray,
    names: list[str],
    distractors: np.ndarray,
    rank: int,
    valid: np.ndarray | None = None,
    able: np.ndarray | None = None,
    good: np.ndarray | None = None,
) -> tuple[int, int]:
    """Every photograph is put among the distractors and meets every other one of its person, in plain loops."""
    enrolled, first = unit_rows(mates, valid)
    asking, second = unit_rows(probes, able)
    others, third = unit_rows(distractors, good)
    hits = []
    for gallery in range(len(names)):
        for probe in range(len(names)):
            if gallery == probe or names[gallery] != names[probe]:
                continue
            mate = score(enrolled[gallery], asking[probe])
            better = sum(score(asking[probe], row) >= mate for row, can in zip(others, third, strict=True) if can)
            hits.append(bool(first[gallery] and second[probe] and better < rank))
    return sum(hits), len(hits)


def test_distractors_by_hand() -> None:
    # Ann's two photographs score 0.8 with each other. One distractor scores 0.8 with the first, a tie, and less with
    # the second; another one beats the mate of the second.
    photos = [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]
    distractors = [[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [-1.0, 0.0, 0.0]]
    found = among_distractors(Photographs(["Ann", "Ann", "Bob"], photos), distractors, ListSizes((0, 1, 2, 3)), (1, 2))
    rates = {(point.distractors, point.rank): (point.found, point.trials) for point in found.points}
    assert rates == {
        (0, 1): (2, 2),
        (0, 2): (2, 2),
        (1, 1): (1, 2),
        (1, 2): (2, 2),
        (2, 1): (0, 2),
        (2, 2): (2, 2),
        (3, 1): (0, 2),
        (3, 2): (2, 2),
    }
    assert (found.photos, found.people, found.lone, found.distractors) == (3, 2, 1, 3)
    assert [figure.name for figure in found.figures()][:3] == [
        "rank-1, 3 distractors",
        "rank-2, 3 distractors",
        "rank-1, 2 distractors",
    ]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["spread", "coarse", "equal"])
def test_distractors_against_plain_loops(kind: str, mixed: bool) -> None:
    rng = np.random.default_rng(4)
    photos, names = people(6, 4, noise=1.3)
    distractors = rng.normal(size=(60, 8))
    other = photos + 0.5 * rng.normal(size=photos.shape)
    if kind == "coarse":
        photos, distractors = np.sign(photos), np.sign(distractors)
        distractors[:10] = photos[:10]
    elif kind == "equal":
        photos, distractors = np.ones(photos.shape), np.ones(distractors.shape)
    names = [*names[:-2], "x", "y"]
    photos[3], other[9, 2], distractors[5], distractors[40, 0] = 0, np.nan, 0, np.inf
    valid, able, good = np.arange(24) != 7, np.arange(24) != 12, np.arange(60) != 20
    probes = (other, able) if mixed else (photos, valid)
    found = among_distractors(
        Photographs(names, EmbeddingRows(photos, valid), EmbeddingRows(*probes) if mixed else None),
        EmbeddingRows(distractors, good),
        ListSizes((2, 10, 60)),
        (1, 3),
    )
    for point in found.points:
        part = slice(point.distractors)
        expected = slow_found(photos, probes[0], names, distractors[part], point.rank, valid, probes[1], good[part])
        assert (point.found, point.trials) == expected
        assert point.rate == expected[0] / expected[1]
        assert point.used == np.count_nonzero(unit_rows(distractors[part], good[part])[1])
        assert point.interval.low <= point.rate <= point.interval.high
    assert found.failed_photos == (4 if mixed else 2)
    assert found.failed_distractors == 3
    json.dumps(found.to_json(), allow_nan=False)


def test_intervals_among_distractors_are_by_person() -> None:
    photos, names = people(12, 5, noise=1.2)
    distractors = np.random.default_rng(2).normal(size=(80, 8))
    found = among_distractors(Photographs(names, photos), distractors, ListSizes((80,)), seed=9)
    order = sorted(set(names))
    each = [
        slow_found(photos[rows], photos[rows], [name] * 5, distractors, 1)
        for name in order
        for rows in [[at for at, other in enumerate(names) if other == name]]
    ]
    hits, trials = np.array(each).T
    ((_, _, interval),) = shares_by_person(hits[None], trials, seed=9, orders=2)
    assert found.points[0].interval == interval
    assert 0.05 < found.points[0].rate < 0.95


FARS = (0.1, 1e-2, 3e-3, 1e-3)


@pytest.mark.parametrize("mixed", [False, True])
def test_tar_among_distractors_against_all_scores(mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    photos, names = people(8, 3, noise=0.9)
    other = photos + 0.3 * rng.normal(size=photos.shape) if mixed else photos
    distractors = np.round(rng.normal(size=(200, 8)), 1)
    photos[4], distractors[[3, 150]] = np.nan, 0
    found = among_distractors(
        Photographs(names, photos, other if mixed else None),
        distractors,
        ListSizes((10, 200)),
        fars=FARS,
        resamples=0,
        seed=1,
    )
    rows, usable = unit_rows(photos)
    asking, able = unit_rows(other)
    against, good = unit_rows(distractors)
    genuine = [
        score(rows[a], asking[b]) if usable[a] and able[b] else -1.0
        for a in range(24)
        for b in range(24)
        if names[a] == names[b] and (a != b if mixed else a < b)
    ]
    impostor = [score(asking[a], against[b]) if able[a] and good[b] else -1.0 for a in range(24) for b in range(200)]
    # With two models a pair of mates has a score in either order, and is one comparison.
    distinct = Distinct(len(genuine) // (1 + mixed), len(impostor))
    expected = operating_points(np.array(genuine), ImpostorArray(impostor), FARS, distinct)
    assert found.tar == expected
    assert [point.supported for point in found.tar] == [True, True, True, False]
    assert 0 < found.tar[1].tar < found.tar[0].tar
    again = among_distractors(
        Photographs(names, photos, other if mixed else None), distractors, ListSizes((200,)), fars=FARS, seed=1
    )
    for point, plain in zip(again.tar[:3], expected, strict=False):
        assert point.tar == plain.tar
        assert point.interval.low <= plain.interval.low
        assert point.interval.method == "subject bootstrap, threshold fixed"
    monkeypatch.setattr(module, "HIGHEST_KEPT", 100)
    fewer = among_distractors(
        Photographs(names, photos, other if mixed else None),
        distractors,
        ListSizes((10, 200)),
        fars=FARS,
        resamples=0,
        seed=1,
    )
    assert fewer.tar[1:] == expected[1:]
    assert not fewer.tar[0].supported
    assert fewer.tar[0].reason == "would need 481 impostor scores to be kept, 100 are at most"
    figures = fewer.figures()
    assert [figure.name for figure in figures[:1] + figures[-1:]] == [
        "rank-1, 200 distractors",
        "rank-1, 10 distractors",
    ]
    assert [figure.value for figure in figures[1:-1]] == [None, *(point.tar for point in expected[1:])]
    assert (figures[2].name, figures[4].name) == ("TAR@FAR 1e-2", "TAR@FAR 1e-3")


@pytest.mark.parametrize("kind", ["spread", "equal", "nearly equal"])
def test_the_highest_impostors_are_those_of_all(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    probes, rows = rng.normal(size=(150, 4)), rng.normal(size=(900, 4))
    if kind != "spread":
        scale = 0 if kind == "equal" else 1e-7
        probes, rows = 1 + scale * probes, 1 + scale * rows
    names = [f"{at // 2}" for at in range(150)]
    seen = []
    original = HighestImpostors.see
    monkeypatch.setattr(HighestImpostors, "see", lambda self, products: seen.append(self) or original(self, products))
    among_distractors(Photographs(names, probes), rows, ListSizes((900,)), fars=(1e-3, 1e-4))
    scores = np.sort(np.clip(unit_rows(probes)[0] @ unit_rows(rows)[0].T, -1, 1).ravel())[::-1]
    values, above = seen[-1].at_rank(np.array([1, 14, 136]))
    assert values.tolist() == scores[[0, 13, 135]].tolist()
    assert above.tolist() == [int(np.count_nonzero(scores > value)) for value in values]
    high, at_least = seen[-1].counts(values[:1])
    assert high.tolist() == [int(np.count_nonzero(scores > values[0]))]
    assert at_least[0] == min(136, np.count_nonzero(scores >= values[0]))


def test_sizes_may_repeat_where_distractors_were_dropped() -> None:
    photos, names = people(3, 3)
    found = among_distractors(Photographs(names, photos), photos + 1, ListSizes((2, 2, 9), (3, 4, 11)))
    assert [(point.distractors, point.used) for point in found.points] == [(3, 2), (4, 2), (11, 9)]
    assert found.points[0].found == found.points[1].found


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"people": ["a", "b", "c", "d"]}, BitfaceError, "nobody has two photographs"),
        ({"people": ["a", "a"]}, BitfaceError, "2 names for 4 and 4 embeddings"),
        ({"probes": np.ones((3, 2))}, BitfaceError, "4 names for 4 and 3 embeddings"),
        ({"probes": np.ones((4, 3))}, BitfaceError, "vectors have 2 numbers, the probes' 3"),
        ({"distractors": np.ones((5, 3))}, BitfaceError, "vectors have 3 numbers, the probes' 2"),
        ({"sizes": ListSizes((6,))}, UsageError, "none above the gallery's 5 rows"),
        ({"sizes": ListSizes(())}, UsageError, "give ascending ones"),
        ({"ranks": (0,)}, UsageError, "ranks are .0."),
        ({"fars": (2,)}, UsageError, "FAR of 2"),
        ({"engine": "x"}, UsageError, "no search engine 'x'"),
    ],
)
def test_wrong_requests_among_distractors(change: dict[str, Any], error: type[BitfaceError], message: str) -> None:
    photographs: dict[str, Any] = {"people": ["a", "a", "b", "b"], "mates": np.ones((4, 2)), "probes": None}
    photographs |= {key: change[key] for key in photographs if key in change}
    arguments: dict[str, Any] = {"distractors": np.ones((5, 2)), "sizes": ListSizes((5,)), **change}
    arguments = {key: value for key, value in arguments.items() if key not in photographs}
    with pytest.raises(error, match=message):
        among_distractors(Photographs(**photographs), **arguments)
