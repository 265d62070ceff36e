from itertools import product

import numpy as np
import pytest

from bitface.search.optimum import Choice, Problem, refine


def problem(layers: int = 5, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 500, layers)
    widths = (8, 4, 2)
    costs = np.sort(rng.exponential(1, (layers, 3)), axis=1)
    return Problem([f"l{i}" for i in range(layers)], widths, costs, sizes[:, None] * np.array(widths) / 8)


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_all_plans(seed: int) -> None:
    one = problem(seed=seed)
    plans = list(product(range(3), repeat=5))
    for share in (0.0, 0.1, 0.35, 0.7, 1.0):
        budget = one.smallest + share * (one.largest - one.smallest)
        found = one.solve(budget)
        assert found is not None
        assert one.price(found) <= budget * (1 + 1e-9)
        assert one.cost(found) == pytest.approx(min(one.cost(p) for p in plans if one.within(p, budget)))


@pytest.mark.parametrize("less", [1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 0.0])
def test_budgets_a_hair_below_a_plan(less: float) -> None:
    one = problem()
    rng = np.random.default_rng(1)
    for _ in range(20):
        budget = one.price(tuple(rng.integers(0, 2, 5).tolist())) * (1 - less)
        found = one.solve(budget)
        assert found is not None
        assert one.within(found, budget)


def test_no_plan_below_the_smallest() -> None:
    one = problem()
    assert one.solve(one.smallest * 0.999) is None
    assert one.solve(one.smallest) == (2, 2, 2, 2, 2)
    assert one.solve(one.largest) == (0, 0, 0, 0, 0)


def test_widths_in_another_order() -> None:
    one = problem()
    turned = Problem(one.names, one.widths[::-1], one.costs[:, ::-1], one.prices[:, ::-1])
    budget = (one.smallest + one.largest) / 2
    first, second = one.solve(budget), turned.solve(budget)
    assert first is not None
    assert second is not None
    assert one.bits(first) == turned.bits(second)
    assert [one.bits(near) for near in one.neighbours(first, budget)] == [
        turned.bits(near) for near in turned.neighbours(second, budget)
    ]


def test_neighbours_keep_the_budget_and_raise_one_layer() -> None:
    one = problem()
    budget = (one.smallest + one.largest) / 2
    start = one.solve(budget)
    assert start is not None
    near = list(one.neighbours(start, budget))
    assert near
    for other in near:
        moves = [(a, b) for a, b in zip(start, other, strict=True) if a != b]
        assert one.within(other, budget)
        assert sum(b == a - 1 for a, b in moves) == 1
        assert len(moves) <= 2
    assert [one.cost(other) for other in near] == sorted(one.cost(other) for other in near)


def test_refining_moves_to_what_measures_better() -> None:
    one = problem()
    budget = (one.smallest + one.largest) / 2
    start = one.solve(budget)
    assert start is not None
    goal = list(one.neighbours(start, budget))[3]
    calls: list[Choice] = []

    def measure(choice: Choice) -> float:
        calls.append(choice)
        return -float(sum(a != b for a, b in zip(choice, goal, strict=True)))

    assert refine(one, start, budget, measure, 20, {}) == goal
    assert len(calls) == len(set(calls)) <= 21
    assert all(one.within(choice, budget) for choice in calls)
    calls.clear()
    known = {start: -2.0}
    assert refine(one, start, budget, measure, 0, known) == start
    assert not calls
