"""`bitface identify`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, engine_of, output, remarks, write_json
from bitface.cli.options import EngineOption, FaceOption, JsonOption, KeyOption, OutputOption, SizeOption


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
    face: FaceOption = "largest",
    engine: EngineOption = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    key_file: KeyOption = None,
    json: JsonOption = None,
) -> None:
    """Say who of a gallery is on each photograph. Photographs that aren't crops of a face are aligned.

    bitface identify a.jpg --gallery gallery.safetensors --model out/model.bitface --far 1e-4
    """
    from bitface.evaluation.gallery_file import GalleryFile
    from bitface.jobs.people.identify import identify_images
    from bitface.runtime import ModelFile

    answers = identify_images(
        probes, GalleryFile(gallery, key_file), ModelFile(model, preprocess, size, embedding), top=top, far=far,
        allow_mixed=allow_mixed, face=face, engine=engine_of(engine),
    )  # fmt: skip
    write_json(json, answers)
    notes, warnings = (
        list(dict.fromkeys(text for answer in answers for text in answer[key])) for key in ("notes", "warnings")
    )
    remarks(notes, warnings)
    for answer in answers:
        people = ", ".join(f"{one['id']} {one['similarity']:.4f}" for one in answer["people"]) or "nobody"
        which = f", face {answer['face']['number']}" if answer["face"] and answer["face"]["found"] > 1 else ""
        output.print(f"{answer['image']}{which}: {people}", markup=False, soft_wrap=True)
    output.print(engine_line(answers[0]["engine"]))
