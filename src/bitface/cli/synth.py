"""`bitface synth`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitface.cli.console import output, progress, remarks, table_of, write_json
from bitface.cli.options import DryRunOption, JsonOption, OutputOption, SizeOption
from bitface.cli.paths import to_folder
from bitface.limits import LARGEST_SEED

if TYPE_CHECKING:
    from rich.table import Table

_SAID = {
    "made": "images made",
    "no_face": "without a face",
    "near_duplicates": "near-duplicates",
    "kept": "kept",
}


def synth(
    source: Annotated[str, typer.Argument(help="synthetic:N, generator:FILE:N; with --model also spread:N or none:N.")],
    out: Annotated[
        Path | None, typer.Option(callback=to_folder, help="The folder to write to; it must be empty or new.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The teacher that 'spread' and 'none' need, or that judges.")
    ] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="How that teacher wants its input, where its file doesn't say.")
    ] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Other faces for another seed.")] = 0,
    truncation: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Below 1: a generator's more usual faces, with less variety.")
    ] = 1.0,
    judge: Annotated[
        bool, typer.Option("--judge", help="Ask --model how varied they are; of a folder without --out, only that.")
    ] = False,
    like: Annotated[Path | None, typer.Option(help="Real faces to compare with, when they are judged.")] = None,
    bits: Annotated[str | None, typer.Option(help="Warn where they are too uniform for so many, w4a4 say.")] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Make faces of people who don't exist, or images from a network alone, and a sheet of them to look at.

    Commands that learn from images take the same words, or the folder that this writes.

    bitface synth synthetic:2000 --out faces/

    bitface synth generator:stylegan2.pt:5000 --truncation 0.7 --out faces/

    bitface synth spread:2000 --model net.onnx --out apart/

    bitface synth none:512 --model net.onnx --out images/

    bitface synth faces/ --judge --model net.onnx --like crops/ --bits w4a4s8
    """
    from bitface.errors import UsageError
    from bitface.jobs.judge import JudgeRequest, judge_faces
    from bitface.jobs.synth import synthesize
    from bitface.quant import BitPlan
    from bitface.runtime import ModelFile

    teacher = None if model is None else ModelFile(model, preprocess, size, embedding)
    if judge and teacher is None:
        raise UsageError("--judge asks a network: name it with --model")
    plan = BitPlan.parse(bits) if bits else None
    if not judge and (out is None or like or plan):
        raise UsageError("--like and --bits go with --judge" if out else "name the folder to write to with --out")
    folder = out or Path(source)
    file = folder.with_name(f"{folder.name}.judgement.json")
    content: dict[str, Any] = {}
    with progress(dry_run) as steps:
        if out:
            content = synthesize(source, out, teacher, seed=seed, truncation=truncation, steps=steps)
        if judge and teacher:
            content["judgement"] = judge_faces(JudgeRequest(folder, teacher, like, plan, file), steps)
    write_json(json, content)
    if out:
        remarks(content["notes"], content["warnings"])
        counts = ", ".join(f"{content[key]:,} {words}" for key, words in _SAID.items() if key in content)
        output.print(f"{content['kind']}: {counts}\n{out}\n{content['sheet']}", markup=False, soft_wrap=True)
    if judge:
        remarks(content["judgement"]["notes"], content["judgement"]["warnings"])
        output.print(judged(content["judgement"]))
        output.print(str(file), markup=False, soft_wrap=True)


def judged(result: dict[str, Any]) -> "Table":
    """The figures of the faces that were made, beside those of real ones."""
    table = table_of("faces", "looked at", "length of embeddings", "one pair in 20 is above", "dimensions")
    for name in ("made", "real"):
        if row := result[name]:
            share = f" ({result['share']:.0%} of real)" if name == "made" and result["share"] else ""
            table.add_row(
                name, f"{row['faces']:,}", f"{row['norm']:.2f}", f"{row['alike']:.3f}",
                f"{row['dimensions']:.0f}{share}",
            )  # fmt: skip
    return table
