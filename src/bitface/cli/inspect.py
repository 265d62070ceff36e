"""`bitface inspect`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bitface.cli.console import output, progress, remarks, table_of, write_json
from bitface.cli.options import JsonOption, OutputOption, SizeOption


def inspect(
    model: Annotated[Path, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")],
    images: Annotated[list[Path] | None, typer.Option(help="Aligned face crops: is the preprocessing right?")] = None,
    preprocess: Annotated[str | None, typer.Option(help="The preprocessing to check.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    try_targets: Annotated[
        bool, typer.Option("--try", help="Write it for each default target and run it there, on noise.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Show what a network consists of, what becomes of it in integers and, given faces, which preprocessing it wants.

    bitface inspect net.onnx --images crops/
    """
    from bitface.jobs.inspect import inspect_model

    with progress() as steps:
        content = inspect_model(model, images or (), preprocess, size, steps, embedding, try_targets=try_targets)
    write_json(json, content)
    _print(content)
    remarks(content["notes"], content["warnings"])


def _print(content: dict[str, Any]) -> None:
    output.print(f"{content['model']} ({content['kind']}, {content['bytes']:,} bytes)", markup=False, soft_wrap=True)
    table = table_of("", "", show_header=False, box=None)
    height, width = content["input_size"]
    for label, value in (
        ("image", f"{height} x {width}" + (", grey" if content["channels"] == 1 else "")),
        ("embedding", f"{content['embedding_size']} numbers"),
        ("parameters", f"{content['parameters']:,} ({content['weight_bytes'] / 1e6:.2f} MB in float32)"),
        ("multiply-adds", f"{content['macs'] / 1e6:,.1f} M"),
        ("operators", ", ".join(f"{count} {name}" for name, count in content["operators"].items())),
        ("preprocessing", content["preprocess"] or "not said by the file"),
    ):
        table.add_row(label, str(value))
    output.print(table)
    if "plan" in content:
        _print_artifact(content)
    if "targets" in content:
        _print_targets(content)
    if "unquantized" in content:
        output.print(f"bits {content['plan']['bits']}; {len(content['unquantized'])} tensors in floating point:")
        for entry in content["unquantized"]:
            output.print(f"  {entry['name']} ({entry['role']}): {entry['reason']}", markup=False, soft_wrap=True)
    if "presets" in content:
        ranking = table_of("preprocessing", "own against other faces (d')")
        for score in content["presets"]:
            mark = " ← best" if score["name"] == content["best_preset"] else ""
            value = "–" if score["score"] is None else f"{score['score']:.3f}"
            ranking.add_row(score["name"] + mark, value)
        output.print(ranking)


def _print_artifact(content: dict[str, Any]) -> None:
    """Who it was made from and with, and by which thresholds it decides."""
    teacher, data, card = content["teacher"], content["data"], content["card"]
    table = table_of("", "", show_header=False, box=None)
    table.add_row("made from", f"{teacher.get('name', 'an unknown network')}")
    if data:
        table.add_row("with", f"{data.get('images', '?')} faces ({data.get('kind', 'unknown')})")
    if card:
        table.add_row("card", ", ".join(f"{key} {value}" for key, value in card.items() if not isinstance(value, dict)))
    for entry in content["thresholds"]:
        mark = " (extrapolated)" if entry.get("extrapolated") else ""
        table.add_row("threshold", f"{entry['threshold']:.4f} at FAR {entry['far']:g}{mark}")
    if not content["thresholds"]:
        table.add_row("thresholds", "none; bitface calibrate finds them")
    output.print(table)


def _print_targets(content: dict[str, Any]) -> None:
    what = content["plan"]["bits"] if "plan" in content else "w8a8"
    trials = any(entry["agreement"] is not None or entry["failure"] for entry in content["targets"])
    table = table_of(f"in integers ({what})", "layers", "multiply-adds", *(["least cosine to the simulation"] * trials))
    for entry in content["targets"]:
        if obstacle := entry["obstacle"] or entry["failure"]:
            output.print(f"{entry['title']}: {obstacle}", markup=False, soft_wrap=True)
            continue
        row = [entry["title"], f"{entry['in_integers']} of {entry['layers']}", f"{entry['share']:.1%}"]
        table.add_row(*row, *([f"{entry['agreement']:.4f}"] if entry["agreement"] is not None else []))
    output.print(table)
    for entry in content["in_float"]:
        kinds = ", ".join(f"{count} {name}" for name, count in entry["kinds"].items())
        output.print(f"stays in floating point: {kinds}: {entry['reason']}", markup=False, soft_wrap=True)
