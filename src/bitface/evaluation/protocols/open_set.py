"""1:N identification: probes are searched for in a gallery, and not all of them are in it.

As in the IJB-B and IJB-C reports and NIST's FRTE 1:N. A mated search is a probe whose subject the gallery holds, a
non-mated one any other. Rank-k is the share of mated searches that find their mate among the k best candidates (closed
set). TPIR at FPIR is the share of mated searches whose mate comes first with at least the threshold that no more than
FPIR of the non-mated searches reach with any candidate (open set). The threshold is found as `operating` finds that of
a FAR, and as there an FPIR that fewer than ten non-mated searches would decide isn't reported.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.figures.decisions import Decisions
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.intervals import Interval
from bitface.evaluation.figures.operating import check_fars, far_name, needed, operating_points
from bitface.evaluation.figures.results import Result, ScoreSummary
from bitface.evaluation.lists.templates import Positions, TemplateList
from bitface.evaluation.protocols.closed_set import RANKS, check_ranks, shares_by_person
from bitface.evaluation.scores.impostors import ImpostorArray
from bitface.evaluation.scores.pooling import Pooled
from bitface.evaluation.scores.similarity import FAILED

FPIRS = (1e-1, 1e-2, 1e-3)

_CELLS = 1 << 22
# Below every score, so that no threshold accepts it.
_MISSED = -2.0


class Searches(NamedTuple):
    """What searches of one gallery found.

    Attributes:
        mated: [M], the score of each mated search's mate.
        rank: [M], its place among the candidates, from 1. Of equal scores the mate's counts as the last. The place
            after the last where the probe or the mate has no usable image.
        subject: [M], who was searched for.
        non_mated: [U], the highest score of each non-mated search.
    """

    mated: Floats
    rank: Ints
    subject: Positions
    non_mated: Floats


@dataclass(frozen=True)
class SearchRankRate:
    """The share of mated searches with their mate among the `rank` best; None where the gallery isn't larger."""

    rank: int
    rate: float | None
    interval: Interval | None
    hits: int
    mated: int
    reason: str | None = None


@dataclass(frozen=True)
class SearchPoint:
    """TPIR at one FPIR.

    Attributes:
        fpir: the target.
        tpir, interval: the share of mated searches with their mate first and accepted, and its 95 % interval; None
            where there are too few non-mated searches, and `reason` says so.
        threshold: accept a candidate whose score is at least this.
        reached: the share of non-mated searches with an accepted candidate; at most `fpir`.
        mated, non_mated: the searches there are.
    """

    fpir: float
    tpir: float | None
    interval: Interval | None
    threshold: float | None
    reached: float | None
    mated: int
    non_mated: int
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class GalleryResult:
    """What searching one gallery gives. `cmc` [K] is the share of mated searches found by each rank from 1 on;
    `searches` aren't in the JSON.
    """

    name: str
    size: int
    ranks: tuple[SearchRankRate, ...]
    points: tuple[SearchPoint, ...]
    cmc: Floats
    searches: Searches = field(repr=False)

    def figures(self) -> list[Figure]:
        """Rank-k, then TPIR."""
        ranks = [Figure(f"rank-{one.rank}", one.rate, one.interval, one.reason) for one in self.ranks]
        points = [Figure(f"TPIR@FPIR {far_name(one.fpir)}", one.tpir, one.interval, one.reason) for one in self.points]
        return ranks + points

    def decisions(self) -> list[Decisions]:
        """The mated searches that each of the figures counts."""
        searches = self.searches
        right = [searches.rank <= one.rank for one in self.ranks]
        right += [
            (searches.rank <= 1) & (searches.mated >= (np.inf if one.threshold is None else one.threshold))
            for one in self.points
        ]
        return [
            Decisions(figure.name, hits, searches.subject)
            for figure, hits in zip(self.figures(), right, strict=True)
            if figure.value is not None
        ]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """The fields as plain JSON values; `curve` adds the CMC."""
        content: dict[str, Any] = {
            "name": self.name,
            "size": self.size,
            "ranks": [asdict(one) for one in self.ranks],
            "tpir": [asdict(one) for one in self.points],
        }
        return content | ({"cmc": self.cmc.tolist()} if curve else {})


@dataclass(frozen=True, eq=False)
class SearchResult(Result):
    """What identification found, gallery by gallery.

    Attributes:
        probes, failed_templates: templates searched for, and those of either side without a usable image.
        summary: over the searches of all galleries, a search being genuine where its mate comes first, and false where
            it has none; not in the JSON. None where every search is mated.
    """

    galleries: tuple[GalleryResult, ...]
    probes: int
    failed_templates: int
    warnings: tuple[str, ...]
    summary: ScoreSummary | None = field(default=None, repr=False)

    def verification(self) -> ScoreSummary | None:
        """TAR stands for TPIR here, and FAR for FPIR."""
        return self.summary

    def decisions(self) -> list[Decisions]:
        """Those of each gallery."""
        return [
            replace(one, name=self._name(gallery, one.name))
            for gallery in self.galleries
            for one in gallery.decisions()
        ]

    def _name(self, gallery: GalleryResult, name: str) -> str:
        return name if len(self.galleries) == 1 else f"{name} ({gallery.name})"

    def figures(self) -> list[Figure]:
        """Rank-k and TPIR, first averaged over the galleries, then for each of them.

        The interval of an average is that between the averages of the lower and of the upper bounds: the galleries'
        errors may go together.
        """
        columns = [one.figures() for one in self.galleries]
        if len(columns) == 1:
            return columns[0]
        averages = [self._average(figures) for figures in zip(*columns, strict=True)]
        singles = [
            Figure(self._name(gallery, one.name), one.value, one.interval, one.reason)
            for gallery, column in zip(self.galleries, columns, strict=True)
            for one in column
        ]
        return averages + singles

    def _average(self, figures: Sequence[Figure]) -> Figure:
        for gallery, one in zip(self.galleries, figures, strict=True):
            if one.value is None:
                return Figure(one.name, None, None, f"gallery {gallery.name}: {one.reason}")
        values = [one.value for one in figures if one.value is not None]
        intervals = [one.interval for one in figures if one.interval is not None]
        low, high = (float(np.mean([getattr(one, end) for one in intervals])) for end in ("low", "high"))
        interval = Interval(low, high, f"{intervals[0].method}, averaged over galleries")
        return Figure(figures[0].name, float(np.mean(values)), interval)

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values without NaN; `curve` adds each gallery's CMC."""
        averaged = self.figures()[: len(self.galleries[0].ranks) + len(self.galleries[0].points)]
        return {
            "averaged": [one.to_json() for one in averaged],
            "galleries": [one.to_json(curve) for one in self.galleries],
            "probes": self.probes,
            "failed_templates": self.failed_templates,
            "warnings": list(self.warnings),
        }


def search(gallery: Pooled, enrolled: Positions, probe: Pooled, probes: Positions, templates: TemplateList) -> Searches:
    """Compares every probe with the whole gallery, some probes at a time.

    A probe or a gallery template without a usable image scores -1 throughout.

    Args:
        enrolled, probes: positions of templates; a gallery holds each subject once.

    Raises:
        BitfaceError: no probe has a mate in the gallery.
    """
    assert templates.subject is not None
    enrolled = enrolled[np.argsort(templates.subject[enrolled], kind="stable")]
    subjects, probe_subjects = templates.subject[enrolled], templates.subject[probes]
    column = np.minimum(np.searchsorted(subjects, probe_subjects), len(subjects) - 1)
    has_mate = subjects[column] == probe_subjects
    if not has_mate.any():
        raise BitfaceError("no probe shows a subject of the gallery; use the files of one release")
    vectors, unusable = gallery.unit[enrolled], ~gallery.usable[enrolled]
    best, mate, rank = np.empty(len(probes)), np.empty(len(probes)), np.empty(len(probes), dtype=np.int64)
    step = max(1, _CELLS // len(enrolled))
    for begin in range(0, len(probes), step):
        part = slice(begin, begin + step)
        scores = probe.unit[probes[part]] @ vectors.T
        np.clip(scores, -1.0, 1.0, out=scores)
        scores[~probe.usable[probes[part]]] = FAILED
        scores[:, unusable] = FAILED
        best[part] = scores.max(axis=1)
        mate[part] = scores[np.arange(len(scores)), column[part]]
        rank[part] = np.count_nonzero(scores >= mate[part, None], axis=1)
    rank[~probe.usable[probes] | unusable[column]] = len(enrolled) + 1
    return Searches(mate[has_mate], rank[has_mate], probe_subjects[has_mate], best[~has_mate])


def rank_rates(
    searches: Searches, size: int, ranks: Sequence[int] = RANKS, seed: int = 0
) -> tuple[SearchRankRate, ...]:
    """Rank-k in the order given, with intervals by subject (see `identification.shares_by_person`).

    Args:
        size: the number of templates in the gallery; it must exceed a rank that is to say anything.

    Raises:
        UsageError: a rank is below 1, or there is none.
    """
    ranks = check_ranks(ranks)
    shares = _shares(np.array([searches.rank <= rank for rank in ranks]), searches.subject, seed)
    rates = []
    for rank, (hits, mated, interval) in zip(ranks, shares, strict=True):
        if rank < size:
            rates.append(SearchRankRate(rank, hits / mated, interval, hits, mated))
        else:
            reason = f"needs a gallery of more than {rank} templates, has {size}"
            rates.append(SearchRankRate(rank, None, None, hits, mated, reason))
    return tuple(rates)


def _shares(hits: Bools, subject: Positions, seed: int) -> list[tuple[int, int, Interval]]:
    """Hits, searches and the interval of each row of `hits`, [F, M]."""
    people, owner = np.unique(subject, return_inverse=True)
    successes = np.array([np.bincount(owner[row], minlength=len(people)) for row in hits])
    return shares_by_person(successes, np.bincount(owner), seed=seed)


def tpir_at_fpir(
    searches: Searches, fpirs: Sequence[float] = FPIRS, rank: int = 1, seed: int = 0
) -> tuple[SearchPoint, ...]:
    """TPIR at each FPIR in the order given, with intervals by subject that hold the threshold fixed.

    Args:
        rank: a mate counts when it is among this many best candidates (and accepted).

    Raises:
        UsageError: an FPIR isn't between 0 and 1, or there is none.
    """
    targets, mated, others = check_fars(fpirs), len(searches.mated), len(searches.non_mated)
    supported = [fpir for fpir in targets if others >= needed(fpir)]
    points: dict[float, SearchPoint] = {}
    if supported:
        scores = np.where(searches.rank <= rank, searches.mated, _MISSED)
        mated_points = operating_points(scores, ImpostorArray(searches.non_mated), supported)
        hits = np.array([scores >= point.threshold for point in mated_points])
        for point, (_, _, interval) in zip(mated_points, _shares(hits, searches.subject, seed), strict=True):
            fixed = replace(interval, method=f"{interval.method}, threshold fixed")
            points[point.far] = SearchPoint(point.far, point.tar, fixed, point.threshold, point.reached, mated, others)
    return tuple(points[fpir] if fpir in points else _refused(fpir, mated, others) for fpir in targets)


def _refused(fpir: float, mated: int, non_mated: int) -> SearchPoint:
    reason = f"needs at least {needed(fpir)} non-mated searches, has {non_mated}"
    return SearchPoint(fpir, None, None, None, None, mated, non_mated, reason)
