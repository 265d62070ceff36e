"""`bitface export`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, remarks, write_json
from bitface.cli.options import JsonOption, OutputOption, SizeOption
from bitface.cli.paths import to_output
from bitface.targets.registry import FASTEST


def export(
    model: Annotated[Path, typer.Argument(help="A .bitface artifact, or a float network.")],
    out: Annotated[Path, typer.Option(callback=to_output, help="The file to write, or a new folder with a guide.")],
    target: Annotated[
        str,
        typer.Option("--target", "--engine", help="openvino, onnxruntime, …; --engine is the older name."),
    ] = FASTEST,
    name: Annotated[str | None, typer.Option(help="Of the functions, where code is written (face_net).")] = None,
    scratch: Annotated[str | None, typer.Option(help="The most memory that code may work in, such as 300KB.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    json: JsonOption = None,
) -> None:
    """Write an artifact for a target, an engine or a format; of a float network, its fastest float graph.

    A new folder gets the target's files and a README.md that says how they are run.

    bitface export out/model.bitface --target onnxruntime --out net.onnx

    bitface export out/model.bitface --target c --name lock_net --scratch 300KB --out lock/
    """
    from bitface.jobs.export import export_model

    exported = export_model(model, out, target, size, embedding, name, scratch, preprocess)
    write_json(json, exported)
    remarks(exported["notes"], [])
    output.print(f"{out}: {exported['bytes']:,} bytes", markup=False, soft_wrap=True)
