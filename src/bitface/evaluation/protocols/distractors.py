"""Identification among distractors: MegaFace, challenge 1.

Of each person with several photographs, one after the other is put among the distractors, and each further photograph
of the person is a probe. It is found at rank k if fewer than k distractors score at least as high as its mate, so that
ties count against the model. (Kemelmacher-Shlizerman et al., The MegaFace benchmark: 1 million faces for recognition
at scale, CVPR 2016, sections 3 and 4.) For that only the best k distractors of each probe matter; they are found by one
pass over blocks of distractors, for all sizes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.figures.figure import Figure, tar_figures
from bitface.evaluation.figures.operating import (
    Distinct,
    OperatingPoint,
    allowed,
    check_fars,
    needed,
    operating_points,
    refused,
)
from bitface.evaluation.figures.results import Result
from bitface.evaluation.protocols.closed_set import RankRate, check_ranks, shares_by_person
from bitface.evaluation.scores.nearest import Nearest, Products, Rows, as_rows, nearest_at, same_size
from bitface.evaluation.scores.similarity import FAILED

HIGHEST_KEPT = 1 << 16
"""The most impostor scores that are kept to find the thresholds of TAR among distractors."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """P photographs of people, and their embeddings.

    Attributes:
        people: [P], whom each shows.
        mates, probes: [P, D] each, by the model of the gallery and by that of the probes; None: the same.
    """

    people: Sequence[str] | np.ndarray
    mates: Rows | ArrayLike
    probes: Rows | ArrayLike | None = None


@dataclass(frozen=True)
class ListSizes:
    """How many of the first distractors, none descending; `listed`: what each is called, where some are left out."""

    used: tuple[int, ...]
    listed: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class DistractorResult(Result):
    """What `among_distractors` and `megaface.MegaFaceProtocol` find out.

    Attributes:
        points: for each size of the distractor list, ascending, one for each rank asked for.
        tar: at each FAR; genuine pairs of photographs of one person against all pairs of a photograph and a
            distractor, intervals by person with the threshold held fixed.
        photos, people, lone: photographs, the people they show, and those of them with a single one, whose photograph
            has no mate.
        distractors: that took part or would have, had they an embedding.
        failed_photos, failed_distractors: without a usable embedding (photographs: by either model).
        dropped_photos, dropped_distractors: left out as noise.
        warnings: in plain words.
    """

    points: tuple[RankRate, ...]
    tar: tuple[OperatingPoint, ...]
    photos: int
    people: int
    lone: int
    distractors: int
    failed_photos: int
    failed_distractors: int
    dropped_photos: int = 0
    dropped_distractors: int = 0
    warnings: tuple[str, ...] = ()

    def figures(self) -> list[Figure]:
        """Rank-k among all distractors, TAR at each FAR, then rank-k among fewer and fewer distractors."""
        sizes = sorted({point.distractors or 0 for point in self.points}, reverse=True)
        ranked = [[point.figure() for point in self.points if point.distractors == size] for size in sizes]
        tar = tar_figures(self.tar)
        return [*ranked[0], *tar, *(figure for part in ranked[1:] for figure in part)]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """The fields as plain JSON values; there is nothing that `curve` adds."""
        return {
            "points": [point.to_json() for point in self.points],
            "tar": [point.to_json() for point in self.tar],
            **{name: value for name, value in vars(self).items() if isinstance(value, int)},
            "warnings": list(self.warnings),
        }


def among_distractors(
    photographs: Photographs,
    distractors: Rows | ArrayLike,
    sizes: ListSizes,
    ranks: Sequence[int] = (1,),
    fars: Sequence[float] = (),
    *,
    engine: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> DistractorResult:
    """Identification of every photograph with each other one of its person among growing numbers of distractors.

    Args:
        photographs: of people, some of them with several.
        distractors: [N, D], by the model of the gallery; embeddings, perhaps memory-mapped, or `search.Rows`.
        sizes: none above N.
        ranks: where to report the share found.
        fars: where to report TAR, over all of the largest size; none: not at all. Those for which more than 65,536
            impostor scores would have to be kept come back refused.
        engine: see `search.nearest`. With FARs it is numpy, as all scores have to be seen.
        resamples, seed: of the bootstrap by person; 0 leaves Wilson's intervals.

    Raises:
        BitfaceError: shapes don't fit, or nobody has two photographs.
        UsageError: sizes, ranks, FARs or the engine make no sense.
    """
    ranks, targets = check_ranks(ranks), check_fars(fars) if len(fars) else ()
    people = photographs.people
    enrolled, others = as_rows(photographs.mates), as_rows(distractors)
    asking = enrolled if photographs.probes is None else as_rows(photographs.probes)
    same_size(enrolled, asking)
    same_size(others, asking)
    if len(enrolled) != len(people) or len(asking) != len(people):
        raise BitfaceError(
            f"{len(people)} names for {len(enrolled)} and {len(asking)} embeddings of photographs; give one for each"
        )
    names, person = np.unique(np.asarray(people), return_inverse=True)
    images = np.bincount(person, minlength=1)
    if images.max() < 2:
        raise BitfaceError("nobody has two photographs; identification needs a mate for every probe")
    distinct = sorted(set(sizes.used))
    impostors = HighestImpostors(len(person) * max(distinct, default=0), targets)
    watch = impostors.see if impostors.fars else None
    best = nearest_at(others, asking, max(ranks), distinct, engine="numpy" if targets else engine, watch=watch)
    pairs = _Mates.of(enrolled, asking, person)
    steps = [
        (rank, called, size, best[distinct.index(size)])
        for size, called in zip(sizes.used, sizes.listed or sizes.used, strict=True)
        for rank in ranks
    ]
    successes = np.array([pairs.found(rank, neighbours) for rank, _, _, neighbours in steps])
    # Either photograph of two is the mate once, whichever models stand on the two sides.
    shares = shares_by_person(successes[:, images > 1], pairs.trials[images > 1], resamples, seed, orders=2)
    mates = (pairs.once(), 1) if photographs.probes is None else (pairs, 2)
    return DistractorResult(
        points=tuple(
            RankRate(rank, hits, total, hits / total, interval, called, size - neighbours.failed_rows)
            for (rank, called, size, neighbours), (hits, total, interval) in zip(steps, shares, strict=True)
        ),
        tar=_tar(*mates, impostors, targets, resamples, seed),
        photos=len(person),
        people=len(names),
        lone=int(np.count_nonzero(images == 1)),
        distractors=distinct[-1],
        failed_photos=int(np.count_nonzero(~(enrolled.unit(slice(None))[1] & asking.unit(slice(None))[1]))),
        failed_distractors=best[-1].failed_rows,
    )


@dataclass(frozen=True, eq=False)
class _Mates:
    """Every ordered pair of two photographs of one person, [M].

    Attributes:
        person, gallery, probe: who, and the photograph on either side.
        score: -1 where either has no usable embedding, and `failed` says so.
        trials: [people], the pairs of each person.
    """

    person: Ints
    gallery: Ints
    probe: Ints
    score: Floats
    failed: Bools
    trials: Ints

    @staticmethod
    def of(gallery: Rows, probes: Rows, person: Ints) -> "_Mates":
        enrolled, able = gallery.unit(slice(None))
        asking, usable = probes.unit(slice(None))
        images = np.bincount(person)
        left, right, score = [], [], []
        for rows in np.split(np.argsort(person, kind="stable"), np.cumsum(images)[:-1]):
            row, column = np.nonzero(~np.eye(len(rows), dtype=bool))
            left.append(rows[row])
            right.append(rows[column])
            score.append(np.clip(enrolled[rows] @ asking[rows].T, -1.0, 1.0)[row, column])
        mates, probe_rows = np.concatenate(left), np.concatenate(right)
        failed = ~(able[mates] & usable[probe_rows])
        scores = np.where(failed, FAILED, np.concatenate(score))
        return _Mates(person[mates], mates, probe_rows, scores, failed, images * (images - 1))

    def once(self) -> "_Mates":
        """The pairs one way round: with one model for both sides the other way is the same."""
        half = self.gallery < self.probe
        return _Mates(
            self.person[half],
            self.gallery[half],
            self.probe[half],
            self.score[half],
            self.failed[half],
            self.trials // 2,
        )

    def found(self, rank: int, best: Nearest) -> Ints:
        """How many pairs of each person are found at a rank, [people], given the nearest distractors of each probe."""
        # The mate must beat the distractor at this rank; where there are fewer, there is none to beat.
        hurdle = np.where(best.rows[:, rank - 1] >= 0, best.scores[:, rank - 1], -np.inf)
        hits = (self.score > hurdle[self.probe]) & ~self.failed
        return np.bincount(self.person[hits], minlength=len(self.trials))


class HighestImpostors:
    """Impostor scores of which only as many are kept as TAR at some FARs takes; see `impostors.ImpostorScores`.

    Ranks are answered up to the number kept, values from the lowest kept upwards. Pairs that are never shown count as
    -1, as those of failed images do.

    Args:
        count: impostor pairs in all.
        fars: where TAR is to be found.
    """

    def __init__(self, count: int, fars: Sequence[float]) -> None:
        self.fars = tuple(far for far in fars if count >= needed(far) and allowed(far, count) < HIGHEST_KEPT)
        self._count = count
        self._held = np.full(max([allowed(far, count) + 1 for far in self.fars], default=0), FAILED)

    @property
    def count(self) -> int:
        return self._count

    def see(self, products: Products) -> None:
        """Takes in the scores of a block."""
        keep = len(self._held)
        limit = float(np.nextafter(self._held[0], np.inf))
        probes, rows = products.shape
        if self._held[0] == FAILED and probes * rows > keep:
            rough = np.partition(products.rough, probes * rows - keep, axis=None)
            limit = max(limit, float(rough[-keep]) - products.margin)
        candidates = products.at_least(np.full(probes, limit), most=4 * keep + (1 << 16))
        fresh = candidates[2] if isinstance(candidates, tuple) else products.exact(candidates).ravel()
        fresh = np.concatenate((self._held, fresh[fresh >= limit]))
        self._held = np.sort(np.partition(fresh, len(fresh) - keep)[-keep:])

    def counts(self, values: Floats) -> tuple[Ints, Ints]:
        above = len(self._held) - np.searchsorted(self._held, values, "right")
        return above, len(self._held) - np.searchsorted(self._held, values, "left")

    def at_rank(self, ranks: Ints) -> tuple[Floats, Ints]:
        values = self._held[len(self._held) - ranks]
        return values, len(self._held) - np.searchsorted(self._held, values, "right")


def _tar(
    pairs: _Mates, orders: int, impostors: HighestImpostors, fars: tuple[float, ...], resamples: int, seed: int
) -> tuple[OperatingPoint, ...]:
    """TAR at each FAR; genuine pairs stand in one or both `orders`."""
    points = []
    distinct = Distinct(len(pairs.score) // orders, impostors.count)
    for far in fars:
        if far not in impostors.fars and impostors.count >= needed(far):
            count = allowed(far, impostors.count) + 1
            reason = f"would need {count} impostor scores to be kept, {HIGHEST_KEPT} are at most"
            points.append(refused(far, len(pairs.score), impostors.count, distinct, reason))
            continue
        (point,) = operating_points(pairs.score, impostors, (far,), distinct)
        if resamples and point.interval is not None and point.threshold is not None:
            accepted = np.bincount(pairs.person[pairs.score >= point.threshold], minlength=len(pairs.trials))
            some = pairs.trials > 0
            ((_, _, interval),) = shares_by_person(accepted[None, some], pairs.trials[some], resamples, seed, orders)
            point = replace(point, interval=replace(interval, method="subject bootstrap, threshold fixed"))
        points.append(point)
    return tuple(points)
