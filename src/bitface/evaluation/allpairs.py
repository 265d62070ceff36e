"""Verification over all pairs that can be formed of a set of images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.arrays import Ints, score_array
from bitface.evaluation.bootstrap import SubjectScores, tail_needed, with_subject_intervals
from bitface.evaluation.operating import FARS, check_fars
from bitface.evaluation.pairs import PairList, identity_of
from bitface.evaluation.results import ALL_PAIRS, Counts, ScoreSummary, summarise
from bitface.evaluation.similarity import row_scores, unit_rows
from bitface.evaluation.tiles import TiledImpostors

_TAIL = 1 << 16


def all_pairs(
    embeddings: ArrayLike,
    identities: Sequence[str] | np.ndarray,
    fars: Sequence[float] = FARS,
    *,
    valid: ArrayLike | None = None,
    block: int = 1024,
    resamples: int = 1000,
    seed: int = 0,
    at: Sequence[float] = (),
) -> ScoreSummary:
    """Scores all N(N-1)/2 pairs: genuine where the identities are equal, impostor where they differ.

    AUC, EER, thresholds and TAR are exact, and the same for every `block`. Intervals are bootstrapped by
    subject, see `bootstrap`.

    Args:
        embeddings: [N, D], any floating-point type and any length of the vectors.
        identities: [N], names or numbers.
        fars: where to report TAR.
        valid: [N], false where an embedding failed. Pairs that touch such an image, or one whose embedding is
            zero or not finite, score -1.
        block: images per side of a tile; bounds memory, changes nothing else.
        resamples: of the bootstrap; 0 leaves Wilson intervals, which take pairs to be independent.
        seed: of the bootstrap.
        at: thresholds at which to report both error rates.

    Raises:
        BitfaceError: shapes don't fit, or there are no genuine or no impostor pairs.
        UsageError: a FAR isn't between 0 and 1, or `block` or `resamples` is out of range.
    """
    targets = check_fars(fars)
    if block < 1 or resamples < 0:
        raise UsageError(f"block is {block} and resamples {resamples}; use at least 1 and 0")
    unit, usable = unit_rows(embeddings, valid)
    names = np.asarray(identities)
    if names.shape != (len(unit),):
        raise BitfaceError(f"{len(names)} identities for {len(unit)} embeddings; give one for each")
    distinct, subject = np.unique(names, return_inverse=True)
    images = np.bincount(subject, minlength=len(distinct))
    left, right = _same_subject_pairs(subject, images)
    impostor_count = len(unit) * (len(unit) - 1) // 2 - len(left)
    if impostor_count == 0:
        raise BitfaceError("all images show one identity; all-pairs verification needs at least two")
    genuine = row_scores(unit, usable, left, right)
    score_array(genuine, "genuine")
    failed_genuine = int(np.count_nonzero(~(usable[left] & usable[right])))
    failed_impostor = impostor_count - _impostor_pairs(np.bincount(subject[usable], minlength=1))
    impostors = TiledImpostors(unit[usable], subject[usable], failed_impostor, block)
    counts = Counts(
        images=len(unit),
        failed_images=int(np.count_nonzero(~usable)),
        identities=len(distinct),
        genuine=len(genuine),
        impostor=impostors.count,
        failed_pairs=failed_genuine + failed_impostor,
    )
    summary = summarise(genuine, impostors, targets, ALL_PAIRS, counts, at)
    wanted = [tail_needed(point.false_accepts) for point in summary.tar if point.false_accepts is not None]
    if not resamples or not wanted:
        return summary
    tail, tail_left, tail_right = impostors.highest(max([size for size in wanted if size <= _TAIL], default=0))
    whose = subject[usable]
    known = SubjectScores(images, genuine, subject[left], tail, whose[tail_left], whose[tail_right])
    return replace(summary, tar=with_subject_intervals(summary.tar, known, resamples, seed), subjects=known)


def evaluate_all_pairs(
    pairs: PairList,
    embeddings: ArrayLike,
    fars: Sequence[float] = FARS,
    *,
    valid: ArrayLike | None = None,
    seed: int = 0,
    at: Sequence[float] = (),
) -> ScoreSummary:
    """All pairs of the images of a list, whose identities are the names of their folders.

    `embeddings` are [N, D] in the order of `pairs.paths`. For the rest see `all_pairs`.

    Raises:
        BitfaceError: as `all_pairs`, or the folders contradict the list.
    """
    names = np.array([identity_of(path) for path in pairs.paths])
    wrong = np.flatnonzero((names[pairs.left] == names[pairs.right]) != pairs.same)
    if len(wrong):
        a, b = pairs.paths[pairs.left[wrong[0]]], pairs.paths[pairs.right[wrong[0]]]
        kind = "genuine" if pairs.same[wrong[0]] else "impostor"
        raise BitfaceError(
            f"{len(wrong)} pairs contradict their folders, first the {kind} pair {a}, {b}; "
            "all pairs needs one folder per person (Person/image.jpg)"
        )
    return all_pairs(embeddings, names, fars, valid=valid, seed=seed, at=at)


def _same_subject_pairs(subject: Ints, images: Ints) -> tuple[Ints, Ints]:
    """The rows of every genuine pair, subject by subject."""
    by_subject = np.split(np.argsort(subject, kind="stable"), np.cumsum(images)[:-1])
    several = [rows for rows in by_subject if len(rows) > 1]
    corners = [(rows[first], rows[second]) for rows in several for first, second in [np.triu_indices(len(rows), 1)]]
    if not corners:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty
    return np.concatenate([a for a, _ in corners]), np.concatenate([b for _, b in corners])


def _impostor_pairs(images: Ints) -> int:
    return (int(images.sum()) ** 2 - int((images**2).sum())) // 2
