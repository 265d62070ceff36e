"""`bitface enroll`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, engine_of, output, progress, remarks
from bitface.cli.options import EngineOption, OutputOption, SizeOption, SkipOption, source_of, to_file


def enroll(
    model: Annotated[Path, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")],
    images: Annotated[list[Path], typer.Option(help="A folder of aligned crops, one folder for each person.")],
    out: Annotated[Path, typer.Option(callback=to_file, help="The gallery file to write (.safetensors).")],
    int8: Annotated[bool, typer.Option("--int8", help="A quarter of the bytes, one scale for each vector.")] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Add the mirrored image's embedding.")] = False,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    allow_skipped: SkipOption = False,
) -> None:
    """Embed faces into a gallery file that knows the model it was made with.

    bitface enroll out/model.bitface --images people/ --out gallery.safetensors
    """
    from bitface.jobs.people.enroll import EnrollRequest
    from bitface.jobs.people.enroll import enroll as enroll_images

    with progress() as steps:
        result = enroll_images(
            EnrollRequest(
                model, source_of(images, allow_skipped=allow_skipped), out, int8, flip, engine_of(engine), threads,
                preprocess, size, embedding,
            ),
            steps,
        )  # fmt: skip
    remarks(result["notes"], result["warnings"])
    output.print(
        f"{result['images']:,} images of {result['people']:,} people, {result['precision']}, "
        f"{result['bytes']:,} bytes, {engine_line(result['engine'])}\n{out}",
        markup=False,
        soft_wrap=True,
    )
