"""`bitface bench`"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import DryRunOption, JsonOption, OutputOption, SizeOption
from bitface.errors import UsageError


def bench(
    models: Annotated[list[Path], typer.Argument(help="Network files and artifacts, measured in turn.")],
    batch: Annotated[str, typer.Option(help="Images at once, such as 1,32.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads, such as 1,2.")] = "1",
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "--engine",
            metavar="NAME,…",
            help="What runs them (default: openvino,onnxruntime, and an artifact's default; all: each that runs here).",
        ),
    ] = None,
    embedding: OutputOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Measure latency and throughput of several models, alternating in one run.

    bitface bench net.onnx out/model.bitface --batch 1,32

    bitface bench net.onnx out/model.bitface --target openvino,ncnn
    """
    from bitface.jobs.bench import bench_models
    from bitface.runtime.bench import engines_of

    with progress(dry_run) as steps:
        content = bench_models(
            models, _numbers(batch, "--batch"), _numbers(threads, "--threads"), preprocess, size, steps, embedding,
            engines_of(target),
        )  # fmt: skip
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    output.print(_table(content["rows"]))
    for number, note in enumerate(_notes(content["rows"]), 1):
        output.print(f"[{number}] {note}", markup=False, soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    """The rows, narrow enough for a terminal of 80 columns; what all of them share stands above it."""
    notes = _notes(rows)
    shapes = {(row["batch"], row["threads"]) for row in rows}
    shared = f"batch {rows[0]['batch']}, threads {rows[0]['threads']}" if len(shapes) == 1 else None
    columns = ["model", "engine", "", *([] if shared else ["batch", "thr."]), "ms", "± IQR", "images/s", "to f32", ""]
    table = Table(*columns, box=SIMPLE_HEAD, title=shared, title_justify="left", pad_edge=False, padding=(0, 1))
    table.columns[0].overflow = "fold"
    for column in table.columns[3:]:
        column.justify = "right"
    for row in rows:
        note = f"[{notes.index(row['note']) + 1}]" if row["note"] else ""
        table.add_row(
            row["model"], row["engine"], row["precision"],
            *([] if shared else [str(row["batch"]), str(row["threads"])]),
            f"{row['median_ms']:.2f}", f"{row['iqr_ms']:.2f}", f"{row['per_second']:.0f}",
            f"{row['ratio']:.2f}x" if row["ratio"] else "", escape(note),
        )  # fmt: skip
    return table


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Each note once."""
    return list(dict.fromkeys(row["note"] for row in rows if row["note"]))


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if any(not 1 <= number <= 1024 for number in numbers):
        raise UsageError(f"{option} takes whole numbers such as 1,32, not '{text}'")
    return numbers
