"""Two models on the same pairs, mixed galleries, and groups: against figures found by hand."""

import numpy as np
import pytest

from bitface.errors import BitfaceError
from bitface.evaluation import all_pairs, mcnemar, rates_at
from bitface.evaluation.figures.bootstrap import paired_list_differences
from bitface.evaluation.figures.compare import compare
from bitface.evaluation.groups import Groups, by_group
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.mixed import matrix
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.pairs import PairProtocol

PEOPLE, IMAGES = 60, 3
FARS = (0.05, 0.01)


def protocol(whole: bool = True) -> PairProtocol:
    """The first two images of each person, and as many impostors, in five folds; or all pairs of their images."""
    paths = tuple(sorted(f"p{person:02}/{image}.jpg" for person in range(PEOPLE) for image in range(IMAGES)))
    first = np.arange(PEOPLE) * IMAGES
    left = np.concatenate([first, first])
    right = np.concatenate([first + 1, (first + IMAGES) % (PEOPLE * IMAGES) + 2])
    same = np.arange(2 * PEOPLE) < PEOPLE
    fold = np.tile(np.arange(PEOPLE) % 5, 2)
    return PairProtocol("toy", PairList(paths, left.astype(np.int32), right.astype(np.int32), same, fold), whole)


def embeddings(seed: int, noise: float) -> Embeddings:
    """The same faces as every other seed sees, with noise of its own."""
    random = np.random.default_rng(99)
    faces = np.repeat(random.standard_normal((PEOPLE, 12)), IMAGES, 0) + 0.5 * random.standard_normal((180, 12))
    return Embeddings(faces + noise * np.random.default_rng(seed).standard_normal(faces.shape))


@pytest.mark.parametrize("whole", [False, True])
def test_a_comparison_is_of_the_same_pairs(whole: bool) -> None:
    toy = protocol(whole)
    base = toy.score(embeddings(0, 0.0), fars=FARS)
    reused = [float(point.threshold or 0) for point in base.tar if point.supported]
    worse = toy.score(embeddings(1, 0.9), fars=FARS, at=reused)
    found = compare(base, worse, worse.summary.fixed, resamples=200)
    assert found.mcnemar == mcnemar(base.accuracy.correct, worse.accuracy.correct)
    supported = [(a, b) for a, b in zip(base.tar, worse.tar, strict=True) if a.supported]
    assert [one.far for one in found.differences] == [a.far for a, _ in supported]
    for one, (a, b) in zip(found.differences, supported, strict=True):
        assert (one.baseline, one.model) == (a.tar, b.tar)
        assert one.change == pytest.approx((b.tar or 0) - (a.tar or 0))
        assert one.reused is not None
        assert one.reused.threshold == a.threshold
        assert one.interval.low <= one.change <= one.interval.high < 0
        assert ("subject" in one.interval.method) == whole
    same = compare(base, base, resamples=50)
    assert same.mcnemar.flipped == 0
    assert all(one.change == 0 and one.reused is None for one in same.differences)
    with pytest.raises(BitfaceError, match="different FARs"):
        compare(base, toy.score(embeddings(1, 0.9), fars=(0.1,)))


def test_the_mixed_matrix() -> None:
    toy = protocol()
    sides = {"baseline": embeddings(0, 0.2), "model": embeddings(1, 0.6)}
    cells = matrix(toy, sides["baseline"], sides["model"], FARS)
    assert [(cell.gallery, cell.probe) for cell in cells] == [(a, b) for a in sides for b in sides]
    people = np.repeat(np.arange(PEOPLE), IMAGES)
    for cell in cells:
        left, right = (sides[name].values for name in (cell.gallery, cell.probe))
        scores = (left / np.linalg.norm(left, axis=1)[:, None]) @ (right / np.linalg.norm(right, axis=1)[:, None]).T
        figures = {figure.name: figure.value for figure in cell.figures}
        ordered = np.triu(np.ones_like(scores, bool), 1) if cell.gallery == cell.probe else ~np.eye(180, dtype=bool)
        own = people[:, None] == people
        impostors, genuine = np.sort(scores[ordered & ~own])[::-1], scores[ordered & own]
        rejected = impostors[int(0.05 * len(impostors))]
        assert figures["TAR@FAR 5e-2"] == pytest.approx((genuine > rejected).mean())
        enrolled = np.arange(0, 180, IMAGES)
        probes = np.setdiff1d(np.arange(180), enrolled)
        nearest = people[enrolled][scores[np.ix_(enrolled, probes)].argmax(0)]
        assert figures["rank-1"] == pytest.approx((nearest == people[probes]).mean())
    with pytest.raises(BitfaceError, match="different sizes"):
        matrix(toy, sides["baseline"], Embeddings(np.ones((180, 5))), FARS)


@pytest.mark.parametrize("whole", [False, True])
def test_groups_are_judged_at_everybodys_threshold(whole: bool) -> None:
    toy, found = protocol(whole), embeddings(0, 0.4)
    overall = toy.score(found, fars=(0.2,))
    people = np.repeat(np.arange(PEOPLE), IMAGES)
    inside = people % 3 == 0
    members = {"third": {"yes": inside, "no": ~inside}, "alone": {"one": people == 7}}
    rows = by_group(toy, found, Groups(members, 0), overall)
    assert [(row.attribute, row.group) for row in rows] == [("third", "yes"), ("third", "no"), ("alone", "one")]
    unit = found.values / np.linalg.norm(found.values, axis=1, keepdims=True)
    scores, own = unit @ unit.T, people[:, None] == people
    threshold = float(overall.tar[0].threshold or 0) - 1e-6  # scores here are off the grid
    for row, mask in zip(rows[:2], (inside, ~inside), strict=True):
        if whole:
            pairs = np.triu(mask[:, None] & mask, 1)
            genuine, impostor = scores[pairs & own], scores[pairs & ~own]
        else:
            kept = mask[toy.pairs.left] & mask[toy.pairs.right]
            listed = scores[toy.pairs.left, toy.pairs.right]
            genuine, impostor = listed[kept & toy.pairs.same], listed[kept & ~toy.pairs.same]
        if not len(impostor):  # neighbours among the impostors are never both in the third
            assert "no impostor pairs" in (row.reason or "")
            continue
        slow = rates_at(genuine, impostor, threshold)
        assert row.rates[0]["far"] == pytest.approx(slow.far)
        assert row.rates[0]["tar"] == pytest.approx(slow.tar)
        assert row.images == mask.sum()
    assert rows[2].reason is not None
    if whole:
        summary = all_pairs(found.values[inside], people[inside], (0.2,))
        shown = {figure["name"]: figure["value"] for figure in rows[0].figures}
        assert shown["TAR@FAR 2e-1"] == summary.tar[0].tar
        assert shown["EER"] == summary.eer


def test_a_resample_of_a_list_by_hand() -> None:
    random = np.random.default_rng(3)
    same = np.arange(60) < 20
    first, second = random.random(60).round(1) + 0.3 * same, random.random(60) + 0.2 * same
    drawn = paired_list_differences(same, first, second, (0.25,), resamples=3, seed=8)
    generator = np.random.default_rng(8)
    for row in range(3):
        rows = generator.integers(0, 60, 60)
        tars = []
        for scores in (first, second):
            impostor = sorted(scores[rows][~same[rows]], reverse=True)
            rejected = impostor[int(0.25 * len(impostor))]
            tars.append((scores[rows][same[rows]] > rejected).mean())
        assert drawn[row, 0] == pytest.approx(tars[1] - tars[0])
