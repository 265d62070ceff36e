"""`bitface synth`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import DryRunOption, JsonOption, OutputOption, SizeOption, to_folder
from bitface.limits import LARGEST_SEED

_SAID = {
    "made": "images made",
    "no_face": "without a face",
    "near_duplicates": "near-duplicates",
    "kept": "kept",
}


def synth(
    source: Annotated[str, typer.Argument(help="synthetic:N, generator:FILE:N, or none:N (from --model alone).")],
    out: Annotated[Path, typer.Option(callback=to_folder, help="The folder to write to; it must be empty or new.")],
    model: Annotated[Path | None, typer.Option(help="The teacher that 'none' makes images from.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="How that teacher wants its input, where its file doesn't say.")
    ] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Other faces for another seed.")] = 0,
    truncation: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Below 1: a generator's more usual faces, with less variety.")
    ] = 1.0,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Make faces of people who don't exist, or images from a network alone, and a sheet of them to look at.

    Whatever takes --images takes the same words, or the folder that this writes.

    bitface synth synthetic:2000 --out faces/

    bitface synth generator:stylegan2.pt:5000 --truncation 0.7 --out faces/

    bitface synth none:512 --model net.onnx --out images/
    """
    from bitface.jobs.synth import synthesize
    from bitface.runtime import ModelFile

    teacher = None if model is None else ModelFile(model, preprocess, size, embedding)
    with progress(dry_run) as steps:
        manifest = synthesize(source, out, teacher, seed=seed, truncation=truncation, steps=steps)
    write_json(json, manifest)
    remarks(manifest["notes"], manifest["warnings"])
    counts = ", ".join(f"{manifest[key]:,} {words}" for key, words in _SAID.items() if key in manifest)
    output.print(f"{manifest['kind']}: {counts}\n{out}\n{manifest['sheet']}", markup=False, soft_wrap=True)
