"""`bitface analyse`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_of, output, progress, remarks, table_of, write_json
from bitface.cli.options import (
    DryRunOption,
    EngineOption,
    ForceOption,
    JsonOption,
    LabelsOption,
    ListOption,
    OutOption,
    OutputOption,
    ProtocolOption,
    SizeOption,
    SkipOption,
    source_of,
)
from bitface.limits import LARGEST_SEED


def analyse(
    teacher: Annotated[Path, typer.Argument(help="The float network.")],
    student: Annotated[Path, typer.Argument(help="What was made of it: .bitface, an exported file, or a network.")],
    out: OutOption,
    images: Annotated[
        Path | None, typer.Option("--images", "--root", help="A folder of aligned face crops, also of --pairs.")
    ] = None,
    image_list: ListOption = None,
    labels: LabelsOption = None,
    pairs: Annotated[Path | None, typer.Option(help="A list of pairs of these images, as `evaluate` reads it.")] = None,
    protocol: ProtocolOption = None,
    faces: Annotated[bool, typer.Option("--faces", help="Put pictures of flipped pairs into the page.")] = False,
    preprocess: Annotated[
        str | None, typer.Option(help="Of a teacher that doesn't say it itself (default: the student's).")
    ] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Of the maps, and of what is drawn where there is too much.")
    ] = 0,
    allow_skipped: SkipOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Find out what a student lost against its teacher, where in the network, and what to try next.

    bitface analyse net.onnx out/model.bitface --images people/ --labels folder --out analysis/

    bitface analyse net.onnx out/model.bitface --protocol suite.yaml:IJB-C --out analysis/
    """
    from bitface.jobs.analyse import AnalyseRequest, analyse_student

    request = AnalyseRequest(
        teacher, student,
        source_of([images] if images else [], image_list, labels=labels, allow_skipped=allow_skipped), out, pairs,
        faces, preprocess, engine_of(engine), threads, seed, size, force, protocol, embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        result = analyse_student(request, steps)
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    table = table_of("angle, mean degrees", *result["errors"])
    for name in result["errors"]["as embedded"]:
        cells = [f"{means[name]:.2f}" if means else "" for means in result["errors"].values()]
        table.add_row(name, *cells)
    output.print(table)
    for sentence in result["diagnosis"]["sentences"]:
        output.print(sentence, markup=False, soft_wrap=True)
    if result["flips"]:
        point = result["flips"]["points"][0]
        output.print(
            f"at FAR {point['far']:g} the student alone rejects {point['rejected']:,} genuine pairs and accepts "
            f"{point['accepted']:,} impostor pairs; it alone is right on {point['gained']:,}",
            soft_wrap=True,
        )
    output.print(f"next: {result['diagnosis']['command']}", markup=False, soft_wrap=True)
    output.print(out / "analysis.html", markup=False, soft_wrap=True)
