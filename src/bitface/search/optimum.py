"""Which layer gets how many bits under a budget: exactly under additive costs, then by what whole plans measure.

Costs of single layers (see `sensitivity`) are taken to add up. To pick one width for each layer with the least sum of
costs and a sum of prices within the budget is a knapsack with choices, an integer program that a solver answers to
the optimum. Costs don't quite add up, so that plans near the answer, one layer wider and another narrower, are then
measured as wholes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from bitface.files import STDOUT, muted

Choice = tuple[int, ...]
# What a budget may be missed by, relatively: sums of floats.
_SLACK = 1e-9
# The solver's own tolerance may let a plan pass that is a millionth too large; then it gets a little less to spend.
_MARGINS = (0.0, 2e-6, 1e-4)


@dataclass(frozen=True, eq=False)
class Problem:
    """What each width of each layer costs and takes.

    Attributes:
        names: the layers, L.
        widths: bits, W, the widest first.
        costs: `[L, W]`, what is to be small.
        prices: `[L, W]`, what the budget limits: bytes, bits or milliseconds.
    """

    names: Sequence[str]
    widths: Sequence[int]
    costs: np.ndarray
    prices: np.ndarray

    @property
    def smallest(self) -> float:
        """The least sum of prices."""
        return float(self.prices.min(1).sum())

    @property
    def largest(self) -> float:
        """The greatest sum of prices."""
        return float(self.prices.max(1).sum())

    def price(self, choice: Choice) -> float:
        """What a choice of one width (its number) for each layer takes."""
        return float(self.prices[np.arange(len(choice)), choice].sum())

    def cost(self, choice: Choice) -> float:
        """The sum of its costs."""
        return float(self.costs[np.arange(len(choice)), choice].sum())

    def bits(self, choice: Choice) -> dict[str, int]:
        """Layer → bits."""
        return {name: self.widths[index] for name, index in zip(self.names, choice, strict=True)}

    def within(self, choice: Choice, budget: float) -> bool:
        """Whether a choice keeps the budget."""
        return self.price(choice) <= budget * (1 + _SLACK)

    def solve(self, budget: float) -> Choice | None:
        """The choice of least cost within the budget; None where there is none."""
        if self.smallest > budget * (1 + _SLACK):
            return None
        layers, widths = self.costs.shape
        one_each = np.kron(np.eye(layers), np.ones(widths))
        # Numbers around 1 suit the solver's tolerances.
        costs = self.costs.ravel() / max(float(self.costs.max()), 1e-30)
        prices = self.prices.ravel()[None] / max(budget, 1e-12)
        for margin in _MARGINS:
            limits = [LinearConstraint(one_each, 1, 1), LinearConstraint(prices, ub=1 - margin)]
            sys.stdout.flush()
            with muted(STDOUT):  # what the solver prints for its own developers
                answer = milp(
                    costs,
                    integrality=np.ones(layers * widths),
                    bounds=Bounds(0, 1),
                    constraints=limits,
                    options={"mip_rel_gap": 0.0, "time_limit": 60.0},
                )
            if answer.x is None:
                continue
            choice = tuple(int(index) for index in answer.x.reshape(layers, widths).argmax(1))
            if self.within(choice, budget):
                return choice
        return tuple(int(index) for index in self.prices.argmin(1))

    def neighbours(self, choice: Choice, budget: float) -> Iterator[Choice]:
        """Plans near a choice that keep the budget, the most promising by their costs first.

        One layer gets the next width up; where the budget needs it, one other gets a narrower one.
        """
        order = np.argsort(self.widths)[::-1].tolist()
        place = {index: number for number, index in enumerate(order)}
        costs: dict[Choice, float] = {}
        for raised, index in enumerate(choice):
            if place[index] == 0:
                continue
            wider = (*choice[:raised], order[place[index] - 1], *choice[raised + 1 :])
            if self.within(wider, budget):
                costs[wider] = self.cost(wider)
                continue
            for lowered, other in enumerate(choice):
                for narrower in order[place[other] + 1 :] if lowered != raised else ():
                    swapped = (*wider[:lowered], narrower, *wider[lowered + 1 :])
                    if self.within(swapped, budget):
                        costs[swapped] = self.cost(swapped)
                        break
        yield from sorted(costs, key=lambda near: costs[near])


def refine(
    problem: Problem,
    start: Choice,
    budget: float,
    measure: Callable[[Choice], float],
    tries: int,
    agreements: dict[Choice, float],
) -> Choice:
    """The best plan found by measuring at most `tries` whole plans near `start`, moving on with every better one.

    Args:
        measure: the agreement of a plan, higher for a better one.
        agreements: what was measured already; is added to.
    """

    def agreement(choice: Choice) -> float:
        if choice not in agreements:
            agreements[choice] = measure(choice)
        return agreements[choice]

    best, left = start, tries
    agreement(best)
    while left > 0:
        for near in problem.neighbours(best, budget):
            if near in agreements and agreements[near] <= agreements[best]:
                continue
            left -= near not in agreements
            if agreement(near) > agreements[best]:
                best = near
                break
            if left <= 0:
                break
        else:
            break
    return best
