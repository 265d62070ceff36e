"""`bitface inspect`"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import JsonOption, OutputOption, SizeOption


def inspect(
    model: Annotated[Path, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")],
    images: Annotated[list[Path] | None, typer.Option(help="Aligned face crops: is the preprocessing right?")] = None,
    preprocess: Annotated[str | None, typer.Option(help="The preprocessing to check.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    json: JsonOption = None,
) -> None:
    """Show what a network consists of and, given faces, which preprocessing it wants.

    bitface inspect net.onnx --images crops/
    """
    from bitface.jobs.inspect import inspect_model

    with progress() as steps:
        content = inspect_model(model, images or (), preprocess, size, steps, embedding)
    write_json(json, content)
    _print(content)
    remarks(content["notes"], content["warnings"])


def _print(content: dict[str, Any]) -> None:
    output.print(f"{content['model']} ({content['kind']}, {content['bytes']:,} bytes)", markup=False, soft_wrap=True)
    table = Table(show_header=False, box=None)
    height, width = content["input_size"]
    for label, value in (
        ("image", f"{height} x {width}"),
        ("embedding", f"{content['embedding_size']} numbers"),
        ("parameters", f"{content['parameters']:,} ({content['weight_bytes'] / 1e6:.2f} MB in float32)"),
        ("multiply-adds", f"{content['macs'] / 1e6:,.1f} M"),
        ("operators", ", ".join(f"{count} {name}" for name, count in content["operators"].items())),
        ("preprocessing", content["preprocess"] or "not said by the file"),
    ):
        table.add_row(label, str(value))
    output.print(table)
    if "unquantized" in content:
        output.print(f"bits {content['plan']['bits']}; {len(content['unquantized'])} tensors in floating point:")
        for entry in content["unquantized"]:
            output.print(f"  {entry['name']} ({entry['role']}): {entry['reason']}", markup=False, soft_wrap=True)
    if "presets" in content:
        ranking = Table("preprocessing", "own against other faces (d')")
        for score in content["presets"]:
            mark = " ← best" if score["name"] == content["best_preset"] else ""
            value = "–" if score["score"] is None else f"{score['score']:.3f}"
            ranking.add_row(score["name"] + mark, value)
        output.print(ranking)
