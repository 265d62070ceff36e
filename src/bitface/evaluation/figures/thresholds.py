"""Decision thresholds for target FARs, with what is known of how they will do on other people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bitface.errors import BitfaceError, flag
from bitface.evaluation.arrays import Floats
from bitface.evaluation.figures.bootstrap import follows, resampled_thresholds, with_subject_intervals
from bitface.evaluation.figures.extrapolate import Tail, TailError, extrapolated_threshold
from bitface.evaluation.figures.intervals import LEVEL, Interval, wilson
from bitface.evaluation.figures.operating import OperatingPoint, needed
from bitface.evaluation.figures.results import ALL_PAIRS, LIST, ImpostorSummary, ScoreSummary

_RESAMPLES = 2000
_IN_PAIRS = (LIST, ALL_PAIRS)
_TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


@dataclass(frozen=True)
class Threshold:
    """Accept a pair whose similarity is at least `threshold`.

    Attributes:
        far: the target.
        threshold: the similarity; `interval`: where it would have fallen with other people (None: not known, because
            the pairs are taken to be independent).
        expected: the FAR that as many other people may show at this threshold, a 95 % prediction interval: it allows
            for the people it was found on and for those it is used on.
        reached: the share of the calibration's impostor pairs that it accepts.
        tar, tar_interval: the share of genuine pairs that it accepts; None where there are none.
        genuine, impostor: the pairs there were.
        extrapolated: the tail it was found from, where too few pairs decide; `expected` is then the interval of the FAR
            that it really has (see `extrapolate`). None: it was found among the scores themselves.
    """

    far: float
    threshold: float
    interval: Interval | None
    expected: Interval
    reached: float
    tar: float | None
    tar_interval: Interval | None
    genuine: int
    impostor: int
    extrapolated: Tail | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; `extrapolated` where it was."""
        content = asdict(self)
        if self.extrapolated is None:
            del content["extrapolated"]
        return content


@dataclass(frozen=True)
class UnsupportedFar:
    """A FAR of which too few impostor pairs say anything.

    Attributes:
        reason: in words.
        pairs: the impostor pairs that it needs; `impostor`: those there are.
        images: how many would form them, with as many of each person; None where pairs are listed.
    """

    far: float
    reason: str
    pairs: int
    impostor: int
    images: int | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def unsupported_fars(summary: ScoreSummary | ImpostorSummary) -> tuple[UnsupportedFar, ...]:
    """The FARs of a summary that have no threshold, and what each would need.

    All pairs grow with the square of the images.
    """
    result = []
    for point in summary.tar:
        if not point.supported:
            pairs, there = needed(point.far), point.distinct.impostor
            images = (
                math.ceil(summary.counts.images * math.sqrt(pairs / there)) if summary.protocol == ALL_PAIRS else None
            )
            result.append(UnsupportedFar(point.far, point.reason or "", pairs, there, images))
    return tuple(result)


def thresholds(
    summary: ScoreSummary | ImpostorSummary, resamples: int = _RESAMPLES, seed: int = 0, extrapolate: bool = False
) -> tuple[Threshold, ...]:
    """A threshold for each FAR of a summary that its impostor pairs support (see `operating` for the rule).

    Where subjects are known (all pairs), people are resampled: pairs that share a person aren't independent.
    Otherwise pairs are taken to be independent. The expected FAR is never narrower than that.

    Args:
        extrapolate: a FAR that too few impostor pairs would decide is extrapolated from the highest scores.

    Raises:
        TailError: the highest scores are of another kind than the tail below them (see `extrapolate`).
        BitfaceError: no FAR is supported by the impostor pairs there are.
    """
    points = [point for point in summary.tar if point.supported]
    beyond = _extrapolated(summary, seed) if extrapolate else {}
    if not points and not beyond:
        first = unsupported_fars(summary)[0]
        more = f" (about {first.images:,} images, with as many of each person)" if first.images else ""
        ways = [f"all pairs of the images may do ({flag('all-pairs')})"] if summary.protocol == LIST else []
        ways += [f"{flag('extrapolate')} models the tail of the scores"] if summary.protocol in _IN_PAIRS else []
        more += f"; {', or '.join(ways)}" if ways else ""
        raise BitfaceError(f"a threshold for FAR {first.far:g} {first.reason}{more}")
    scores = summary.subjects
    moving = [point for point in points if scores is not None and follows(point, scores)]
    draws = resampled_thresholds(moving, scores, resamples, seed) if scores is not None else (np.empty((0, 0)),) * 2
    columns = {point.far: (draws[0][:, i], draws[1][:, i]) for i, point in enumerate(moving)}
    generator = np.random.default_rng((seed, 1))
    result = {point.far: _threshold(point, columns.get(point.far), resamples, generator) for point in points} | beyond
    return tuple(result[point.far] for point in summary.tar if point.far in result)


def _extrapolated(summary: ScoreSummary | ImpostorSummary, seed: int) -> dict[float, Threshold]:
    """The thresholds of the FARs that the scores don't reach, and their tail does.

    Raises:
        TailError: see `extrapolated_threshold`.
        BitfaceError: there are no others, and none can be extrapolated.
    """
    result: dict[float, Threshold] = {}
    least = -1.0
    for point in sorted(summary.tar, key=lambda point: -point.far):
        if point.supported:
            least = max(least, point.threshold or least)
            continue
        try:
            result[point.far] = _beyond(point, summary, seed, least)
            least = result[point.far].threshold
        except TailError:  # too few pairs aren't the reason
            raise
        except BitfaceError:
            if not result and not any(other.supported for other in summary.tar):
                raise
    return result


def _beyond(point: OperatingPoint, summary: ScoreSummary | ImpostorSummary, seed: int, least: float) -> Threshold:
    """The threshold of a FAR that the scores don't reach; none below that of a larger FAR, `least`."""
    subjects, listed = summary.subjects, summary.listed
    if subjects is not None:
        genuine, highest = subjects.genuine, subjects.tail
    elif listed is not None:
        genuine, highest = listed.genuine, listed.impostor
    else:
        raise BitfaceError(
            f"a threshold for FAR {point.far:g} {point.reason}, and only those of pairs of images can be extrapolated"
        )
    one = extrapolated_threshold(highest, point.distinct.impostor, point.far, subjects, seed, least)
    accepted = int(np.count_nonzero(genuine >= one.threshold))
    tar, interval = None, None
    if point.genuine:
        tar, interval = accepted / point.genuine, wilson(accepted, point.genuine, point.distinct.genuine)
    if subjects is not None and point.genuine:
        there = replace(point, supported=True, threshold=one.threshold, tar=tar, interval=interval, accepted=accepted)
        interval = with_subject_intervals((there,), subjects, seed=seed)[0].interval or interval
    reached = int(np.count_nonzero(highest >= one.threshold)) / point.distinct.impostor
    return Threshold(
        point.far, one.threshold, None, one.interval, reached, tar, interval, point.genuine, point.impostor, one.tail
    )


def _threshold(
    point: OperatingPoint, draws: tuple[Floats, Floats] | None, resamples: int, generator: np.random.Generator
) -> Threshold:
    assert point.threshold is not None
    assert point.reached is not None
    expected = _independent(point, resamples, generator)
    interval = None
    if draws is not None:
        interval = _bounds(draws[0], "subject bootstrap")
        expected = expected.hull(_bounds(draws[1], ""), "subject bootstrap, people found on and people used on")
    return Threshold(
        point.far, point.threshold, interval, expected, point.reached, point.tar, point.interval, point.genuine,
        point.impostor,
    )  # fmt: skip


def _independent(point: OperatingPoint, resamples: int, generator: np.random.Generator) -> Interval:
    """The rate in as many other pairs: binomial, its own rate uncertain by Jeffreys' beta distribution."""
    pairs = point.distinct.impostor
    accepted = (point.false_accepts or 0) * pairs / point.impostor
    rate = generator.beta(accepted + 0.5, pairs - accepted + 0.5, resamples)
    return _bounds(generator.binomial(pairs, rate) / pairs, "beta-binomial, pairs independent")


def _bounds(values: Floats, method: str) -> Interval:
    low, high = np.quantile(values, _TAILS)
    return Interval(float(low), float(high), method)


def about_extrapolation(stored: Mapping[str, Any]) -> list[str]:
    """A note on a stored threshold that is extrapolated; nothing of any other."""
    if not stored.get("extrapolated"):
        return []
    expected = stored.get("expected")
    range_of = f": it lies between {expected['low']:.2g} and {expected['high']:.2g}" if expected else ""
    return [
        f"the threshold for FAR {stored['far']:g} is extrapolated, as too few impostor pairs decided that FAR{range_of}"
    ]


def nearest_threshold(stored: Sequence[dict[str, Any]], far: float) -> dict[str, Any]:
    """The stored threshold for a FAR. Raises BitfaceError, with those there are, where there is none."""
    for one in stored:
        if one["far"] == far:
            return one
    fars = ", ".join(f"{one['far']:g}" for one in stored)
    raise BitfaceError(
        f"no threshold for FAR {far:g} is stored ({f'there are {fars}' if fars else 'none is'}); make one with "
        f"bitface calibrate --far {far:g}"
    )
