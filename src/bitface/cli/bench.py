"""`bitface bench`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import JsonOption, OutputOption, SizeOption
from bitface.errors import UsageError


def bench(
    models: Annotated[list[Path], typer.Argument(help="Network files and artifacts, measured in turn.")],
    batch: Annotated[str, typer.Option(help="Images at once, such as 1,32.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads, such as 1,2.")] = "1",
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    json: JsonOption = None,
) -> None:
    """Measure latency and throughput of several models, alternating in one run.

    bitface bench net.onnx out/model.bitface --batch 1,32
    """
    from bitface.jobs.bench import bench_models

    with progress() as steps:
        content = bench_models(
            models, _numbers(batch, "--batch"), _numbers(threads, "--threads"), preprocess, size, steps, embedding
        )
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    table = Table(
        "model",
        "engine",
        "precision",
        "batch",
        "threads",
        "median ms",
        "IQR ms",
        "images/s",
        "to f32",
        "note",
    )
    for row in content["rows"]:
        ratio = row["ratio"]
        table.add_row(
            row["model"], row["engine"], row["precision"], str(row["batch"]), str(row["threads"]),
            f"{row['median_ms']:.2f}", f"{row['iqr_ms']:.2f}", f"{row['per_second']:.0f}",
            f"{ratio:.2f}x" if ratio else "", row["note"] or "",
        )  # fmt: skip
    output.print(table)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if any(not 1 <= number <= 1024 for number in numbers):
        raise UsageError(f"{option} takes whole numbers such as 1,32, not '{text}'")
    return numbers
