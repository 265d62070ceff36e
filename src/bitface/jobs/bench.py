"""`bitface bench`: how long networks and artifacts take, alternating in one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.results.bench import BenchRecord
from bitface.runtime import bench
from bitface.runtime.model import open_models


def bench_models(
    paths: Sequence[Path],
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    preprocess: str | None = None,
    size: Size | None = None,
    steps: Steps = silent,
    output: str | None = None,
    engines: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Latency and throughput of models; see `runtime.bench.bench`.

    Args:
        preprocess, size, output: of float networks that don't say them.
        engines: see `runtime.bench.bench`.

    Returns:
        `BenchResult.to_json()`, with the notes of the models before its own, and their `warnings`.

    Raises:
        BitfaceError, UsageError: a model can't be opened, or `bench` refuses.
    """
    models = open_models([Path(path) for path in paths], preprocess, size, output)
    result = bench.bench(models, batches, threads, engines, progress=steps("measuring"))
    content = result.to_json()
    notes = [f"{model.path}: {note}" for model in models for note in model.known.notes]
    warnings = [text for model in models for text in model.known.warnings]
    warnings += bench.slower_in_integers(result.rows)
    return BenchRecord.of({**content, "notes": [*notes, *content["notes"]], "warnings": warnings}).to_json()
