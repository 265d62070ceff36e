"""Verification over all pairs that can be formed of a set of images, by one model or between two."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.arrays import Bools, Floats, Ints, score_array
from bitface.evaluation.figures.bootstrap import SubjectScores, tail_needed, with_subject_intervals
from bitface.evaluation.figures.extrapolate import TAIL
from bitface.evaluation.figures.operating import FARS, Distinct, OperatingPoint, check_fars, operating_points
from bitface.evaluation.figures.results import (
    ALL_PAIRS,
    Counts,
    ImpostorSummary,
    ScoreSummary,
    impostor_rates,
    summarise,
)
from bitface.evaluation.lists.pairs import PairList
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.scores.similarity import row_scores, unit_rows
from bitface.evaluation.scores.tiles import TiledImpostors

_TAIL = 1 << 16


def all_pairs(
    embeddings: Embeddings | ArrayLike,
    identities: Sequence[str] | np.ndarray,
    fars: Sequence[float] = FARS,
    *,
    block: int = 1024,
    resamples: int = 1000,
    seed: int = 0,
    at: Sequence[float] = (),
    probe: Embeddings | None = None,
) -> ScoreSummary:
    """Scores all N(N-1)/2 pairs: genuine where the identities are equal, impostor where they differ.

    With the embeddings of a second model as `probe`, all N(N-1) ordered pairs of different images: the first embedded
    by the one model, as if enrolled, the second by the other. What FARs they support, and how narrow intervals may be,
    is a matter of the N(N-1)/2 distinct pairs even so.

    AUC, EER, thresholds and TAR are exact, and the same for every `block`. Intervals are bootstrapped by
    subject, see `bootstrap`.

    Args:
        embeddings: [N, D], any floating-point type and any length of the vectors. Pairs that touch an image that
            isn't valid, or whose embedding is zero or not finite, score -1.
        identities: [N], names or numbers.
        fars: where to report TAR.
        block: images per side of a tile; bounds memory, changes nothing else.
        resamples: of the bootstrap; 0 leaves Wilson intervals, which take pairs to be independent.
        seed: of the bootstrap.
        at: thresholds at which to report both error rates.
        probe: of the same images by another model.

    Raises:
        BitfaceError: shapes don't fit, or there are no genuine or no impostor pairs.
        UsageError: a FAR isn't between 0 and 1, or `block` or `resamples` is out of range.
    """
    targets = check_fars(fars)
    if block < 1 or resamples < 0:
        raise UsageError(f"block is {block} and resamples {resamples}; use at least 1 and 0")
    rows = Embeddings.of(embeddings)
    unit, usable = unit_rows(rows.values, rows.valid)
    other, other_usable = (unit, usable) if probe is None else unit_rows(probe.values, probe.valid)
    check_sides(unit, other)
    names = np.asarray(identities)
    if names.shape != (len(unit),):
        raise BitfaceError(f"{len(names)} identities for {len(unit)} embeddings; give one for each")
    distinct, subject = np.unique(names, return_inverse=True)
    images = np.bincount(subject, minlength=len(distinct))
    left, right = _same_subject_pairs(subject, images)
    # One model scores a pair alike in both orders, so that it counts once.
    orders = 1 if probe is None else 2
    if orders == 2:
        left, right = np.concatenate((left, right)), np.concatenate((right, left))
    impostor_count = _impostor_pairs(images, images) * orders // 2
    if impostor_count == 0:
        raise BitfaceError("all images show one identity; all-pairs verification needs at least two")
    genuine = side_scores((unit, usable), (other, other_usable), left, right)
    score_array(genuine, "genuine")
    whose, other_whose = subject[usable], subject[other_usable]
    formed = _impostor_pairs(*(np.bincount(side, minlength=len(distinct)) for side in (whose, other_whose)))
    failed_impostor = impostor_count - formed * orders // 2
    probes = None if probe is None else (other[other_usable], other_whose)
    impostors = TiledImpostors(unit[usable], whose, failed_impostor, block, probe=probes)
    failed_genuine = int(np.count_nonzero(~(usable[left] & other_usable[right])))
    counts = Counts(
        images=len(unit),
        failed_images=int(np.count_nonzero(~(usable & other_usable))),
        identities=len(distinct),
        genuine=len(genuine),
        impostor=impostors.count,
        failed_pairs=failed_genuine + failed_impostor,
        distinct=Distinct(len(genuine) // orders, impostors.count // orders),
    )
    summary = summarise(genuine, impostors, targets, ALL_PAIRS, counts, at, failed_genuine)
    if not resamples:
        return summary
    tail, tail_left, tail_right = impostors.highest(_kept(summary.tar))
    scores = SubjectScores(images, genuine, subject[left], tail, whose[tail_left], other_whose[tail_right])
    if orders == 2:
        return replace(summary, tar=_ordered_intervals(summary.tar, scores, resamples, seed))
    return replace(summary, tar=with_subject_intervals(summary.tar, scores, resamples, seed), subjects=scores)


def strangers(
    embeddings: Embeddings | ArrayLike, fars: Sequence[float] = FARS, *, block: int = 1024, at: Sequence[float] = ()
) -> ImpostorSummary:
    """Scores all N(N-1)/2 pairs of images that each show somebody else: what FARs need, and no TAR.

    For arguments see `all_pairs`.

    Raises:
        BitfaceError: there are fewer than two images.
        UsageError: a FAR isn't between 0 and 1.
    """
    targets = check_fars(fars)
    rows = Embeddings.of(embeddings)
    unit, usable = unit_rows(rows.values, rows.valid)
    if len(unit) < 2:
        raise BitfaceError(f"{len(unit)} image makes no pair; all-pairs verification needs at least two")
    images, whose = np.ones(len(unit), np.int64), np.flatnonzero(usable)
    count, formed = (_impostor_pairs(one, one) // 2 for one in (images, images[whose]))
    impostors = TiledImpostors(unit[usable], whose, count - formed, block)
    nobody, distinct = np.empty(0), Distinct(0, count)
    counts = Counts(len(unit), len(unit) - len(whose), len(unit), 0, count, count - formed, distinct)
    points = operating_points(nobody, impostors, targets)
    tail, left, right = impostors.highest(_kept(points))
    scores = SubjectScores(images, nobody, np.empty(0, np.int64), tail, whose[left], whose[right])
    return ImpostorSummary(ALL_PAIRS, points, counts, impostor_rates(impostors, at), scores)


def _kept(points: Sequence[OperatingPoint]) -> int:
    """The highest impostor scores that are kept for resampling, and for FARs that too few decide."""
    tails = [tail_needed(one.false_accepts) if one.false_accepts is not None else TAIL + 1 for one in points]
    return max([size for size in tails if size <= _TAIL], default=0)


def check_sides(gallery: Floats, probe: Floats) -> None:
    """Raises BitfaceError where the embeddings of two models, `[N, D]` each, aren't of as many images and numbers."""
    if gallery.shape != probe.shape:
        raise BitfaceError(
            f"the gallery's embeddings are {gallery.shape}, the probes' {probe.shape}; give the same images by "
            "models of one size"
        )


def side_scores(first: tuple[Floats, Bools], second: tuple[Floats, Bools], left: ArrayLike, right: ArrayLike) -> Floats:
    """The scores of the rows `left` of the first side with the rows `right` of the second, [P].

    Both sides are what `unit_rows` gives, and may be one. For the rest see `similarity.row_scores`.
    """
    if first[0] is second[0]:
        return row_scores(*first, left, right)
    unit, usable = np.concatenate((first[0], second[0])), np.concatenate((first[1], second[1]))
    return row_scores(unit, usable, left, np.asarray(right) + len(first[0]))


def _ordered_intervals(
    points: tuple[OperatingPoint, ...], scores: SubjectScores, resamples: int, seed: int
) -> tuple[OperatingPoint, ...]:
    """The intervals of `with_subject_intervals` where every pair stands in both orders.

    The bootstrap counts the impostor pairs of a resample in one order only, half as many as there are: a share of
    them twice as large allows for the same number.
    """
    doubled = tuple(replace(point, far=2 * point.far) for point in points)
    intervals = with_subject_intervals(doubled, scores, resamples, seed)
    return tuple(replace(point, interval=other.interval) for point, other in zip(points, intervals, strict=True))


def evaluate_all_pairs(
    pairs: PairList,
    embeddings: Embeddings | ArrayLike,
    fars: Sequence[float] = FARS,
    *,
    seed: int = 0,
    at: Sequence[float] = (),
    probe: Embeddings | None = None,
) -> ScoreSummary:
    """All pairs of the images of a list, by `pairs.identities`: the names of their folders, or what the list says.

    `embeddings` are [N, D] in the order of `pairs.paths`. For the rest see `all_pairs`.

    Raises:
        BitfaceError: as `all_pairs`, or the identities contradict the list.
    """
    wrong = pairs.contradicting
    if len(wrong):
        a, b = pairs.paths[pairs.left[wrong[0]]], pairs.paths[pairs.right[wrong[0]]]
        kind = "genuine" if pairs.same[wrong[0]] else "impostor"
        basis = "folders" if pairs.people is None else "names"
        raise BitfaceError(
            f"{len(wrong)} pairs contradict their {basis}, first the {kind} pair {a}, {b}; "
            "all pairs needs one folder per person (Person/image.jpg)"
        )
    return all_pairs(embeddings, np.array(pairs.identities), fars, seed=seed, at=at, probe=probe)


def _same_subject_pairs(subject: Ints, images: Ints) -> tuple[Ints, Ints]:
    """The rows of every genuine pair, subject by subject."""
    by_subject = np.split(np.argsort(subject, kind="stable"), np.cumsum(images)[:-1])
    several = [rows for rows in by_subject if len(rows) > 1]
    corners = [(rows[first], rows[second]) for rows in several for first, second in [np.triu_indices(len(rows), 1)]]
    if not corners:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty
    return np.concatenate([a for a, _ in corners]), np.concatenate([b for _, b in corners])


def _impostor_pairs(first: Ints, second: Ints) -> int:
    """Ordered pairs of images of different subjects, of whom the two sides have so many images each, [S]."""
    return int(first.sum()) * int(second.sum()) - int((first * second).sum())
