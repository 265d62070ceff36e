"""Plans under limits of bytes, or of mean bits: each chosen by costs, then by measuring its neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, tensor_of
from bitface.errors import BitfaceError, option
from bitface.graph import Network, ops, passes
from bitface.graph.builder import shape_of
from bitface.progress import Progress, Steps
from bitface.quant.quantizers import Quantizer
from bitface.search.budget import BITS, BYTES, Budget
from bitface.search.front import Costs, Front, edges, layer_rows, probe_layers, weight_bytes, weights_of
from bitface.search.measured_plans import Figures, MeasuredPlans
from bitface.search.optimum import Choice, Problem, refine
from bitface.search.sweep import SweptNetwork
from bitface.search.trial import Trial, groups, plan_of


@dataclass(frozen=True)
class PlanRequest:
    """A budget and the widths to choose from; see `jobs.search.SearchRequest`."""

    budget: Budget
    widths: Sequence[int]
    activations: Sequence[int]
    activation_bits: float | None


@dataclass(frozen=True)
class _Search:
    """The problem and the means to judge its answers.

    Attributes:
        sizes: layer → number of weights.
        activations: tensor → bits, settled before.
        choosing, judging: faces that choose plans and faces that only judge them, with the float network's embeddings.
        cache: what is measured already.
    """

    problem: Problem
    trial: Trial
    sizes: dict[str, int]
    activations: dict[str, int]
    choosing: tuple[np.ndarray, Tensor]
    judging: tuple[np.ndarray, Tensor]
    cache: MeasuredPlans

    def measure(self, choice: Choice) -> float:
        """A plan's agreement on the faces that choose."""
        return self._agreement("chosen", choice, self.choosing)

    def _agreement(self, what: str, choice: Choice, side: tuple[np.ndarray, Tensor]) -> float:
        bits = self.problem.bits(choice)
        every = [*bits.values(), *(self.activations[tensor] for tensor in self.trial.probe.readers)]

        def measured() -> Figures:
            return {"agreement": self.trial.agreement(bits, self.activations, *side)}

        return self.cache.figures(what, every, measured)["agreement"]

    def row(self, choice: Choice) -> dict[str, Any]:
        """What is said of a plan; its agreement on the faces that chose nothing."""
        bits = self.problem.bits(choice)
        return {
            "weight_bytes": sum(weight_bytes(self.sizes[name], width) for name, width in bits.items()),
            "mean_bits": sum(self.sizes[name] * width for name, width in bits.items()) / sum(self.sizes.values()),
            "agreement": self._agreement("judged", choice, self.judging),
            "bits": bits,
        }


def check_budget(request: PlanRequest, network: Network) -> None:
    """Refuses a budget of bytes or bits that no plan meets, before anything is measured.

    Raises:
        BitfaceError: the message says what the smallest plan takes.
    """
    sizes = [layer.weight.numel() for layer in passes.fold(network.graph).modules() if isinstance(layer, ops.LAYERS)]
    narrowest, budget = min(request.widths), request.budget
    smallest = sum(weight_bytes(size, narrowest) for size in sizes) if budget.axis == BYTES else narrowest
    if budget.value < smallest:
        raise BitfaceError(
            f"no plan meets {budget.word}: {budget.said(smallest)} is the least, with all weights at {narrowest} bits"
        )


def front(
    request: PlanRequest,
    experiment: SweptNetwork,
    probe: Probe,
    costs: Costs,
    cache: MeasuredPlans,
    points: int,
    tries: int,
    steps: Steps,
) -> Front:
    """Plans for `points` budgets from the smallest to the largest plan, and for the one that is asked for.

    The budget of weights is one that `check_budget` lets pass.

    Raises:
        BitfaceError: no plan meets that of activations (the message says what the smallest takes).
    """
    problem, budget = _problem(request, probe, costs), request.budget
    activations, trial = _activations(request, probe, costs), Trial(probe, experiment.learning)
    choosing, judging = ((faces, trial.expected(faces)) for faces in (experiment.validation, experiment.spare))
    search = _Search(problem, trial, weights_of(probe), activations, choosing, judging, cache)
    pareto_front = _mixed(search, probe, budget, points, tries, steps("searching"))
    exempt, names, widths = edges(probe), problem.names, list(problem.widths)
    for width in widths:
        uniform = tuple(widths.index(max(widths) if name in exempt else width) for name in names)
        pareto_front.uniform.append({"label": f"w{width}", **search.row(uniform)})
    pareto_front.notes.append(
        f"uniform plans keep their first and last layer at {max(widths)} bits, as `--bits w4a8` keeps them at 8"
    )
    if sums := next(iter(probe.sums.values()), None):
        pareto_front.notes.append(
            f"sums of residual streams have {sums.bits} bits in every plan, uniform ones too (the convention "
            f"s{sums.bits}): that takes no bytes"
        )
    return pareto_front


def _problem(request: PlanRequest, probe: Probe, costs: Costs) -> Problem:
    sizes, widths = weights_of(probe), sorted(request.widths, reverse=True)
    total, in_bits = sum(sizes.values()), request.budget.axis == BITS
    prices = [[n * bits / total if in_bits else weight_bytes(n, bits) for bits in widths] for n in sizes.values()]
    table = [[costs[WEIGHTS, name, bits] for bits in widths] for name in sizes]
    return Problem(list(sizes), widths, np.array(table), np.array(prices, float))


def _mixed(search: _Search, probe: Probe, budget: Budget, points: int, tries: int, tell: Progress) -> Front:
    problem, pareto_front = search.problem, Front()
    agreements: dict[Choice, float] = {}
    best: Choice | None = None
    limits = sorted({*np.geomspace(problem.smallest, problem.largest, points).tolist(), budget.value})
    for number, limit in enumerate(limits):
        start = problem.solve(limit)
        assert start is not None
        measure = _counted(search.measure, tell, number, len(limits), tries)
        choice = refine(problem, start, limit, measure, tries, agreements)
        if best is not None and agreements[best] > agreements[choice]:
            choice = best  # what fits a smaller budget fits this one
        best = choice
        label = budget.label(limit, problem.largest)
        file, at_budget = f"plan-{label}.yaml", limit == budget.value
        if file in pareto_front.plans and not at_budget:
            continue
        sums = next((one.bits for one in probe.sums.values()), None)
        plan = plan_of(probe_layers(probe), problem.bits(choice), search.activations, probe.readers, search.sizes, sums)
        facts = {"label": label, "limit": limit, **search.row(choice), "cost": problem.cost(choice)}
        facts |= {"chosen_agreement": agreements[choice], "unrefined_agreement": agreements[start]}
        pareto_front.add(file, plan, facts, layer_rows(plan, probe, search.sizes))
        pareto_front.best = file if at_budget else pareto_front.best
        tell((number + 1) * (tries + 1), len(limits) * (tries + 1), f"{label}: {facts['agreement']:.4f}")
    return pareto_front


def _counted(
    measure: Callable[[Choice], float], tell: Progress, number: int, total: int, tries: int
) -> Callable[[Choice], float]:
    """Tells of every measured plan."""
    count = 0

    def told(choice: Choice) -> float:
        nonlocal count
        agreement = measure(choice)
        count += 1
        tell(number * (tries + 1) + min(count, tries), total * (tries + 1), f"{agreement:.4f}")
        return agreement

    return told


def _activations(request: PlanRequest, probe: Probe, costs: Costs) -> dict[str, int]:
    """Tensor → bits."""
    exempt = edges(probe)
    at_edge = {tensor for tensor, names in probe.readers.items() if exempt & set(names)}
    clusters = groups(probe.readers)
    # What is joined to an edge has the edge's bits.
    edge_bits = {tensor: 8 for group in clusters if at_edge & set(group) for tensor in group}
    free = [group for group in clusters if not at_edge & set(group)]
    if request.activation_bits is None or not free:
        return edge_bits | {tensor: request.activations[0] for group in free for tensor in group}
    steps = [step for step in probe.walk.steps if isinstance(step.module, Quantizer) and step.name not in probe.sums]
    size = {tensor_of(step): prod(shape_of(step.node)[1:]) for step in steps}
    widths = sorted(request.activations, reverse=True)
    problem = Problem(
        [group[0] for group in free],
        widths,
        np.array([[sum(costs[ACTIVATIONS, t, b] for t in group) for b in widths] for group in free]),
        np.array([[sum(size[t] * b for t in group) for b in widths] for group in free], float),
    )
    edge_cost, total = sum(8 * size[tensor] for tensor in edge_bits), sum(size.values())
    choice = problem.solve(request.activation_bits * total - edge_cost)
    if choice is None:
        raise BitfaceError(
            f"no plan meets {option('activation-bits', f'{request.activation_bits:g}')}: "
            f"{(problem.smallest + edge_cost) / total:.3g} is the least, with all activations at {min(widths)} bits "
            "but the first and the last"
        )
    bits = problem.bits(choice)
    return edge_bits | {tensor: bits[group[0]] for group in free for tensor in group}
