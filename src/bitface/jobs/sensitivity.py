"""`bitface sensitivity`: a network and faces in; what rounding each tensor, or each block, alone costs out."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bitface
from bitface import report
from bitface.analysis import proxies, sensitivity
from bitface.analysis.blocks import BlockProbe, by_block
from bitface.analysis.probe import ACTIVATIONS, WEIGHTS, Probe, ProbedUnit, prepare
from bitface.data.faces import manifest_hash
from bitface.errors import UsageError, nearest, option
from bitface.progress import Steps, silent
from bitface.quant import Calibration
from bitface.report.search_pages import sensitivity_page
from bitface.results.folder import Clock, check_free, staging, write_result
from bitface.results.locks import holding
from bitface.results.sensitivity import SensitivityRecord
from bitface.runtime.machine import describe
from bitface.search.sweep import (
    BLOCK,
    LAYER,
    STATE,
    ChosenPairs,
    SensitivityRequest,
    Sweeps,
    SweptNetwork,
    settings,
    subject,
)

TABLE = "sensitivity.json"
_PROXY_FACES = 64


def measure_sensitivity(request: SensitivityRequest, steps: Steps = silent) -> dict[str, Any]:
    """Writes `sensitivity.json` and `sensitivity.html` to `request.out`.

    While it runs, `sensitivity.unfinished.safetensors` keeps what is measured; the same request goes on from there.

    Returns:
        The content of `sensitivity.json`.

    Raises:
        BitfaceError, UsageError: whatever of the request can't be carried out, or the folder holds the unfinished
            sweep of another one.
    """
    if request.by not in (LAYER, BLOCK):
        raise UsageError(
            f"unknown {option('by')} '{request.by}'{nearest(request.by, (LAYER, BLOCK))} (there are {LAYER} and "
            f"{BLOCK})"
        )
    with holding(request.out, "sensitivity"):
        check_free(request.out, request.force, TABLE, files=[str(Path(TABLE).with_suffix(".html"))])
        return write_table(request.out, measured_table(request, subject(request, steps), steps))


def write_table(out: Path, table: SensitivityRecord, name: str = TABLE) -> dict[str, Any]:
    """Writes a finished sweep as JSON and as a page beside it, and forgets its state; gives the JSON's content."""
    with staging(out, name) as folder:
        report.write((folder / name).with_suffix(".html"), sensitivity_page(table))
        content = write_result(folder, table, name)
    with suppress(OSError):
        (out / STATE).unlink()
    return content


def probed(request: SensitivityRequest, experiment: SweptNetwork, steps: Steps = silent) -> Probe:
    """The network with the quantizers of every width that is asked about."""
    probe = prepare(
        experiment.network,
        experiment.learning,
        request.weight_bits,
        request.activation_bits,
        Calibration(rotate=request.rotate),
        steps("calibrating"),
        request.sums,
        request.equalized,
    )
    return by_block(probe, experiment.learning) if request.by == BLOCK else probe


def measured_table(
    request: SensitivityRequest, experiment: SweptNetwork, steps: Steps = silent, probe: Probe | None = None
) -> SensitivityRecord:
    """The finished sweep; see `measure_sensitivity`."""
    clock = Clock()
    pairs = ChosenPairs.of(request, experiment, steps) if request.judged else None
    clock.lap("pairs")
    probe = probe or probed(request, experiment, steps)
    clock.lap("calibration")
    sweeps = Sweeps(request, experiment, probe, pairs)
    turned, scores = sweeps.run(steps)
    clock.lap("sweep")
    estimated = proxies.estimate(
        probe, experiment.validation[:_PROXY_FACES], seed=request.seed, progress=steps("proxies")
    )
    clock.lap("proxies")
    exact = sensitivity.costs(probe, turned)
    rows = [
        {
            **_described(probe, unit),
            "cost": exact[unit],
            "standard_error": sensitivity.mean_and_error(turned[number])[1],
            "proxies": {name: values[unit] for name, values in estimated.items()},
            **({"accuracy": pairs.accuracy(scores[number])} if pairs else {}),
        }
        for number, unit in enumerate(probe.units)
    ]
    facts = {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "path": str(request.model),
            "name": experiment.network.name,
            "fingerprint": experiment.network.fingerprint(),
            "preprocess": experiment.network.preprocess.name if experiment.network.preprocess else None,
        },
        **({"by": BLOCK} if request.by == BLOCK else {}),
        "settings": settings(request),
        "faces": {
            "kind": experiment.kind,
            "calibration": len(experiment.learning),
            "measured": len(experiment.validation),
            "manifest": manifest_hash(experiment.validation),
        },
        "pairs": {
            "list": str(request.pairs or request.protocol),
            "count": len(pairs.same),
            "accuracy": pairs.accuracy(scores[-1]),
        }
        if pairs
        else None,
        "units": rows,
        "correlations": _correlations(probe, exact, estimated),
        "notes": experiment.notes,
        "warnings": experiment.warnings,
        "seconds": clock.seconds,
        "machine": describe(),
    }
    return SensitivityRecord.of(facts)


def _described(probe: Probe, unit: ProbedUnit) -> dict[str, Any]:
    facts: dict[str, Any] = {"part": unit.part, "name": unit.name, "bits": unit.bits}
    if isinstance(probe, BlockProbe):
        tensors = probe.blocks[unit.name].tensors[unit.part]
        facts["tensors"] = list(tensors)
    elif unit.part == ACTIVATIONS:
        return {**facts, "read_by": probe.readers[unit.name]}
    else:
        tensors = (unit.name,)
    if unit.part == WEIGHTS:
        facts["parameters"] = sum(probe.student.graph.get_parameter(f"{name}.weight").numel() for name in tensors)
    return facts


def _correlations(
    probe: Probe, exact: dict[ProbedUnit, float], estimated: dict[str, dict[ProbedUnit, float]]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """proxy → part → bits (or `all`) → Spearman's rank correlation with the sweep."""
    correlations: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, values in estimated.items():
        correlations[name] = {}
        for part in (WEIGHTS, ACTIVATIONS):
            own = [unit for unit in probe.units if unit.part == part]
            widths = {str(bits): [unit for unit in own if unit.bits == bits] for bits in {one.bits: 0 for one in own}}
            correlations[name][part] = {
                key: sensitivity.rank_correlation(values, exact, units) for key, units in {"all": own, **widths}.items()
            }
    return correlations
