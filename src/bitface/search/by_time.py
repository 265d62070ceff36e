"""Plans under a budget of time: which layers stay in floating point. No CPU engine is faster below 8 bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe
from bitface.errors import BitfaceError
from bitface.evaluation import agreement
from bitface.graph import Network, passes
from bitface.progress import Steps
from bitface.quant import BitPlan, LayerBits, quantize
from bitface.quant.plan import FLOAT, escaped
from bitface.runtime import Embedder, Model
from bitface.runtime.bench import race
from bitface.runtime.machine import describe, pinned
from bitface.search.budget import Budget
from bitface.search.front import Costs, Front, layer_rows, probe_layers, weight_bytes, weights_of
from bitface.search.measured_plans import Figures, MeasuredPlans
from bitface.search.optimum import Choice, Problem
from bitface.search.sweep import SweptNetwork
from bitface.search.trial import groups
from bitface.targets.base import Settings
from bitface.targets.exact import FITTING_BITS, exact
from bitface.targets.registry import DEFAULTS, TARGETS
from bitface.targets.start import start

_WIDTHS = (FLOAT, 8)
_POINTS = 4
# Times of layers don't quite add up: conversions between integers and floats come in between.
_ATTEMPTS = 3
_ROUNDS, _SECONDS = 5, 1.0
# The fastest engine that tells how long each layer takes.
_ENGINE = next(name for name in DEFAULTS if TARGETS[name].layer_times)


class _Stopwatch:
    """Plans as the engine that times layers runs them exactly, on one thread."""

    def __init__(self, model: Path, experiment: SweptNetwork, probe: Probe, cache: MeasuredPlans) -> None:
        self.model, self.experiment, self.probe, self.cache = model, experiment, probe, cache
        self.sizes = weights_of(probe)
        floating = Embedder(Model(model, "float", experiment.network), _ENGINE)
        # Faces that choose plans, and faces that only judge the chosen ones.
        self.sides = {"chosen_agreement": experiment.validation, "agreement": experiment.spare}
        self.expected = {name: floating.embed(faces) for name, faces in self.sides.items()}
        self.rows: dict[Choice, dict[str, Any]] = {}

    def plan(self, choice: Choice) -> BitPlan:
        """The plan of a choice; additions are in integers where any layer is that reads their stream."""
        bits = {name: _WIDTHS[index] for name, index in zip(self.sizes, choice, strict=True)}
        every = dict(bits)
        for group in groups(self.probe.readers):
            names = {name for tensor in group for name in self.probe.readers[tensor]}
            width = min((bits[name] for name in names if name in bits), default=min(bits.values()))
            every |= dict.fromkeys(names - set(bits), width)
        listed = tuple(
            (escaped(name), LayerBits(_weight_bits(every[name]), every[name])) for name in probe_layers(self.probe)
        )
        return BitPlan(LayerBits(8, 8), None, None, listed)

    def row(self, choice: Choice) -> dict[str, Any]:
        """Milliseconds of one image, bytes and both agreements of a plan, all measured."""
        if choice not in self.rows:
            bits = {name: _weight_bits(_WIDTHS[index]) for name, index in zip(self.sizes, choice, strict=True)}
            what = f"timed, chosen and judged on {', '.join(describe().values())}"
            figures = self.cache.figures(what, list(bits.values()), lambda: self._measured(choice))
            self.rows[choice] = {
                **figures,
                "weight_bytes": sum(weight_bytes(self.sizes[name], width) for name, width in bits.items()),
                "mean_bits": sum(self.sizes[n] * width for n, width in bits.items()) / sum(self.sizes.values()),
                "bits": bits,
            }
        return self.rows[choice]

    def _measured(self, choice: Choice) -> Figures:
        student = quantize(self.experiment.network, self.experiment.learning, self.plan(choice))[0]
        embedder = Embedder(Model(self.model, "artifact", student), _ENGINE)
        agreements = {
            name: agreement(self.expected[name], embedder.embed(faces)).mean for name, faces in self.sides.items()
        }
        return {"milliseconds": self.time(student), **agreements}

    def best(self, limit: float) -> Choice:
        """Of the plans measured so far that keep a limit, the one that agrees best on the faces that choose."""
        fitting = [choice for choice, row in self.rows.items() if row["milliseconds"] <= limit]
        return max(fitting, key=lambda choice: self.rows[choice]["chosen_agreement"])

    def time(self, student: Network) -> float:
        """The median milliseconds of one image."""
        with pinned(1) as pin:
            run = start(_ENGINE, student, Settings(threads=1))
            image = self.probe.inputs(self.experiment.validation[:1]).contiguous().numpy()
            return float(np.median(race({"plan": lambda: run(image)}, _ROUNDS, _SECONDS, prepare=pin)["plan"]))


def front(
    budget: Budget,
    model: Path,
    experiment: SweptNetwork,
    probe: Probe,
    costs: Costs,
    cache: MeasuredPlans,
    steps: Steps,
) -> Front:
    """Plans for budgets between all layers in 8 bits and all in floating point, and for the one that is asked for.

    Raises:
        BitfaceError: neither in 8 bits nor in floating point the budget is met (the message says what they take).
    """
    tell = steps("measuring plans")
    watch = _Stopwatch(model, experiment, probe, cache)
    ends = [(_WIDTHS.index(width),) * len(watch.sizes) for width in (8, FLOAT)]
    whole, floating = (watch.row(choice)["milliseconds"] for choice in ends)
    least, most = sorted((whole, floating))
    if least > budget.value:
        raise BitfaceError(
            f"no plan meets {budget.word}: {budget.said(least)} is the least here (one thread, all layers in 8 bits "
            f"{budget.said(whole)}, in floating point {budget.said(floating)}); no CPU is faster below 8 bits"
        )
    problem, rest = _problem(watch, costs)
    pareto_front, between = Front(), np.linspace(least, most, _POINTS).tolist()[1:-1]
    limits = sorted({least, *between, budget.value})
    for number, limit in enumerate(limits):
        _try(limit, watch, problem, rest)
        choice = watch.best(limit)
        row = watch.row(choice)
        label = budget.label(limit, most)
        plan = watch.plan(choice)
        layers = layer_rows(plan, probe, watch.sizes)
        pareto_front.add(f"plan-{label}.yaml", plan, {"label": label, "limit": limit, **row}, layers)
        if limit == budget.value:
            pareto_front.best = f"plan-{label}.yaml"
        tell(number + 1, len(limits), f"{label}: {row['milliseconds']:.3g} ms, {row['agreement']:.4f}")
    pareto_front.notes.append(
        f"one image, one thread, {TARGETS[_ENGINE].title}: {whole:.3g} ms with all layers in 8 bits, {floating:.3g} ms "
        "in floating point; no CPU is faster below 8 bits"
    )
    if _weight_bits(8) != 8:
        pareto_front.notes.append(
            f"weights of 8 bits have 7: {TARGETS[_ENGINE].title}'s sums of 8 bits saturate on this CPU"
        )
    return pareto_front


def _weight_bits(width: int) -> int:
    """Weights have a bit less where the engine's sums of 8 saturate: they take the same time."""
    return FITTING_BITS if width == 8 and not exact(_ENGINE, 8) else width


def _problem(watch: _Stopwatch, costs: Costs) -> tuple[Problem, float]:
    """Costs and times of each layer in floating point and in 8 bits, and the time of everything else."""
    student = quantize(watch.experiment.network, watch.experiment.learning, BitPlan.parse("w8a8"))[0]
    names = list(watch.sizes)
    layer_times = TARGETS[_ENGINE].layer_times
    assert layer_times is not None
    integers, rest = layer_times(student, names, 1)
    network = watch.experiment.network
    floats, _ = layer_times(replace(network, graph=passes.fold(network.graph)), names, 1)
    read = {name: tensor for tensor, readers in watch.probe.readers.items() for name in readers}
    rounded = [costs[WEIGHTS, name, 8] + costs[ACTIVATIONS, read[name], 8] for name in names]
    return Problem(
        names,
        _WIDTHS,
        np.array([[0.0, cost] for cost in rounded]),
        np.array([[floats[name], integers[name]] for name in names]),
    ), rest


def _try(limit: float, watch: _Stopwatch, problem: Problem, rest: float) -> None:
    """Measures what should keep the limit by the sum of its layers' times, and less where that doesn't."""
    target = limit
    for _ in range(_ATTEMPTS):
        choice = problem.solve(max(target - rest, 0.0))
        if choice is None:
            return
        took = watch.row(choice)["milliseconds"]
        if took <= limit:
            return
        target *= 0.98 * limit / took
