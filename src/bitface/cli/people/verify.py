"""`bitface verify`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, output, remarks, write_json
from bitface.cli.options import JsonOption


def verify(
    first: Annotated[Path, typer.Argument(metavar="A", help="A photograph, or an aligned crop.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    model: Annotated[Path, typer.Option(help="A .bitface artifact with thresholds (see bitface calibrate).")],
    far: Annotated[float, typer.Option(help="The false accept rate whose threshold decides.")],
    json: JsonOption = None,
) -> None:
    """Say whether two photographs show one person. Photographs that aren't crops of a face are aligned.

    bitface verify a.jpg b.jpg --model out/model.bitface --far 1e-4
    """
    from bitface.jobs.people.verify import verify_images

    answer = verify_images(first, second, model, far)
    write_json(json, answer)
    remarks(answer["notes"], answer["warnings"])
    expected = answer.get("expected")
    elsewhere = f" (on other people {expected['low']:.2g} to {expected['high']:.2g})" if expected else ""
    output.print(
        f"{'same' if answer['same'] else 'different'}: similarity {answer['similarity']:.4f}, threshold "
        f"{answer['threshold']:.4f} for FAR {far:g}{elsewhere}, {engine_line(answer['engine'])}",
        markup=False,
        soft_wrap=True,
    )
