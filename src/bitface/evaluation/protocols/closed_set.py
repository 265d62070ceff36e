"""Closed-set identification: which person of the gallery is the most similar to a probe?

One or more images of every person are enrolled. A probe's person has rank k if k - 1 other people score at least as
high as it, each by the best of their images (Grother and Phillips, Models of large population recognition performance,
CVPR 2004: the cumulative match characteristic). Ties count against the model, and an image without a usable embedding
is never found and finds nothing. Scores are those of `similarity`, with the same bits on every machine.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.arrays import Bools, Floats, Ints
from bitface.evaluation.figures.decisions import Decisions
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.health import diagnose
from bitface.evaluation.figures.intervals import LEVEL, Interval, wilson
from bitface.evaluation.figures.results import Result, ScoreSummary
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.scores.nearest import EmbeddingRows, Rows, as_rows, same_size

RANKS = (1, 5, 10)

_BLOCK = 2048
_PROBES = 4096
_DIAGNOSED = 20_000
_CURVE = 100


@dataclass(frozen=True)
class RankRate:
    """The share of trials whose mate is among the first `rank`.

    Attributes:
        rank: k.
        found, trials: probes (or pairs of mate and probe) found, and all of them.
        rate, interval: found / trials, and its 95 % interval by person.
        distractors: entries of the distractor list, None without such a list.
        used: those of them that took part: neither noise nor without embedding.
    """

    rank: int
    found: int
    trials: int
    rate: float
    interval: Interval
    distractors: int | None = None
    used: int | None = None

    def figure(self) -> Figure:
        """As a table shows it."""
        among = "" if self.distractors is None else f", {self.distractors} distractors"
        return Figure(f"rank-{self.rank}{among}", self.rate, self.interval)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def shares_by_person(
    successes: Ints, trials: Ints, resamples: int = 1000, seed: int = 0, orders: int = 1
) -> list[tuple[int, int, Interval]]:
    """Successes, trials and the interval of their share, for each of F shares of the same trials.

    People are resampled with replacement (Efron's bootstrap, percentile interval), as trials of one person aren't
    independent. An interval is never narrower than Wilson's for independent trials.

    Args:
        successes: [F, S], of each of S people.
        trials: [S], at least one in all.
        resamples: 0 leaves Wilson's interval.
        seed: of the resampling; the same people are drawn for every share.
        orders: 2 where the trials are pairs of images in both orders, of which only one is further evidence.
    """
    generator = np.random.default_rng(seed)
    shares = []
    for _ in range(resamples):
        weight = np.bincount(generator.integers(0, len(trials), size=len(trials)), minlength=len(trials))
        if count := int(weight @ trials):
            shares.append(successes @ weight / count)
    total = int(trials.sum())
    results = []
    for index, hits in enumerate(int(row.sum()) for row in successes):
        interval = wilson(hits, total, total // orders)
        if shares:
            low, high = np.quantile([row[index] for row in shares], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            interval = interval.hull(Interval(low, high, ""), "subject bootstrap")
        results.append((hits, total, interval))
    return results


def check_ranks(ranks: Sequence[int]) -> tuple[int, ...]:
    """The ranks. Raises UsageError where there is none, or one below 1."""
    if not ranks or min(ranks) < 1:
        raise UsageError(f"ranks are {list(ranks)}; name at least one, and none below 1")
    return tuple(ranks)


@dataclass(frozen=True, eq=False)
class ClosedSetResult(Result):
    """What `identify` finds out.

    Attributes:
        points: one for each rank asked for.
        ranks: [Q], the rank of each probe; people + 1 where it, or every image of its person, isn't usable.
        people: enrolled.
        enrolled, failed_enrolled, failed_probes: gallery images, and images without a usable embedding.
        warnings: in plain words.
        person: [Q], whose each probe is; not in the JSON.
        compare: forms the scores of all probes with all that is enrolled; None: nobody needs them.
    """

    points: tuple[RankRate, ...]
    ranks: Ints
    people: int
    enrolled: int
    failed_enrolled: int
    failed_probes: int
    warnings: tuple[str, ...] = ()
    person: Ints | None = field(default=None, repr=False)
    compare: Callable[[], ScoreSummary] | None = field(default=None, repr=False)

    def verification(self) -> ScoreSummary | None:
        """Every probe with every enrolled image: formed when it is asked for, as most callers rank people only."""
        return self.compare() if self.compare else None

    def decisions(self) -> list[Decisions]:
        """The probes found at each rank."""
        return [Decisions(one.figure().name, self.ranks <= one.rank, self.person) for one in self.points]

    def figures(self) -> list[Figure]:
        """Rank-k with its interval, in the order of the ranks asked for."""
        return [point.figure() for point in self.points]

    def to_json(self, curve: bool = False) -> dict[str, Any]:
        """Everything as plain JSON values; `curve` adds the share found at each of the first 100 ranks (CMC)."""
        result: dict[str, Any] = {
            "points": [point.to_json() for point in self.points],
            "people": self.people,
            "enrolled": self.enrolled,
            "probes": len(self.ranks),
            "failed_enrolled": self.failed_enrolled,
            "failed_probes": self.failed_probes,
            "warnings": list(self.warnings),
        }
        if curve:
            last = min(self.people, _CURVE)
            reached = np.cumsum(np.bincount(self.ranks, minlength=last + 1)[: last + 1])
            result["cmc"] = (reached[1:] / len(self.ranks)).tolist()
        return result


def identify(
    gallery: Rows | ArrayLike,
    gallery_labels: Sequence[str] | np.ndarray,
    probes: Rows | ArrayLike,
    probe_labels: Sequence[str] | np.ndarray,
    ranks: Sequence[int] = RANKS,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> ClosedSetResult:
    """Closed-set identification, exact, with ties counted against.

    Args:
        gallery, probes: [N, D] and [Q, D] embeddings, or `search.Rows`.
        gallery_labels, probe_labels: [N] and [Q], who is shown. A person with several images enrolled has the best
            of their scores.
        ranks: where to report the share found.
        resamples, seed: of the bootstrap by person; 0 leaves Wilson's intervals.

    Raises:
        BitfaceError: shapes don't fit, there are no probes, or a probe's person isn't enrolled.
        UsageError: a rank below 1.
    """
    ranks = check_ranks(ranks)
    enrolled, asking = as_rows(gallery), as_rows(probes)
    same_size(enrolled, asking)
    people, labels = np.asarray(gallery_labels), np.asarray(probe_labels)
    if people.shape != (len(enrolled),) or labels.shape != (len(asking),):
        raise BitfaceError(
            f"{len(people)} and {len(labels)} labels for {len(enrolled)} gallery images and {len(asking)} probes; "
            "give one for each"
        )
    if not len(labels):
        raise BitfaceError("there are no probes; identification needs images beside those that are enrolled")
    names, person = np.unique(people, return_inverse=True)
    strangers = np.flatnonzero(~np.isin(labels, names))
    if len(strangers):
        raise BitfaceError(
            f"{len(strangers)} of {len(labels)} probes show people who aren't enrolled, first {labels[strangers[0]]}; "
            "closed-set identification needs everybody in the gallery"
        )
    own = np.searchsorted(names, labels)
    mate_ranks, failed_enrolled, failed_probes = _ranks(enrolled, person, asking, own)
    trials = np.bincount(own, minlength=len(names))
    successes = np.array([np.bincount(own[mate_ranks <= rank], minlength=len(names)) for rank in ranks])
    shares = shares_by_person(successes[:, trials > 0], trials[trials > 0], resamples, seed)
    points = [
        RankRate(rank, hits, total, hits / total, interval)
        for rank, (hits, total, interval) in zip(ranks, shares, strict=True)
    ]
    return ClosedSetResult(
        tuple(points), mate_ranks, len(names), len(enrolled), failed_enrolled, failed_probes, person=own
    )


def _ranks(gallery: Rows, person: Ints, probes: Rows, own: Ints) -> tuple[Ints, int, int]:
    """The rank of each probe's own person, and the images of either side that aren't usable."""
    people = int(person.max()) + 1
    ranks = np.empty(len(own), dtype=np.int64)
    failed_enrolled = failed_probes = 0
    for start in range(0, len(own), _PROBES):
        part = slice(start, start + _PROBES)
        unit, usable = probes.unit(part)
        mine = own[part]
        mate = np.full(len(unit), -np.inf)
        failed_enrolled = 0
        for whose, rows, good in _by_person(gallery, person):
            at = np.flatnonzero((mine >= whose[0]) & (mine <= whose[-1]))
            mate[at] = _best_of_each(unit[at], whose, rows, good)[np.arange(len(at)), mine[at] - whose[0]]
            failed_enrolled += int(np.count_nonzero(~good))
        # A person reaches their own best score, so that the people who reach it are as many as the rank.
        reached = np.zeros(len(unit), dtype=np.int64)
        for whose, rows, good in _by_person(gallery, person):
            reached += np.count_nonzero(_best_of_each(unit, whose, rows, good) >= mate[:, None], axis=1)
        ranks[part] = np.where(usable & np.isfinite(mate), reached, people + 1)
        failed_probes += int(np.count_nonzero(~usable))
    return ranks, failed_enrolled, failed_probes


def _by_person(gallery: Rows, person: Ints) -> Iterator[tuple[Ints, Floats, Bools]]:
    """Yields `(person, unit, usable)` of the gallery's rows, sorted by person and none divided between two blocks."""
    order = np.argsort(person, kind="stable")
    ends = np.cumsum(np.bincount(person))
    begin = 0
    while begin < len(order):
        fitting = int(np.searchsorted(ends, begin + _BLOCK, "right")) - 1
        end = int(ends[max(fitting, person[order[begin]])])
        rows = order[begin:end]
        yield person[rows], *gallery.unit(rows)
        begin = end


def _best_of_each(unit: Floats, person: Ints, rows: Floats, usable: Bools) -> Floats:
    """The best score of each probe with each person of a block; -inf where no image of the person is usable."""
    scores = np.clip(unit @ rows.T, -1.0, 1.0)
    scores[:, ~usable] = -np.inf
    return np.maximum.reduceat(scores, np.flatnonzero(np.diff(person, prepend=-1)), axis=1)


def part(side: Embeddings, rows: slice | Ints) -> EmbeddingRows:
    """Some of a model's embeddings; those of a slice aren't copied."""
    return EmbeddingRows(side.values[rows], None if side.valid is None else np.asarray(side.valid)[rows])


def failure_warnings(*counts: tuple[int, int, str]) -> list[str]:
    """A sentence for each `(failed, total, what)` with failures."""
    return [
        f"{failed} of {total} {what} have no usable embedding: they are never found and find nothing"
        for failed, total, what in counts
        if failed
    ]


def diagnoses(gallery: Embeddings, probe: Embeddings, images: int) -> list[str]:
    """What is wrong with either model, judging by at most 20,000 of the first `images`; see `health.diagnose`."""
    rows = np.arange(0, images, max(1, -(-images // _DIAGNOSED)))
    problems = []
    for side, prefix in [(gallery, "")] if gallery is probe else [(gallery, "gallery: "), (probe, "probes: ")]:
        delivered = rows if side.valid is None else rows[np.asarray(side.valid)[rows].astype(bool)]
        problems += [prefix + text for text in diagnose(side.values[delivered])]
    return problems
