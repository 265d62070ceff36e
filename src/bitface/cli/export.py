"""`bitface export`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, remarks
from bitface.cli.options import SizeOption, to_file
from bitface.jobs.export import export_model


def export(
    model: Annotated[Path, typer.Argument(help="A .bitface artifact, or a float network.")],
    out: Annotated[Path, typer.Option(callback=to_file, help="The ONNX file to write.")],
    engine: Annotated[str, typer.Option(help="openvino or onnxruntime.")] = "openvino",
    size: SizeOption = None,
) -> None:
    """Write the ONNX file of an artifact for one engine; of a float network, its fastest float graph.

    bitface export out/model.bitface --engine onnxruntime --out net.onnx
    """
    exported = export_model(model, out, engine, size)
    remarks(exported["notes"], [])
    output.print(f"{out}: {exported['bytes']:,} bytes", markup=False, soft_wrap=True)
