"""`bitface enroll` and `bitface identify`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, engine_of, output, progress, remarks, write_json
from bitface.cli.options import EngineOption, JsonOption, SizeOption, SkipOption, to_file
from bitface.jobs import galleries


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
    allow_skipped: SkipOption = False,
) -> None:
    """Embed faces into a gallery file that knows the model it was made with.

    bitface enroll out/model.bitface --images people/ --out gallery.safetensors
    """
    with progress() as steps:
        result = galleries.enroll(
            model, images, out, int8=int8, flip=flip, engine=engine_of(engine), threads=threads, preprocess=preprocess,
            allow_skipped=allow_skipped, steps=steps, size=size,
        )  # fmt: skip
    remarks(result["notes"], result["warnings"])
    output.print(
        f"{result['images']:,} images of {result['people']:,} people, {result['precision']}, "
        f"{result['bytes']:,} bytes, {engine_line(result['engine'])}\n{out}",
        markup=False,
        soft_wrap=True,
    )


def identify(
    probes: Annotated[list[Path], typer.Argument(help="Photographs, or aligned crops.")],
    gallery: Annotated[Path, typer.Option(help="A file of bitface enroll.")],
    model: Annotated[Path, typer.Option(help="The model that the gallery was made with.")],
    top: Annotated[int, typer.Option(min=1, help="People named for each photograph.")] = 5,
    far: Annotated[
        float | None, typer.Option(help="Name nobody below the artifact's threshold for this false accept rate.")
    ] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="The gallery is another model's: float, and the probes' integer.")
    ] = False,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    json: JsonOption = None,
) -> None:
    """Say who of a gallery is on each photograph. Photographs that aren't crops of a face are aligned.

    bitface identify a.jpg --gallery gallery.safetensors --model out/model.bitface --far 1e-4
    """
    answers = galleries.identify_images(
        probes, gallery, model, top=top, far=far, allow_mixed=allow_mixed, preprocess=preprocess, size=size
    )
    write_json(json, answers)
    notes, warnings = (
        list(dict.fromkeys(text for answer in answers for text in answer[key])) for key in ("notes", "warnings")
    )
    remarks(notes, warnings)
    for answer in answers:
        people = ", ".join(f"{one['id']} {one['similarity']:.4f}" for one in answer["people"]) or "nobody"
        output.print(f"{answer['image']}: {people}", markup=False, soft_wrap=True)
    output.print(engine_line(answers[0]["engine"]))
