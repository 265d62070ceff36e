"""`bitface inspect`"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import JsonOption, SizeOption
from bitface.data.faces import choose, find_images, load_faces
from bitface.graph.summary import summarise, tensor_table
from bitface.jobs.faces import open_for

_FACES = 64


def inspect(
    model: Annotated[Path, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")],
    images: Annotated[list[Path] | None, typer.Option(help="Aligned face crops: is the preprocessing right?")] = None,
    preprocess: Annotated[str | None, typer.Option(help="The preprocessing to check.")] = None,
    size: SizeOption = None,
    json: JsonOption = None,
) -> None:
    """Show what a network consists of and, given faces, which preprocessing it wants.

    bitface inspect net.onnx --images crops/
    """
    files = choose(find_images(images), _FACES, 0) if images else []
    opened, notes = open_for(model, files, preprocess, size)
    network = opened.network
    summary = summarise(network)
    known = network.preprocess.name if network.preprocess else None
    content: dict[str, Any] = {
        "model": str(model),
        "kind": opened.kind,
        **summary.to_json(),
        "preprocess": known,
    }
    warnings = list(network.warnings)
    if opened.kind == "artifact":
        tensors, unquantized = tensor_table(network)
        content |= {"tensors": tensors, "unquantized": unquantized}
        assert opened.details is not None
        content |= {key: getattr(opened.details, key) for key in ("plan", "teacher", "data", "thresholds", "card")}
    if files:
        with progress() as steps:
            faces = load_faces(files, network.size, steps("reading faces")).images
        scores = rank_presets(network, faces)
        best, warning = best_preset(scores, known)
        content["presets"] = [score.to_json() for score in scores]
        content["best_preset"] = best
        warnings += [warning] if warning else []
    content["notes"], content["warnings"] = notes, warnings
    write_json(json, content)
    _print(content, opened.path.stat().st_size)
    remarks(content["notes"], warnings)


def _print(content: dict[str, Any], size: int) -> None:
    output.print(f"{content['model']} ({content['kind']}, {size:,} bytes)", markup=False, soft_wrap=True)
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
