"""`bitface compare`: quantization, pruning and distillation, alone and together, in one table.

What a step makes lies in a folder named by everything that it depends on: candidates with the same first steps share
them, a comparison that was stopped goes on where it stopped, and one that was changed computes what is new.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bitface
from bitface import report
from bitface.errors import BitfaceError
from bitface.files import sha256_of, write_bytes, write_json
from bitface.graph import ASSUMED, FreeSize
from bitface.inputs.comparisons import ORIGINAL, Candidate, Comparison
from bitface.inputs.faces import load_teacher
from bitface.inputs.protocols import listed_pairs
from bitface.jobs.candidates import Request, key_of, request_for, requests_of
from bitface.jobs.distill import DistillRequest, distill_model
from bitface.jobs.evaluate import EvaluateRequest, evaluate_model
from bitface.jobs.float_student import counted
from bitface.jobs.prune import PruneRequest, prune_model
from bitface.jobs.quantize import QuantizeRequest, beforehand, quantize_model
from bitface.progress import Steps, silent
from bitface.report.comparison import COSTS, comparison_page, cost, figure_of
from bitface.report.tables import comparison as table
from bitface.results.folder import RESULT, check_beside
from bitface.results.locks import holding
from bitface.runtime import Model, open_model
from bitface.runtime.beside import beside
from bitface.runtime.machine import describe
from bitface.search.pareto import alike, frontier
from bitface.train import Interrupted


def compare_candidates(comparison: Comparison, out: Path, steps: Steps = silent) -> dict[str, Any]:
    """Makes and measures every candidate; writes `comparison.json`, `comparison.md` and `comparison.html` to `out`.

    A candidate that fails has the reason in its row, and the others go on.

    Returns:
        The content of `comparison.json`.

    Raises:
        BitfaceError: the network or the test can't be used, nothing can be written, or a training was interrupted.
    """
    with holding(out, "compare"):
        return _compared(comparison, out, steps)


def _compared(comparison: Comparison, out: Path, steps: Steps) -> dict[str, Any]:
    # A mistake that concerns every candidate shows at once.
    network = load_teacher(comparison.model, comparison.source, comparison.preprocess, comparison.size)
    # Settled once, by the faces to learn from: the test's crops may have another size.
    comparison = replace(comparison, size=network.size)
    listed_pairs(comparison.pairs, comparison.root, comparison.part, comparison.all_pairs)
    rows = [_row(comparison, Candidate(ORIGINAL, ()), out, steps)]
    rows += [_row(comparison, candidate, out, steps) for candidate in comparison.candidates]
    finished = [row for row in rows if row["error"] is None]
    latencies = _latencies(comparison, finished, out, steps)
    for row in finished:
        row["latency"] = latencies[row["name"]]
    content = {
        "bitface": bitface.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(comparison.model),
        "pairs": str(comparison.pairs),
        "threads": comparison.threads,
        "rows": rows,
        "warnings": beforehand_of(comparison),
        **_ranked(finished),
        "notes": [*network.notes, *(f"{row['name']}: {note}" for row in finished for note in row.get("notes", []))],
        "machine": describe(),
    }
    write_json(out / "comparison.json", content)
    write_bytes(out / "comparison.md", table(content).encode())
    report.write(out / "comparison.html", comparison_page(content))
    return content


def beforehand_of(comparison: Comparison) -> list[str]:
    """What there is to warn of before any candidate is made; see `jobs.quantize.beforehand`."""
    found = [
        text
        for request in requests_of(comparison)
        if isinstance(request, QuantizeRequest)
        for text in beforehand(request)
    ]
    return list(dict.fromkeys(found))


def _row(comparison: Comparison, candidate: Candidate, out: Path, steps: Steps) -> dict[str, Any]:
    """A candidate's model and what it is worth, or why there is none."""
    begins = [{"file": str(candidate.file)}] if candidate.file else []
    chain = [*begins, *(dict([step]) for step in candidate.steps)]
    row: dict[str, Any] = {"name": candidate.name, "steps": chain, "error": None}
    original = not candidate.steps and candidate.file is None

    def named(name: str) -> Any:
        return steps(f"{candidate.name}: {name}")

    try:
        model, key = _made(comparison, candidate, out, named)
        network = _opened(comparison, model, original).network
        figures = _evaluated(comparison, model, key, original, out, named)
        sizes = {"bytes": model.stat().st_size, **counted(network)}
        return {**row, "model": str(model), **sizes, **figures, "latency": None}
    except (Interrupted, KeyboardInterrupt) as stop:
        where = f" ({str(stop).split(';')[0]})" if str(stop) else ""
        raise Interrupted(
            f"stopped at the candidate '{candidate.name}'{where}; the same command goes on where it stopped"
        ) from stop
    except Exception as error:  # whatever it is, hours of other candidates shouldn't be lost to it
        if candidate.name == ORIGINAL:
            raise
        first = next(iter(str(error).strip().splitlines()), "")
        reason = first if isinstance(error, BitfaceError) else f"unexpected {type(error).__name__}: {first}"
        return {**row, "error": reason}


def _made(comparison: Comparison, candidate: Candidate, out: Path, steps: Steps) -> tuple[Path, str]:
    """A candidate's model, and its name by everything that it depends on."""
    model, given = candidate.file or comparison.model, candidate.file is not None
    key = f"{sha256_of(model)} {None if given else f'{comparison.preprocess} {comparison.size}'}"
    for place, (step, options) in enumerate(candidate.steps):
        request = request_for(comparison, step, options, model, Path(), place == 0 and not given)
        key = key_of(request, key)
        folder = out / "steps" / f"{step}-{key}"
        if not (folder / RESULT).is_file():
            _carry_out(replace(request, out=folder), steps)
        model = folder / ("model.bitface" if step == "quantize" else "model.onnx")
        check_beside(model)
    return model, key


def _carry_out(request: Request, steps: Steps) -> None:
    if isinstance(request, PruneRequest):
        prune_model(request, steps)
    elif isinstance(request, DistillRequest):
        distill_model(request, steps)
    else:
        quantize_model(request, steps)


def _evaluated(
    comparison: Comparison, model: Path, key: str, original: bool, out: Path, steps: Steps
) -> dict[str, Any]:
    """The figures of a model, and how many test images are copies of what it was made with."""
    facts = (key, sha256_of(comparison.pairs), str(comparison.root), comparison.part, comparison.all_pairs)
    name = _named((bitface.__version__, facts, comparison.fars, comparison.seed))

    def compute() -> dict[str, Any]:
        content, result = evaluate_model(
            EvaluateRequest(
                model, comparison.pairs, comparison.root, comparison.part, comparison.all_pairs, fars=comparison.fars,
                preprocess=comparison.preprocess if original else None, seed=comparison.seed,
                allow_skipped=comparison.source.allow_skipped, size=comparison.size if original else None,
            ),
            steps,
        )  # fmt: skip
        copies = content["overlap"]["copies"] if content["overlap"] else None
        figures = [figure.to_json() for figure in result.figures()]
        return {"figures": figures, "copies": copies, "notes": content["notes"], "warnings": content["warnings"]}

    return _once(out / "evaluations" / f"{name}.json", compute)


def _latencies(comparison: Comparison, rows: list[dict[str, Any]], out: Path, steps: Steps) -> dict[str, Any]:
    """Every candidate's latency beside the original's, all of one run: a candidate more, and all run again."""
    models = {row["name"]: _opened(comparison, Path(row["model"]), row["name"] == ORIGINAL) for row in rows}
    facts = [(name, model.network.fingerprint()) for name, model in models.items()]
    name = _named((bitface.__version__, facts, comparison.threads))

    def compute() -> dict[str, Any]:
        found = beside(models, ORIGINAL, comparison.threads, progress=steps("measuring latency"))
        return {name: times.to_json() for name, times in found.items()}

    return _once(out / "latencies" / f"{name}.json", compute)


def _opened(comparison: Comparison, path: Path, original: bool) -> Model:
    if original:
        return open_model(path, comparison.preprocess, comparison.size)
    like = FreeSize(comparison.size, "the size of the original") if comparison.size else ASSUMED
    return open_model(path, choose=lambda: like)


def _named(facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file holds, computed and written at the first call."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        pass  # not there, or damaged
    content = compute()
    write_json(path, content)
    return content


def _ranked(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """By which figure the rows are ranked, who is on the frontiers, and who costs nearly the same."""
    names = [figure["name"] for figure in rows[0]["figures"] if figure["name"].startswith("TAR")]
    values = {name: [figure_of(row, name)["value"] for row in rows] for name in ["accuracy", *names]}
    ranked = next((name for name in names if None not in values[name]), "accuracy")
    gains = [float(value) for value in values[ranked]]
    result: dict[str, Any] = {"ranked_by": ranked, "frontier": {}, "equal": {}}
    for name, unit in COSTS.items():
        costs = [float(cost(row, unit)) for row in rows]
        best = frontier(costs, gains)
        result["frontier"][name] = [row["name"] for row, on in zip(rows, best, strict=True) if on]
        result["equal"][name] = [
            [rows[place]["name"] for place in sorted(places, key=lambda one: -gains[one])] for places in alike(costs)
        ]
    return result
