"""`bitface bench`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD

from bitface.cli.console import output, progress, remarks, table_of, write_json
from bitface.cli.options import DryRunOption, JsonOption, OutputOption, SizeOption
from bitface.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table


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
    _print(content["rows"])


def _print(rows: list[dict[str, Any]]) -> None:
    """A table for each model, whose name may be long; what all rows share above them, notes below."""
    notes = _notes(rows)
    shapes = {(row["batch"], row["threads"]) for row in rows}
    if len(shapes) == 1:
        output.print(f"batch {rows[0]['batch']}, threads {rows[0]['threads']}")
    for model in dict.fromkeys(row["model"] for row in rows):
        output.print(f"\n{model}", markup=False, soft_wrap=True)
        output.print(_table([row for row in rows if row["model"] == model], notes, len(shapes) > 1))
    for number, note in enumerate(notes, 1):
        output.print(f"[{number}] {note}", markup=False, soft_wrap=True)


def _table(rows: list[dict[str, Any]], notes: list[str], shapes: bool) -> "Table":
    """The rows of a model, with their own batch and threads where rows differ by them."""
    widths = {
        "engine": 11, "": 4, **({"batch": 5, "thr.": 4} if shapes else {}), "ms": 7, "± IQR": 6, "images/s": 8,
        "to f32": 7, "note": 4,
    }  # fmt: skip
    table = table_of(*widths, pad_edge=False, collapse_padding=True, box=SIMPLE_HEAD)
    for column, width in zip(table.columns, widths.values(), strict=True):
        column.min_width = width  # alike in all tables
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        note = f"[{notes.index(row['note']) + 1}]" if row["note"] else ""
        table.add_row(
            row["engine"], row["precision"], *([str(row["batch"]), str(row["threads"])] if shapes else []),
            f"{row['median_ms']:.2f}", f"{row['iqr_ms']:.2f}", f"{row['per_second']:.0f}",
            f"{row['ratio']:.2f}x" if row["ratio"] else "", note,
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
