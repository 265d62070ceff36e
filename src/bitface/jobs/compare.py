"""`bitface compare`: quantization, pruning and distillation, alone and together, in one table.

What a step makes lies in a folder named by everything that it depends on: candidates with the same first steps share
them, a comparison that was stopped goes on where it stopped, and one that was changed computes what is new.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bitface
from bitface import report
from bitface.errors import BitfaceError, Interrupted, one_line
from bitface.files import sha256_of, write_bytes, write_json
from bitface.graph import ASSUMED, FreeSize
from bitface.inputs.comparisons import ORIGINAL, Candidate, Comparison
from bitface.inputs.contents import state_of
from bitface.inputs.faces import load_teacher
from bitface.inputs.protocols import Opened
from bitface.jobs.candidates import Request, request_for, requests_of, step_key
from bitface.jobs.distill import DistillRequest, distill_model
from bitface.jobs.evaluate import EvaluateRequest, evaluate_model
from bitface.jobs.float_student import counted
from bitface.jobs.prune import PruneRequest, prune_model
from bitface.jobs.quantize import QuantizeRequest, beforehand, quantize_model
from bitface.progress import Steps, silent
from bitface.report.comparison import COSTS, comparison_page, cost
from bitface.report.tables import comparison as table
from bitface.results.comparison import CandidateRow, ComparisonRecord
from bitface.results.documents import read_result
from bitface.results.float_students import DistillationRecord, PruningRecord
from bitface.results.folder import check_beside, check_foreign, finished, holds
from bitface.results.locks import holding
from bitface.results.quantization import QuantizationRecord
from bitface.runtime import Model, open_model
from bitface.runtime.machine import describe
from bitface.runtime.relative_latency import relative_latency
from bitface.search.pareto import alike, pareto_front
from bitface.store import JSON, Store, key_of
from bitface.targets.registry import FASTEST


def compare_candidates(comparison: Comparison, out: Path, steps: Steps = silent) -> dict[str, Any]:
    """Makes and measures every candidate; writes `comparison.json`, `comparison.md` and `comparison.html` to `out`.

    A candidate that fails has the reason in its row, and the others go on.

    Returns:
        The content of `comparison.json`.

    Raises:
        BitfaceError: the network or the test can't be used, nothing can be written, or a training was interrupted.
    """
    with holding(out, "compare"):
        written = ("comparison.json", "comparison.md", "comparison.html")
        check_foreign(out, written, ours=holds(out, written[0], ComparisonRecord.kind_name()))
        return _compared(comparison, out, steps)


def _compared(comparison: Comparison, out: Path, steps: Steps) -> dict[str, Any]:
    # A mistake that concerns every candidate shows at once.
    network = load_teacher(
        comparison.model, comparison.source, comparison.preprocess, comparison.size, comparison.output
    )
    # Settled once, by the faces to learn from: the test's crops may have another size.
    comparison = replace(comparison, size=network.size)
    opened = comparison.opened()
    candidates = (Candidate(ORIGINAL, ()), *comparison.candidates)
    test = state_of(opened)
    rows = [_row(comparison, candidate, opened, test, out, steps) for candidate in candidates]
    latencies = _latencies(comparison, [row for row in rows if row.error is None], out, steps)
    rows = [row.but(latency=latencies[row.name]) if row.error is None else row for row in rows]
    finished = [row for row in rows if row.error is None]
    facts = {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(comparison.model),
        "pairs": str(comparison.pairs or opened.protocol.name),
        "threads": comparison.threads,
        "engine": comparison.engine,
        "rows": [row.to_json() for row in rows],
        "warnings": beforehand_of(comparison),
        **_ranked(finished),
        "notes": [*network.notes, *(f"{row.name}: {note}" for row in finished for note in row.notes)],
        "machine": describe(),
    }
    result = ComparisonRecord.of(facts)
    content = result.to_json()
    write_json(out / "comparison.json", content)
    write_bytes(out / "comparison.md", table(result).encode())
    report.write(out / "comparison.html", comparison_page(result))
    return content


def beforehand_of(comparison: Comparison) -> list[str]:
    """What there is to warn of before any candidate is made; see `jobs.quantize.beforehand`."""
    warnings = [
        text
        for request in requests_of(comparison)
        if isinstance(request, QuantizeRequest)
        for text in beforehand(request)
    ]
    return list(dict.fromkeys(warnings))


def _row(
    comparison: Comparison, candidate: Candidate, opened: Opened, test: str, out: Path, steps: Steps
) -> CandidateRow:
    """A candidate's model and what it is worth, or why there is none."""
    begins: list[dict[str, Any]] = [{"file": str(candidate.file)}] if candidate.file else []
    chain = [*begins, *(dict([step]) for step in candidate.steps)]
    row = CandidateRow(name=candidate.name, steps=tuple(chain), error=None)
    original = not candidate.steps and candidate.file is None

    def named(name: str) -> Any:
        return steps(f"{candidate.name}: {name}")

    try:
        model, key, notes, warnings = _made(comparison, candidate, out, named)
        network = _opened(comparison, model, original).network
        figures = _evaluated(comparison, opened, model, (key, test), original, out, named)
        sizes = {"bytes": model.stat().st_size, **counted(network)}
        notes, warnings = [*notes, *figures.pop("notes")], [*warnings, *figures.pop("warnings")]
        return row.but(model=str(model), **sizes, **figures, notes=tuple(notes), warnings=tuple(warnings), latency=None)
    except (Interrupted, KeyboardInterrupt) as stop:
        where = f" ({str(stop).split(';')[0]})" if str(stop) else ""
        raise Interrupted(
            f"stopped at the candidate '{candidate.name}'{where}; the same command goes on where it stopped"
        ) from stop
    except Exception as error:  # whatever it is, hours of other candidates shouldn't be lost to it
        if candidate.name == ORIGINAL:
            raise
        reason = one_line(error)
        if not isinstance(error, BitfaceError):
            reason = f"unexpected {type(error).__name__}: {reason}"
        return row.but(error=reason)


def _made(
    comparison: Comparison, candidate: Candidate, out: Path, steps: Steps
) -> tuple[Path, str, list[str], list[str]]:
    """A candidate's model, its name by everything that it depends on, and the notes and warnings of its steps, of those
    that were carried out before, too.
    """
    notes: list[str] = []
    warnings: list[str] = []
    model, own_file = candidate.file or comparison.model, candidate.file is not None
    # The weights of an ONNX file may lie in others beside it; what else an artifact holds is in the file alone.
    key = f"{sha256_of(model)} {_opened(comparison, model, not own_file).network.fingerprint()}"
    key += "" if own_file else f" {comparison.preprocess} {comparison.size} {comparison.output}"
    for place, (step, options) in enumerate(candidate.steps):
        request = request_for(comparison, step, options, model, Path(), place == 0 and not own_file)
        key = step_key(request, key)
        folder = Store(out).path("steps", f"{step}-{key}")
        if not finished(folder, "compare"):
            _carry_out(replace(request, out=folder), steps)
        model = folder / ("model.bitface" if step == "quantize" else "model.onnx")
        check_beside(model)
        said = read_result(folder / "result.json")
        assert isinstance(said, QuantizationRecord | PruningRecord | DistillationRecord)
        notes += [f"{step}: {text}" for text in said.notes]
        warnings += [f"{step}: {text}" for text in said.warnings]
    return model, key, notes, warnings


def _carry_out(request: Request, steps: Steps) -> None:
    if isinstance(request, PruneRequest):
        prune_model(request, steps)
    elif isinstance(request, DistillRequest):
        distill_model(request, steps)
    else:
        quantize_model(request, steps)


def _evaluated(
    comparison: Comparison,
    opened: Opened,
    model: Path,
    named: tuple[str, str],
    original: bool,
    out: Path,
    steps: Steps,
) -> dict[str, Any]:
    """The figures of a model, and how many test images are copies of what it was made with.

    Args:
        named: what the model depends on, and the test (see `state_of`).
    """
    entry = key_of((bitface.__version__, named, comparison.fars, comparison.seed, comparison.engine))

    def compute() -> dict[str, Any]:
        content, result = evaluate_model(
            EvaluateRequest(
                model, protocol=opened, fars=comparison.fars, engine=comparison.engine,
                preprocess=comparison.preprocess if original else None, seed=comparison.seed,
                allow_skipped=comparison.source.allow_skipped, size=comparison.size if original else None,
                output=comparison.output if original else None,
            ),
            steps,
        )  # fmt: skip
        copies = content["overlap"]["copies"] if content["overlap"] else None
        figures = [figure.to_json() for figure in result.figures()]
        return {"figures": figures, "copies": copies, "notes": content["notes"], "warnings": content["warnings"]}

    return Store(out).value("evaluations", entry, JSON, compute)


def _latencies(comparison: Comparison, rows: list[CandidateRow], out: Path, steps: Steps) -> dict[str, Any]:
    """Every candidate's latency beside the original's, all of one run: a candidate more, and all run again."""
    models = {row.name: _opened(comparison, Path(str(row.model)), row.name == ORIGINAL) for row in rows}
    facts = [(name, model.network.fingerprint()) for name, model in models.items()]
    engine = comparison.engine or FASTEST
    entry = key_of((bitface.__version__, facts, comparison.threads, engine))

    def compute() -> dict[str, Any]:
        latencies = relative_latency(models, ORIGINAL, comparison.threads, engine, progress=steps("measuring latency"))
        return {name: times.to_json() for name, times in latencies.items()}

    return Store(out).value("latencies", entry, JSON, compute)


def _opened(comparison: Comparison, path: Path, original: bool) -> Model:
    if original:
        return open_model(path, comparison.preprocess, comparison.size, output=comparison.output)
    like = FreeSize(comparison.size, "the size of the original") if comparison.size else ASSUMED
    return open_model(path, choose=lambda: like)


def _ranked(rows: list[CandidateRow]) -> dict[str, Any]:
    """By which figure the rows are ranked, who is on the frontiers, and who costs nearly the same."""
    figures = [figure.name for figure in rows[0].figures]
    names = [name for name in figures if name.startswith("TAR")]
    # TAR first, then accuracy; of protocols that have neither, their first figure that all rows have.
    names += ["accuracy"] if "accuracy" in figures else [name for name in figures if name not in names]
    values = {name: [row.figure(name).value for row in rows] for name in names}
    ranked = next((name for name in names if None not in values[name]), None)
    if ranked is None:
        raise BitfaceError("the test supports no figure that candidates could be ranked by; give a larger one")
    gains = [float(value or 0) for value in values[ranked]]
    result: dict[str, Any] = {"ranked_by": ranked, "frontier": {}, "equal": {}}
    for name, unit in COSTS.items():
        costs = [cost(row, unit) for row in rows]
        best = pareto_front(costs, gains)
        result["frontier"][name] = [row.name for row, on in zip(rows, best, strict=True) if on]
        result["equal"][name] = [
            [rows[place].name for place in sorted(places, key=lambda one: -gains[one])] for places in alike(costs)
        ]
    return result
