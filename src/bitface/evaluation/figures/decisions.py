"""Two models on the same trials of a protocol: what is decided otherwise, and by how much a figure changes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitface.errors import BitfaceError
from bitface.evaluation.arrays import Bools
from bitface.evaluation.figures.intervals import LEVEL, Interval
from bitface.evaluation.figures.paired import McNemar, mcnemar


@dataclass(frozen=True, eq=False)
class Decisions:
    """The trials behind one figure of a result.

    Attributes:
        name: of the figure.
        right: `[T]`, whether the model decides each rightly.
        person: `[T]`, whose trial each is: those of one person aren't independent. None: they are.
    """

    name: str
    right: Bools
    person: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class FigureChange:
    """A figure of a model less that of its baseline, from decisions on the same trials.

    Attributes:
        baseline, model: both shares of right decisions.
        interval: of the difference, from resamples (of people, where trials have them) that both models see alike.
        mcnemar: on the same decisions, taken to be independent.
    """

    name: str
    baseline: float
    model: float
    interval: Interval
    mcnemar: McNemar

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, and the difference itself as `change`."""
        return {**asdict(self), "change": self.model - self.baseline, "mcnemar": self.mcnemar.to_json()}


def compare_decisions(
    baseline: Sequence[Decisions], model: Sequence[Decisions], resamples: int = 1000, seed: int = 0
) -> tuple[FigureChange, ...]:
    """Each figure that both results have decisions for.

    Raises:
        BitfaceError: they are of different trials.
    """
    counterparts = {one.name: one for one in baseline}
    changes = []
    for one in model:
        if (other := counterparts.get(one.name)) is None:
            continue
        if len(one.right) != len(other.right):
            raise BitfaceError(f"{one.name}: the two models were scored on different trials; compare them on the same")
        low, high = np.quantile(_differences(other, one, resamples, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        method = "paired bootstrap" if one.person is None else "paired subject bootstrap"
        interval, before, after = Interval(float(low), float(high), method), other.right, one.right
        changes.append(
            FigureChange(one.name, float(before.mean()), float(after.mean()), interval, mcnemar(before, after))
        )
    return tuple(changes)


def _differences(baseline: Decisions, model: Decisions, resamples: int, seed: int) -> np.ndarray:
    """Of resamples, the share of the model less that of the baseline."""
    person = np.arange(len(model.right)) if model.person is None else np.unique(model.person, return_inverse=True)[1]
    trials = np.bincount(person)
    gained = np.bincount(person, weights=model.right.astype(np.int64) - baseline.right.astype(np.int64))
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        weight = np.bincount(generator.integers(0, len(trials), len(trials)), minlength=len(trials))
        differences.append(float(weight @ gained) / int(weight @ trials))
    return np.array(differences)
