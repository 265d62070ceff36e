import json
import math

import numpy as np
import pytest

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.figures.intervals import wilson
from bitface.evaluation.figures.operating import Distinct, operating_points
from bitface.evaluation.protocols import closed_set as identification
from bitface.evaluation.protocols import distractors as module
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.closed_set import identify, shares_by_person
from bitface.evaluation.protocols.distractors import HighestImpostors, ListSizes, Photographs, among_distractors
from bitface.evaluation.protocols.people import ClosedSetProtocol
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.nearest import EmbeddingRows
from bitface.evaluation.scores.similarity import unit_rows


def people(count, images, size=8, noise=0.8, seed=0):
    """Embeddings and names: `images` each of `count` people."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(count, size)), images, axis=0)
    return centres + noise * rng.normal(size=centres.shape), [f"p{at // images}" for at in range(count * images)]


def score(a, b):
    """The cosine of two rows that `unit_rows` has made."""
    return max(-1.0, min(1.0, float(a @ b)))


def slow_ranks(gallery, labels, probes, asked, valid=None, able=None):
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


def test_shares_by_person_against_resampling_in_plain_loops():
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


def test_people_who_agree_have_wider_intervals_than_independent_trials():
    # Ten people, each either always found or never: ten trials' worth of knowledge, not a thousand.
    ((_, _, interval),) = shares_by_person(np.array([[100, 0] * 5]), np.full(10, 100))
    assert interval.high - interval.low > 0.5
    ((_, _, independent),) = shares_by_person(np.array([[100, 0] * 5]), np.full(10, 100), resamples=0)
    assert independent == wilson(500, 1000)
    assert independent.high - independent.low < 0.07


def test_shares_follow_the_seed_alone():
    arguments = np.arange(40)[None] ** 2, np.full(40, 1600)
    assert shares_by_person(*arguments, seed=1) == shares_by_person(*arguments, seed=1)
    assert shares_by_person(*arguments, seed=1) != shares_by_person(*arguments, seed=2)


# Closed set


def test_three_people_by_hand():
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
def test_ranks_against_plain_loops(kind, block, monkeypatch):
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


def test_rank_intervals_are_by_person():
    rows, labels = people(30, 12, noise=1.5)
    first = np.arange(0, 360, 12)
    others = np.setdiff1d(np.arange(360), first)
    names = np.array(labels)
    found = identify(rows[first], names[first], rows[others], names[others], (1,), seed=5)
    by_person = [[], []]
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
def test_wrong_requests(arguments, error, message):
    with pytest.raises(error, match=message):
        identify(*arguments)


PATHS = ("lfw/Cy/1.jpg", "lfw/Ann/2.jpg", "lfw/Ann/1.jpg", "lfw/Bob/1.jpg", "lfw/Ann/3.jpg", "lfw/Bob/2.jpg")


def test_the_first_image_of_everybody_is_enrolled():
    protocol = ClosedSetProtocol.of(PATHS, (1,))
    assert protocol.paths == tuple(sorted(PATHS))
    assert [protocol.paths[at] for at in protocol.enrolled] == ["lfw/Ann/1.jpg", "lfw/Bob/1.jpg", "lfw/Cy/1.jpg"]
    assert [protocol.paths[at] for at in protocol.probes] == ["lfw/Ann/2.jpg", "lfw/Ann/3.jpg", "lfw/Bob/2.jpg"]


def test_a_gallery_of_one_model_and_probes_of_another():
    protocol = ClosedSetProtocol.of(PATHS, (1, 2))
    #                     Ann 1   Ann 2   Ann 3    Bob 1   Bob 2   Cy
    gallery = np.array([[1, 0], [9, 9], [9, 9], [0, 1], [9, 9], [-1, 0]], dtype=np.float32)
    probes = np.array([[9, 9], [1, 0.1], [0.1, 1], [9, 9], [0.1, 1], [9, 9]], dtype=np.float32)
    found = protocol.score(Embeddings(gallery), Embeddings(probes))
    assert found.ranks.tolist() == [1, 2, 1]
    assert [figure.value for figure in found.figures()] == [pytest.approx(2 / 3), 1]
    swapped = protocol.score(Embeddings(probes), Embeddings(gallery))
    assert swapped.ranks.tolist() != found.ranks.tolist()


def test_failures_and_bad_models_are_told():
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
def test_images_that_make_no_protocol(paths, message):
    with pytest.raises(BitfaceError, match=message):
        ClosedSetProtocol.of(paths)


# Distractors


def slow_found(mates, probes, names, distractors, rank, valid=None, able=None, good=None):
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


def test_distractors_by_hand():
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
def test_distractors_against_plain_loops(kind, mixed):
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


def test_intervals_among_distractors_are_by_person():
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
def test_tar_among_distractors_against_all_scores(mixed, monkeypatch):
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
def test_the_highest_impostors_are_those_of_all(kind, monkeypatch):
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


def test_sizes_may_repeat_where_distractors_were_dropped():
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
def test_wrong_requests_among_distractors(change, error, message):
    photographs = {"people": ["a", "a", "b", "b"], "mates": np.ones((4, 2)), "probes": None}
    photographs |= {key: change[key] for key in photographs if key in change}
    arguments = {"distractors": np.ones((5, 2)), "sizes": ListSizes((5,)), **change}
    arguments = {key: value for key, value in arguments.items() if key not in photographs}
    with pytest.raises(error, match=message):
        among_distractors(Photographs(**photographs), **arguments)
