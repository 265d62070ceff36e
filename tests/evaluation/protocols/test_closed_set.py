import json
import math
from typing import Any

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.protocols import closed_set as identification
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.closed_set import identify, shares_by_person
from bitface.evaluation.protocols.people import ClosedSetProtocol
from bitface.evaluation.scores.nearest import EmbeddingRows
from bitface.evaluation.scores.similarity import unit_rows


def people(count: int, images: int, size: int = 8, noise: float = 0.8, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Embeddings and names: `images` each of `count` people."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(count, size)), images, axis=0)
    return centres + noise * rng.normal(size=centres.shape), [f"p{at // images}" for at in range(count * images)]


def score(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two rows that `unit_rows` has made."""
    return max(-1.0, min(1.0, float(a @ b)))


def slow_ranks(
    gallery: np.ndarray,
    labels: list[str],
    probes: np.ndarray,
    asked: list[str],
    valid: np.ndarray | None = None,
    able: np.ndarray | None = None,
) -> list[int]:
    """The rank of each probe, person by person, in plain loops."""
    rows, good = unit_rows(gallery, valid)
    asking, usable = unit_rows(probes, able)
    names = sorted(set(labels))
    ranks = []
    for probe, name, can in zip(asking, asked, usable, strict=True):
        best = {}
        for person in names:
            scores = [score(probe, rows[at]) for at, label in enumerate(labels) if label == person and good[at]]
            best[person] = max(scores, default=-math.inf)
        if not can or best[name] == -math.inf:
            ranks.append(len(names) + 1)
        else:
            ranks.append(1 + sum(best[person] >= best[name] for person in names if person != name))
    return ranks


# Shares


def test_shares_by_person_against_resampling_in_plain_loops() -> None:
    successes, trials = [[3, 0, 5, 1], [4, 1, 5, 2]], [4, 2, 5, 9]
    ours = shares_by_person(np.array(successes), np.array(trials), resamples=50, seed=3)
    generator = np.random.default_rng(3)
    drawn = [generator.integers(0, 4, size=4).tolist() for _ in range(50)]
    for row, (found, total, interval) in zip(successes, ours, strict=True):
        assert (found, total) == (sum(row), 20)
        shares = [sum(row[at] for at in picks) / sum(trials[at] for at in picks) for picks in drawn]
        low, high = np.quantile(shares, [0.025, 0.975])
        plain = wilson(found, total)
        assert interval.low == pytest.approx(min(low, plain.low), abs=1e-15)
        assert interval.high == pytest.approx(max(high, plain.high), abs=1e-15)
        assert interval.method == "subject bootstrap"


def test_people_who_agree_have_wider_intervals_than_independent_trials() -> None:
    # Ten people, each either always found or never: ten trials' worth of knowledge, not a thousand.
    ((_, _, interval),) = shares_by_person(np.array([[100, 0] * 5]), np.full(10, 100))
    assert interval.high - interval.low > 0.5
    ((_, _, independent),) = shares_by_person(np.array([[100, 0] * 5]), np.full(10, 100), resamples=0)
    assert independent == wilson(500, 1000)
    assert independent.high - independent.low < 0.07


def test_shares_follow_the_seed_alone() -> None:
    arguments = np.arange(40)[None] ** 2, np.full(40, 1600)
    assert shares_by_person(*arguments, seed=1) == shares_by_person(*arguments, seed=1)
    assert shares_by_person(*arguments, seed=1) != shares_by_person(*arguments, seed=2)


# Closed set


def test_three_people_by_hand() -> None:
    gallery = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    # Nearest to a; nearer to b than to its own a; a tie between c and b; opposite to its own c.
    probes = [[2.0, 0.1], [0.5, 2.0], [-1.0, 1.0], [3.0, 0.5]]
    found = identify(gallery, ["a", "b", "c"], probes, ["a", "a", "c", "c"], (1, 2, 3))
    assert found.ranks.tolist() == [1, 2, 2, 3]
    assert [point.found for point in found.points] == [1, 3, 4]
    assert [point.rate for point in found.points] == [0.25, 0.75, 1.0]
    assert [figure.name for figure in found.figures()] == ["rank-1", "rank-2", "rank-3"]
    assert found.to_json(curve=True)["cmc"] == [0.25, 0.75, 1.0]


@pytest.mark.parametrize("block", [1, 5, 2048])
@pytest.mark.parametrize("kind", ["spread", "coarse", "equal"])
def test_ranks_against_plain_loops(kind: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "_BLOCK", block)
    monkeypatch.setattr(identification, "_PROBES", 7 if block < 6 else 4096)
    rng = np.random.default_rng(1)
    rows, labels = people(9, 5)
    if kind == "coarse":
        rows = rng.integers(-1, 2, size=rows.shape)
    elif kind == "equal":
        rows = np.ones(rows.shape)
    order = rng.permutation(45)
    rows, labels = rows[order].astype(float), [labels[at] for at in order]
    rows[2], rows[30], rows[40, 1] = 0, np.nan, np.inf
    valid = np.ones(45, bool)
    valid[[i for i in range(20) if labels[i] == labels[0]]] = False
    gallery, probes = EmbeddingRows(rows[:20], valid[:20]), EmbeddingRows(rows[20:], valid[20:])
    enrolled, asked = [*labels[:20]], labels[20:]
    kept = [at for at, name in enumerate(asked) if name in enrolled]
    probes = EmbeddingRows(rows[20:][kept], valid[20:][kept])
    asked = [asked[at] for at in kept]
    found = identify(gallery, enrolled, probes, asked, (1, 2, 4))
    ranks = slow_ranks(rows[:20], enrolled, rows[20:][kept], asked, valid[:20], valid[20:][kept])
    assert found.ranks.tolist() == ranks
    assert [point.found for point in found.points] == [sum(rank <= k for rank in ranks) for k in (1, 2, 4)]
    assert found.failed_enrolled == np.count_nonzero(~unit_rows(rows[:20], valid[:20])[1]) > 1
    assert found.failed_probes == np.count_nonzero(~unit_rows(rows[20:][kept], valid[20:][kept])[1])
    assert max(ranks) == found.people + 1
    cmc = found.to_json(curve=True)["cmc"]
    assert cmc == pytest.approx([sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, found.people + 1)])
    json.dumps(found.to_json(), allow_nan=False)


def test_rank_intervals_are_by_person() -> None:
    rows, labels = people(30, 12, noise=1.5)
    first = np.arange(0, 360, 12)
    others = np.setdiff1d(np.arange(360), first)
    names = np.array(labels)
    found = identify(rows[first], names[first], rows[others], names[others], (1,), seed=5)
    by_person: list[list[Any]] = [[], []]
    for person in sorted(set(labels)):
        mine = found.ranks[names[others] == person]
        by_person[0].append(np.count_nonzero(mine == 1))
        by_person[1].append(len(mine))
    ((hits, total, interval),) = shares_by_person(np.array(by_person[:1]), np.array(by_person[1]), seed=5)
    point = found.points[0]
    assert (point.found, point.trials, point.interval) == (hits, total, interval)
    assert 0.1 < point.rate < 0.9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((2, 2)), ["a"], np.ones((1, 2)), ["a"]), BitfaceError, "1 and 1 labels for 2 gallery images"),
        ((np.ones((2, 2)), ["a", "b"], np.ones((1, 2)), ["a", "b"]), BitfaceError, "2 and 2 labels for 2 .* and 1"),
        ((np.ones((2, 2)), ["a", "b"], np.ones((0, 2)), []), BitfaceError, "no probes"),
        ((np.ones((2, 2)), ["a", "b"], np.ones((2, 2)), ["b", "z"]), BitfaceError, "1 of 2 probes .* first z"),
        ((np.ones((2, 2)), ["a", "b"], np.ones((1, 3)), ["b"]), BitfaceError, "2 numbers, the probes' 3"),
        ((np.ones((2, 2)), ["a", "b"], np.ones((1, 2)), ["b"], ()), UsageError, "ranks are "),
        ((np.ones((2, 2)), ["a", "b"], np.ones((1, 2)), ["b"], (1, 0)), UsageError, "none below 1"),
    ],
)
def test_wrong_requests(arguments: tuple[Any, ...], error: type[BitfaceError], message: str) -> None:
    with pytest.raises(error, match=message):
        identify(*arguments)


PATHS = ("lfw/Cy/1.jpg", "lfw/Ann/2.jpg", "lfw/Ann/1.jpg", "lfw/Bob/1.jpg", "lfw/Ann/3.jpg", "lfw/Bob/2.jpg")


def test_the_first_image_of_everybody_is_enrolled() -> None:
    protocol = ClosedSetProtocol.of(PATHS, (1,))
    assert protocol.paths == tuple(sorted(PATHS))
    assert [protocol.paths[at] for at in protocol.enrolled] == ["lfw/Ann/1.jpg", "lfw/Bob/1.jpg", "lfw/Cy/1.jpg"]
    assert [protocol.paths[at] for at in protocol.probes] == ["lfw/Ann/2.jpg", "lfw/Ann/3.jpg", "lfw/Bob/2.jpg"]


def test_a_gallery_of_one_model_and_probes_of_another() -> None:
    protocol = ClosedSetProtocol.of(PATHS, (1, 2))
    #                     Ann 1   Ann 2   Ann 3    Bob 1   Bob 2   Cy
    gallery = np.array([[1, 0], [9, 9], [9, 9], [0, 1], [9, 9], [-1, 0]], dtype=np.float32)
    probes = np.array([[9, 9], [1, 0.1], [0.1, 1], [9, 9], [0.1, 1], [9, 9]], dtype=np.float32)
    found = protocol.score(Embeddings(gallery), Embeddings(probes))
    assert found.ranks.tolist() == [1, 2, 1]
    assert [figure.value for figure in found.figures()] == [pytest.approx(2 / 3), 1]
    swapped = protocol.score(Embeddings(probes), Embeddings(gallery))
    assert swapped.ranks.tolist() != found.ranks.tolist()


def test_failures_and_bad_models_are_told() -> None:
    rows, labels = people(6, 3)
    protocol = ClosedSetProtocol.of([f"{name}/{at}.jpg" for at, name in enumerate(labels)])
    good = Embeddings(rows)
    assert protocol.score(good).warnings == ()
    valid = np.ones(18, bool)
    valid[[protocol.enrolled[1], protocol.probes[0], protocol.probes[3]]] = False
    found = protocol.score(Embeddings(rows, valid))
    assert found.warnings == (
        "1 of 6 enrolled images have no usable embedding: they are never found and find nothing",
        "2 of 12 probes have no usable embedding: they are never found and find nothing",
    )
    assert sum(rank == 7 for rank in found.ranks) == 2 + 2 - (
        labels[protocol.probes[3]] == labels[protocol.enrolled[1]]
    )
    mixed = protocol.score(good, Embeddings(np.ones((18, 8)) + 1e-5 * rows)).warnings
    assert mixed
    assert all(warning.startswith("probes: ") for warning in mixed)
    with pytest.raises(BitfaceError, match="5 embeddings for 18 images"):
        protocol.score(Embeddings(rows[:5]))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("Ann/1.jpg", "Ann/2.jpg", "Bob/1.jpg", "Ann/2.jpg"), r"Ann/2\.jpg: is named more than once"),
        (("Ann/1.jpg", "Ann/2.jpg", "1.jpg"), r"1\.jpg: lies in no folder"),
        (("Ann/1.jpg", "Ann/2.jpg"), "2 images of 1 people"),
        (("Ann/1.jpg", "Bob/2.jpg"), "one of them with two images"),
        ((), "0 images of 0 people"),
    ],
)
def test_images_that_make_no_protocol(paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(BitfaceError, match=message):
        ClosedSetProtocol.of(paths)


# Distractors
