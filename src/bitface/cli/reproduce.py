"""`bitface reproduce`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import DeviceOption, JsonOption, PreprocessOption
from bitface.cli.paths import to_folder
from bitface.errors import UsageError


def _listed(show: bool) -> None:
    if show:
        from bitface.inputs import papers

        for name in papers.names():
            paper = papers.read_paper(name)
            output.print(f"{name}: {paper.source}, trained on {paper.trained_on}", markup=False, soft_wrap=True)
            for table, one in paper.tables.items():
                output.print(f"  {table}: {one.about}", markup=False, soft_wrap=True)
        raise typer.Exit


def reproduce(
    paper: Annotated[str, typer.Argument(help="quantface, ef-quantface, qmobilefacenet or rcm.")],
    table: Annotated[
        str | None, typer.Argument(help="Which of its tables (default: the first; --list names all).")
    ] = None,
    out: Annotated[Path, typer.Option(callback=to_folder, help="The folder to write to, and to go on in.")] = Path(
        "out/reproduced"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="The training set's folder: train.rec, or crops; its packs (lfw.bin, …) are tests."),
    ] = None,
    images: Annotated[list[Path] | None, typer.Option(help="Faces to train on, where DATA doesn't hold them.")] = None,
    synthetic: Annotated[Path, typer.Option(help="Faces of the rows that the paper makes from synthetic ones.")] = Path(
        "synthetic:500000"
    ),
    model: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]FILE", help="A float network of the table; may be repeated.")
    ] = None,
    protocols: Annotated[
        Path | None, typer.Option(help="A YAML file of tests by their names in the table, as in a suite.")
    ] = None,
    preprocess: PreprocessOption = None,
    device: DeviceOption = None,
    small: Annotated[
        bool, typer.Option("--small", help="A few steps on what is at hand, the demo's where nothing is named.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check everything, and say how long each row takes.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", callback=_listed, is_eager=True, help="The papers and their tables.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Make the rows of a paper's table by our recipes, and put the paper's figures beside ours.

    Everything is checked before anything starts. Call it again to go on where it was stopped.

    bitface reproduce quantface --data faces_emore/ --model ResNet18=r18.onnx --dry-run

    bitface reproduce rcm 4 --small
    """
    from bitface.inputs.papers import selected
    from bitface.jobs.reproduce import TABLE, foretold
    from bitface.jobs.reproduce import reproduce as carry_out
    from bitface.jobs.runs.reproduction import ReproduceRequest, prepared

    request = ReproduceRequest(
        selected(paper, table), out, data, tuple(images or ()), synthetic, _models(model or []), protocols,
        "rgb-raw" if small and not model and preprocess is None else preprocess, small, device,
    )  # fmt: skip
    ready = prepared(request)
    remarks(ready.notes, [])
    with progress() as steps:
        if dry_run:
            lines = foretold(ready, steps)
        else:
            write_json(json, carry_out(ready, steps))
    if dry_run:
        output.print("\n".join(lines), markup=False, soft_wrap=True)
        return
    output.print((out / TABLE).read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    output.print(str(out / TABLE), markup=False, soft_wrap=True)


def _models(words: list[str]) -> dict[str, Path]:
    """The networks of `NAME=FILE`, and of `FILE` for all others."""
    models: dict[str, Path] = {}
    for word in words:
        name, separator, path = word.rpartition("=")
        if not path or (separator and not name):
            raise UsageError(f"--model takes FILE or NAME=FILE, not '{word}'")
        models[name] = Path(path)
    return models
