"""`bitface embed`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, engine_of, output, progress, remarks, write_json
from bitface.cli.options import (
    DryRunOption,
    EngineOption,
    JsonOption,
    ListOption,
    OutputOption,
    PreprocessOption,
    SizeOption,
    source_of,
)
from bitface.cli.paths import Beside, to_file


def embed(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE", help="Folders, rec:FOLDER, tar:PATTERN, …")],
    model: Annotated[Path, typer.Option(help="A network file, a .bitface artifact or an exported ONNX file.")],
    out: Annotated[
        Path,
        typer.Option(callback=to_file, help="A .npy, .npz, .parquet or .csv file."),
        Beside(".npy", ".list.csv"),
    ],
    face: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH", help="They are photographs, not crops: largest, all, or a number from the left of each."
        ),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Add the mirrored image's embedding.")] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Unit vectors (default: as the network gives them).")
    ] = False,
    image_list: ListOption = None,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Write the embedding of every image to a file, a row for each; one that was stopped goes on.

    A row says which image it is of, and where there is no embedding (NaN) why: in columns, of .npy in NAME.list.csv.

    bitface embed crops/ --model out/model.bitface --out vectors.npy

    bitface embed photos/ --face largest --model out/model.bitface --out vectors.parquet
    """
    from bitface.jobs.people.embed import EmbedRequest, embed_faces

    request = EmbedRequest(
        model, source_of(sources, image_list), out, face, flip, normalize, engine_of(engine), threads, preprocess,
        size, embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        content = embed_faces(request, steps)
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    output.print(
        f"{content['rows']:,} embeddings of {content['size']} numbers, "
        f"{'unit vectors' if normalize else 'as the network gives them'}, {engine_line(content['engine'])}",
        soft_wrap=True,
    )
    for path in content["files"]:
        output.print(path, markup=False, soft_wrap=True)
