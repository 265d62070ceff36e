"""`bitface search`: a network, faces and a budget in; bit plans that `bitface quantize` takes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import bitface
from bitface import report
from bitface.analysis import proxies
from bitface.analysis.probe import WEIGHTS, Probe
from bitface.errors import BitfaceError, UsageError, nearest, option
from bitface.files import path_fields, write_bytes
from bitface.graph import Network
from bitface.inputs.models import prepare
from bitface.inputs.protocols import Opened, asked_protocol
from bitface.jobs.evaluate import EvaluateOptions, evaluate
from bitface.jobs.sensitivity import TABLE, measured_table, probed, write_table
from bitface.progress import Steps, silent
from bitface.quant import quantize
from bitface.quant.rotate import HADAMARD, OFF
from bitface.report.search_pages import search_page
from bitface.results.documents import read_result
from bitface.results.folder import Clock, check_free, staging, write_result
from bitface.results.locks import holding
from bitface.results.search import SearchRecord
from bitface.results.sensitivity import SensitivityRecord, SweptWidths
from bitface.runtime import Model
from bitface.runtime.machine import describe
from bitface.search import by_size, by_time
from bitface.search.budget import TIME, Budget
from bitface.search.front import Costs, Front
from bitface.search.measured_plans import MeasuredPlans
from bitface.search.sweep import BLOCK, FEWEST, LAYER, SensitivityRequest, SweptNetwork, subject

WIDTHS = (8, 6, 4, 3, 2)
_OWN_TABLE = "search-sensitivity.json"
COSTS = ("measured", *proxies.NAMES)


@dataclass(frozen=True)
@path_fields
class SearchRequest:
    """What to search; the options of `bitface search`.

    Attributes:
        base: network, faces and folder, as for a sensitivity sweep; its widths are set here, and its pairs or protocol
            judge the plans that are found.
        activations: widths of activations. More than one: chosen under `activation_bits`, the mean of a number.
            The image and the last layer's input keep 8.
        sums: bits of what additions read; None: what layers read of the same tensors. Sums take no bytes.
        cost: `measured`, or a proxy of `analysis.proxies`.
        table: a `sensitivity.json`; None: the one in `base.out`, if there is one.
        points: how many budgets, beside the one that is asked for.
        tries: whole plans measured for each budget.
    """

    base: SensitivityRequest
    budget: Budget
    widths: Sequence[int] = WIDTHS
    activations: Sequence[int] = (8,)
    activation_bits: float | None = None
    cost: str = "measured"
    table: Path | None = None
    points: int = 8
    tries: int = 16
    sums: int | None = 8

    @property
    def narrow(self) -> bool:
        """Whether any activation may have fewer than 8 bits: then the convention of sums counts, and `quantize` turns
        residual streams."""
        return min(self.activations) < 8


def search_plans(request: SearchRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes a plan file for each budget, `result.json` and `report.html` to the folder; the sweep's files, too, where
    it had to be made. While it runs, `search.unfinished.safetensors` keeps what is measured of whole plans.

    Returns:
        The content of `result.json`.

    Raises:
        BitfaceError, UsageError: no plan meets the budget (the message says what the smallest takes), or the request
            can't be carried out.
    """
    _check(request)
    with holding(request.base.out, "search"):
        check_free(request.base.out, request.base.force, files=["report.html"], reads=[request.base.model])
        return _searched(request, steps)


def _searched(request: SearchRequest, steps: Steps) -> dict[str, Any]:
    clock = Clock()
    timed = request.budget.axis == TIME
    widths = (8,) if timed else tuple(request.widths)
    base = replace(
        request.base, weight_bits=widths, activation_bits=tuple(sorted({8, *request.activations})), by=LAYER,
        pairs=None, root=None, part=None, protocol=None,
        sums=request.sums if request.narrow else None, rotate=HADAMARD if request.narrow else OFF,
        equalized=min(8, max(request.activations)),
    )  # fmt: skip
    opened = _protocol(request.base)
    request = replace(request, base=base)
    # Tables and plans of another network and a budget too small should be refused before an hour has gone.
    experiment = _split(subject(base, steps))
    cache = MeasuredPlans(base.out, experiment, f"sums {base.sums}, streams {base.rotate}, channels {base.equalized}")
    plan_request = by_size.PlanRequest(request.budget, request.widths, request.activations, request.activation_bits)
    if not timed:
        by_size.check_budget(plan_request, experiment.network)
    tables = _known(request, experiment)
    probe = probed(base, experiment, steps)
    clock.lap("calibration")
    costs = _costs(request, experiment, probe, tables, steps)
    clock.lap("sensitivity")
    if timed:
        front = by_time.front(request.budget, request.base.model, experiment, probe, costs, cache, steps)
    else:
        front = by_size.front(plan_request, experiment, probe, costs, cache, request.points, request.tries, steps)
    clock.lap("search")
    judged: dict[str, Any] = {}
    if opened:
        figures = _judge(opened, experiment, front, base.seed, steps)
        judged = {"protocol": opened.protocol.name, "float_figures": figures}
        clock.lap("evaluation")
    facts = {
        **_account(request, experiment),
        **front.summary(request.budget, experiment.notes),
        **judged,
        "seconds": clock.seconds,
    }
    result = SearchRecord.of(facts)
    with staging(base.out) as folder:
        for name, plan in front.plans.items():
            write_bytes(folder / name, yaml.safe_dump(plan.to_json(), sort_keys=False).encode())
        report.write(folder / "report.html", search_page(result, base.out))
        content = write_result(folder, result)
    cache.forget()
    return content


def _check(request: SearchRequest) -> None:
    if request.cost not in COSTS:
        raise UsageError(f"unknown cost '{request.cost}'{nearest(request.cost, COSTS)} (there are {', '.join(COSTS)})")
    if (len(request.activations) > 1) != (request.activation_bits is not None):
        raise UsageError(
            f"several widths of activations need {option('activation-bits')}, their mean, and one width needs none"
        )
    if request.budget.axis == TIME and (tuple(request.activations) != (8,) or tuple(request.widths) != WIDTHS):
        raise UsageError("a budget of time chooses between 8 bits and float alone: no CPU is faster below 8 bits")


def _split(experiment: SweptNetwork) -> SweptNetwork:
    """Faces that choose plans and faces that only judge the chosen ones."""
    if len(experiment.spare) >= FEWEST:  # as many as choose are enough
        return replace(experiment, spare=experiment.spare[: len(experiment.validation)])
    faces = np.concatenate([experiment.validation, experiment.spare])
    half = len(faces) // 2
    if half < FEWEST:
        raise BitfaceError(
            f"only {len(faces)} faces are held out; {2 * FEWEST} are needed, half of them to choose plans and half to "
            f"judge them: give more faces, or a smaller {option('max-images', field='calibration_faces')}"
        )
    return replace(experiment, validation=faces[:half], spare=faces[half:])


def _protocol(base: SensitivityRequest) -> Opened | None:
    return asked_protocol(base.protocol, base.pairs, base.root, base.part) if base.judged else None


def _judge(opened: Opened, experiment: SweptNetwork, front: Front, seed: int, steps: Steps) -> list[dict[str, Any]]:
    """Gives every plan of the front its figures on a protocol, quantized as `bitface quantize` does; the float
    network's are returned."""

    def figures(label: str, network: Network) -> list[dict[str, Any]]:
        ready = prepare(Model.of(network), opened.files)
        options = EvaluateOptions(seed=seed, allow_skipped=True, anyway=True)
        outcome = evaluate(opened, ready, options=options, steps=lambda step: steps(f"{label}: {step}"))
        texts = [f"{opened.protocol.name}: {text}" for text in (*ready.notes, *outcome.notes)]
        experiment.notes.extend(text for text in texts if text not in experiment.notes)
        experiment.warnings.extend(f"{label}: {text}" for text in outcome.warnings)
        return [figure.to_json() for figure in outcome.evaluation.result.figures()]

    for row in front.rows:
        integer, _ = quantize(experiment.network, experiment.learning, front.plans[row["file"]])
        row["figures"] = figures(row["label"], integer)
    return figures("float", experiment.network)


def _known(request: SearchRequest, experiment: SweptNetwork) -> list[Costs]:
    """The costs of the tables that are there already."""
    paths = [request.table] if request.table else [request.base.out / name for name in (TABLE, _OWN_TABLE)]
    tables = []
    for path in paths:
        if not request.table and not path.exists():
            continue
        table = _read(path, experiment)
        if table.by == BLOCK:
            unfit, other = "is a table by block", "a search needs one by layer"
        elif _convention(table.settings) != (request.base.sums, request.base.rotate, request.base.equalized):
            unfit, other = (
                "has sums, streams or channels of another convention",
                "a search like this one measures its own",
            )
        else:
            tables.append(_costs_of(table, path, request.cost))
            continue
        if request.table:
            hint = "make it with bitface sensitivity --by layer, or leave this one out"
            raise BitfaceError(f"{path}: {unfit}, and {other}; {hint if table.by == BLOCK else 'leave this one out'}")
        experiment.notes.append(f"{path} {unfit}; {other} and left it alone")
    return tables


def _convention(settings: SweptWidths) -> tuple[int | None, str, int]:
    return settings.sums, settings.rotate or OFF, settings.equalized or 8


def _read(path: Path, experiment: SweptNetwork) -> SensitivityRecord:
    """A table of this network."""
    table = read_result(path)
    if not isinstance(table, SensitivityRecord):
        raise BitfaceError(f"{path}: no sensitivity table; make one with bitface sensitivity")
    if table.by != BLOCK and table.model.fingerprint != experiment.network.fingerprint():
        raise BitfaceError(
            f"{path}: is of another network or preprocessing; give another table, or another {option('out')}"
        )
    return table


def _costs_of(table: SensitivityRecord, path: Path, cost: str) -> Costs:
    """What each width of each tensor costs, as measured or by a proxy."""
    if cost != "measured" and any(cost not in unit.proxies for unit in table.units):
        raise BitfaceError(f"{path}: holds no estimate '{cost}'; make the table again with bitface sensitivity")
    return {
        (unit.part, unit.name, unit.bits): unit.cost if cost == "measured" else unit.proxies[cost]
        for unit in table.units
    }


def _costs(request: SearchRequest, experiment: SweptNetwork, probe: Probe, tables: list[Costs], steps: Steps) -> Costs:
    """What every width of every layer costs; measured where no table says all of it."""
    probe = probe if len(request.activations) > 1 or request.budget.axis == TIME else probe.only(WEIGHTS)
    for costs in tables:
        if all((unit.part, unit.name, unit.bits) in costs for unit in probe.units):
            return costs
    if request.cost == "measured":
        table = measured_table(request.base, experiment, steps, probe)
        # A table that is there stays, though it doesn't hold all widths.
        write_table(request.base.out, table, _OWN_TABLE if (request.base.out / TABLE).exists() else TABLE)
        return _costs_of(table, request.base.out, request.cost)
    estimates = proxies.estimate(probe, experiment.validation, seed=request.base.seed, progress=steps("proxies"))[
        request.cost
    ]
    return {(unit.part, unit.name, unit.bits): value for unit, value in estimates.items()}


def _account(request: SearchRequest, experiment: SweptNetwork) -> dict[str, Any]:
    network = experiment.network
    return {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "path": str(request.base.model),
            "name": network.name,
            "fingerprint": network.fingerprint(),
            "preprocess": network.preprocess.name if network.preprocess else None,
        },
        "settings": {
            "widths": list(request.widths),
            "activations": list(request.activations),
            "activation_bits": request.activation_bits,
            "sums": request.base.sums,
            "cost": request.cost,
            "tries": request.tries,
            "seed": request.base.seed,
        },
        "faces": {
            "kind": experiment.kind,
            "calibration": len(experiment.learning),
            "chosen_on": len(experiment.validation),
            "reported": len(experiment.spare),
        },
        "warnings": experiment.warnings,
        "machine": describe(),
    }
