"""Thresholds for FARs that few impostor pairs would decide: the tail of their scores, continued by extreme values.

Above a high score, the excess of scores over it follows a generalised Pareto distribution (Pickands, Annals of
Statistics 3, 1975; Balkema and de Haan 1974), `P(excess > y) = (1 + shape · y / scale)^(-1 / shape)`: ISO/IEC 5152
estimates false match rates of small sets by such models. The two parameters are uncertain, and so is what share of
pairs reaches the tail at all: what is known of them is a posterior on a grid (shape and scale; the share by Jeffreys'
beta distribution), the FAR at a score is its mean, and the interval holds 99 % of it.

Tails of real faces are Pareto's only nearly: the very highest impostor scores may be of one person under two names, or
of twins, and bend the whole tail. The interval therefore also holds what the tail says without the two highest. Pairs
that share a person aren't independent: where people are known they are resampled (see `bootstrap`), and the interval
covers that, too. How often the true rate lies in it is measured (`benchmarks/extrapolation.py`). Where more scores are
of another kind, more pairs pass than the interval allows: it is widened or, where that can't be chance, there is no
threshold.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Floats, Ints
from bitface.evaluation.figures.bootstrap import SubjectScores, resampled_pairs
from bitface.evaluation.figures.intervals import LEVEL, Interval

TAIL = 1000
"""The most of the highest impostor scores that a tail is modelled on."""

FURTHEST = 0.1
"""The fewest false accepts among the pairs there are that a FAR may stand for: a hundredth of what supports one."""

_SHARE = 0.05
_FEWEST = 50
_LEVEL = 0.99
# The highest scores that may be of another kind than the rest.
_DOUBTFUL = 2
_RESAMPLES, _DRAWS = 1000, 4000
_METHOD = "generalised Pareto tail, {}"
# The grid: shapes, and scales as multiples of the mean excess.
_SHAPES = np.linspace(-0.7, 0.5, 49)
_SCALES = np.geomspace(0.3, 2.5, 49)
# Cosines are bounded and their tails light: shapes lie about this.
_SHAPE_MEAN, _SHAPE_SPREAD = -0.1, 0.15
_IMPOSSIBLE = -1e6
# A shape this near 0 is an exponential distribution.
_FLAT = 1e-9


@dataclass(frozen=True)
class Tail:
    """What an extrapolated threshold was found from.

    Attributes:
        model: `generalised Pareto`.
        above: the score from which on the tail was modelled; `scores`: how many lie above it.
        shape, scale: the posterior's means.
    """

    model: str
    above: float
    scores: int
    shape: float
    scale: float

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Extrapolation:
    """A threshold beyond the data, the interval of the FAR that it really has, and the tail it was found from."""

    threshold: float
    interval: Interval
    tail: Tail


class TailError(BitfaceError):
    """The impostor scores contradict the tail that is modelled on them."""


def extrapolated_threshold(
    highest: Floats,
    impostors: int,
    far: float,
    subjects: SubjectScores | None = None,
    seed: int = 0,
    least: float = -1.0,
) -> Extrapolation:
    """The threshold at which the modelled FAR is the one asked for.

    Args:
        highest: [T], the highest impostor scores of distinct pairs, descending; all, or at least a thousand and one.
        impostors: how many distinct impostor pairs there are.
        subjects: whose pairs these are, in the same order; None: pairs are taken to be independent.
        seed: of the draws behind the interval.
        least: the threshold for a larger FAR, below which none for this one may lie.

    Raises:
        TailError: more of the pairs pass than the interval allows.
        BitfaceError: there are too few pairs for a tail, or the FAR lies too far beyond them, or no cosine reaches it.
    """
    count = min(TAIL, int(_SHARE * impostors))
    if count < _FEWEST or far * impostors < FURTHEST or len(highest) <= count:
        few = max(math.ceil(_FEWEST / _SHARE), math.ceil(FURTHEST / far))
        raise BitfaceError(
            f"a threshold for FAR {far:g} can be extrapolated from {few:,} impostor pairs on, there are {impostors:,}"
        )
    above = float(highest[count])
    excess = highest[:count] - above
    if not excess.max() > 0:
        raise BitfaceError(
            f"a threshold for FAR {far:g} can't be extrapolated: the {count} highest impostor scores are all {above:g}"
        )
    model = _Pareto.of(excess)
    weights = np.ones((2, count))
    weights[1, :_DOUBTFUL] = 0
    posteriors = model.posterior(weights)
    posterior = posteriors[0]

    def rate(score: float) -> float:
        return float((count + 0.5) / (impostors + 1) * (posterior @ model.survival(score - above)))

    threshold = max(_root(rate, above, far), least)
    survival, generator = model.survival(threshold - above), np.random.default_rng((seed, 2))
    shares = generator.beta(count + 0.5, impostors - count + 0.5, (2, _DRAWS))
    whole, trimmed = shares * survival[_drawn(posteriors, generator.random((2, _DRAWS)))]
    interval = _bounds(whole, "pairs independent").hull(_bounds(trimmed, ""), _METHOD.format("pairs independent"))
    if subjects is not None:
        weights, totals = resampled_pairs(subjects, count, _RESAMPLES, seed)
        drawn = _drawn(model.posterior(weights), generator.random((len(weights), 1)))[:, 0]
        interval = interval.hull(
            _bounds(weights.sum(1) / totals * survival[drawn], ""), _METHOD.format("subject bootstrap")
        )
    passing = int(np.count_nonzero(highest >= threshold))
    if passing > interval.high * impostors:
        seen = generator.beta(passing + 0.5, impostors - passing + 0.5, _DRAWS)
        if np.quantile(seen, (1 - LEVEL) / 2) > interval.high:
            raise TailError(
                f"a threshold for FAR {far:g} can't be extrapolated: {passing:,} of {impostors:,} impostor pairs pass "
                f"{threshold:.4f}, where the scores below let {interval.high * impostors:.1f} expect at most; look "
                "whether the highest are of one person under two names"
            )
        interval = interval.hull(_bounds(seen, ""), interval.method)
    tail = Tail("generalised Pareto", above, count, float(posterior @ model.shape), float(posterior @ model.scale))
    return Extrapolation(threshold, interval, tail)


@dataclass(frozen=True, eq=False)
class _Pareto:
    """The distributions of the grid, [P] of each parameter, and their log-densities of the excesses, [K, P]."""

    shape: Floats
    scale: Floats
    prior: Floats
    density: Floats

    @staticmethod
    def of(excess: Floats) -> "_Pareto":
        shape, ratio = (grid.ravel() for grid in np.meshgrid(_SHAPES, _SCALES, indexing="ij"))
        scale = ratio * excess.mean()
        inside = 1 + shape * excess[:, None] / scale
        with np.errstate(divide="ignore", invalid="ignore"):
            density = np.where(
                np.abs(shape) < _FLAT, -excess[:, None] / scale, -(1 + 1 / shape) * np.log(inside)
            ) - np.log(scale)
        prior = -0.5 * ((shape - _SHAPE_MEAN) / _SHAPE_SPREAD) ** 2
        return _Pareto(shape, scale, prior, np.where(inside > 0, density, _IMPOSSIBLE))

    def posterior(self, weights: Floats) -> Floats:
        """The probability of each distribution, [R, P], where the excesses count as often as [R, K] weights say."""
        logarithm = weights @ self.density + self.prior
        probability = np.exp(logarithm - logarithm.max(1, keepdims=True))
        return np.asarray(probability / probability.sum(1, keepdims=True), np.float64)

    def survival(self, excess: float) -> Floats:
        """The share of the tail that lies further above than this, by each distribution."""
        inside = np.maximum(1 + self.shape * excess / self.scale, 0)
        with np.errstate(divide="ignore"):
            return np.where(np.abs(self.shape) < _FLAT, np.exp(-excess / self.scale), inside ** (-1 / self.shape))


def _root(rate: Callable[[float], float], low: float, far: float) -> float:
    """The score at which a falling rate is the one asked for, found by halving."""
    high = 1.0
    if rate(high) > far:
        raise BitfaceError(
            f"a threshold for FAR {far:g} can't be extrapolated: by the tail of the impostor scores it exceeds 1"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rate(middle) > far else (low, middle)
    return high


def _drawn(probabilities: Floats, uniform: Floats) -> Ints:
    """Indices drawn by rows of probabilities [R, P], from numbers between 0 and 1, [R, D]."""
    levels = np.cumsum(probabilities, 1)
    return np.array([np.searchsorted(row, row[-1] * one) for row, one in zip(levels, uniform, strict=True)])


def _bounds(rates: Floats, how: str) -> Interval:
    low, high = np.quantile(rates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high), _METHOD.format(how))
