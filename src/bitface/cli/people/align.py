"""`bitface align`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import DryRunOption, FaceOption, JsonOption
from bitface.cli.paths import to_folder
from bitface.preprocess import Size


def align(
    photographs: Annotated[list[Path], typer.Argument(metavar="PHOTOS", help="Folders, or image files.")],
    out: Annotated[Path, typer.Option(callback=to_folder, help="The folder of the crops; it must be empty or new.")],
    face: FaceOption = "largest",
    score: Annotated[float, typer.Option(min=0.05, max=1.0, help="What the detector has to be sure of.")] = 0.6,
    size: Annotated[
        Size | None,
        typer.Option(
            parser=Size.parse, metavar="PIXELS", help="Of the crops (default 112): 160, or 112x96 (HEIGHTxWIDTH)."
        ),
    ] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Cut aligned crops out of photographs, by five points of each face.

    OUT keeps the photographs' folders and names. OUT/faces.csv says of each crop where it is from, OUT/skipped.csv why
    a photograph gave none, and OUT.sheet.png shows them.

    bitface align photos/ --out crops/

    bitface align party.jpg --face all --out faces/
    """
    from bitface.jobs.people.align import AlignRequest, align_photographs

    request = AlignRequest(tuple(photographs), out, face, score, size or AlignRequest.size)
    with progress(dry_run) as steps:
        content = align_photographs(request, steps)
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    output.print(
        f"{content['crops']:,} crops of {content['photographs']:,} photographs, {len(content['skipped']):,} of them "
        f"skipped, {content['several']:,} with several faces\n{out}\n{content['sheet']}",
        markup=False,
        soft_wrap=True,
    )
