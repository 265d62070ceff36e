"""`bitface enroll`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, engine_of, output, progress, remarks, write_json
from bitface.cli.options import (
    DryRunOption,
    EngineOption,
    JsonOption,
    KeyOption,
    OutputOption,
    SizeOption,
    SkipOption,
    source_of,
)
from bitface.cli.paths import to_file
from bitface.errors import UsageError


def enroll(
    out: Annotated[Path, typer.Option(callback=to_file, help="The gallery file to write (.safetensors).")],
    model: Annotated[
        Path | None, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="A folder of aligned crops, one folder for each person.")
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(help="Instead: embeddings that are there, .npy, .npz, .parquet, .csv or a flat FAISS index."),
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Whom each vector shows: a CSV with a column id or path, or one name a line.")
    ] = None,
    fingerprint_of: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="The network that made the vectors.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="A quarter of the bytes, one scale for each vector.")] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Add the mirrored image's embedding.")] = False,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    allow_skipped: SkipOption = False,
    key_file: KeyOption = None,
    renewable: Annotated[
        bool, typer.Option("--renewable", help="Turn the embeddings by the key: another key, another rotation.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="OUT is a gallery: its people by this model, as it is; nobody else.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Embed faces, or take embeddings, into a gallery file that knows the model they were made with.

    bitface enroll out/model.bitface --images people/ --out gallery.safetensors

    bitface enroll out/model.bitface --images people/ --out gallery.bin --key-file gallery.key

    bitface enroll --vectors mine.npy --ids ids.csv --fingerprint-of net.onnx --out gallery.safetensors
    """
    from bitface.jobs.people.enroll import EnrollRequest
    from bitface.jobs.people.enroll import enroll as enroll_images
    from bitface.jobs.people.vectors import EnrollVectorsRequest, enroll_vectors

    if vectors:
        if images or engine or threads or again or (model and fingerprint_of):
            raise UsageError(
                "--vectors are there already: leave --images, --engine, --threads and --again out, and name the "
                "network that made them once"
            )
        fingerprint_of = fingerprint_of or model
        if fingerprint_of is None:
            raise UsageError("--vectors needs the network that made them: --fingerprint-of")
        result = enroll_vectors(
            EnrollVectorsRequest(
                vectors, fingerprint_of, out, ids, int8, flip, preprocess, size, embedding, allow_skipped, key_file,
                renewable,
            )
        )  # fmt: skip
    elif model is None or not images or ids or fingerprint_of:
        raise UsageError("name a model and --images; or --vectors with --fingerprint-of, and --ids")
    else:
        with progress(dry_run) as steps:
            result = enroll_images(
                EnrollRequest(
                    model, source_of(images, allow_skipped=allow_skipped), out, int8, flip, engine_of(engine), threads,
                    preprocess, size, embedding, key_file, renewable, again,
                ),
                steps,
            )  # fmt: skip
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    if result["failed_images"]:
        output.print(
            f"failures to enrol: {result['failed_people']:,} people, {result['failed_images']:,} images without an "
            "embedding"
        )
    output.print(
        f"{result['images']:,} images of {result['people']:,} people, {result['precision']}"
        f"{', encrypted' if result['encrypted'] else ''}{', renewable' if result['renewable'] else ''}, "
        f"{result['bytes']:,} bytes{', ' + engine_line(result['engine']) if result['engine'] else ''}\n{out}",
        markup=False,
        soft_wrap=True,
    )
