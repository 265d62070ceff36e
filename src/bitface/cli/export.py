"""`bitface export`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, remarks
from bitface.cli.options import SizeOption, to_file
from bitface.errors import BitfaceError, UsageError
from bitface.files import write_bytes
from bitface.graph import passes, to_onnx
from bitface.graph.onnx_writer import PROFILES
from bitface.runtime import open_model
from bitface.runtime.model import PREPROCESS_KEY
from bitface.runtime.model import export as export_artifact


def export(
    model: Annotated[Path, typer.Argument(help="A .bitface artifact, or a float network.")],
    out: Annotated[Path, typer.Option(callback=to_file, help="The ONNX file to write.")],
    engine: Annotated[str, typer.Option(help="openvino or onnxruntime.")] = "openvino",
    size: SizeOption = None,
) -> None:
    """Write the ONNX file of an artifact for one engine; of a float network, its fastest float graph.

    bitface export out/model.bitface --engine onnxruntime --out net.onnx
    """
    if engine not in PROFILES:
        raise UsageError(f"unknown engine '{engine}': use one of {', '.join(PROFILES)}")
    opened = open_model(model, size=size)
    if opened.kind == "exported":
        raise BitfaceError(f"{model}: is an exported file already; export the .bitface file")
    profile = PROFILES[PROFILES.index(engine)]
    if opened.details is not None:
        exported = export_artifact(opened.details, profile)
    else:
        known = {PREPROCESS_KEY: opened.preprocess.name} if opened.preprocess else {}
        exported = to_onnx(passes.fold(opened.network.graph), profile, known)
    data = exported.SerializeToString()
    write_bytes(out, data)
    remarks(list(opened.network.notes), [])
    output.print(f"{out}: {len(data):,} bytes", markup=False, soft_wrap=True)
