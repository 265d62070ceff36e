"""`bitface sensitivity`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitface.cli.console import bits_of, output, progress, remarks, table_of, write_json
from bitface.cli.options import (
    DryRunOption,
    ForceOption,
    ImagesOption,
    JsonOption,
    ListOption,
    ModelArgument,
    OutOption,
    OutputOption,
    PreprocessOption,
    ProtocolOption,
    SizeOption,
    SkipOption,
    source_of,
)
from bitface.limits import LARGEST_SEED

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 12


def sensitivity(
    model: ModelArgument,
    images: ImagesOption,
    out: OutOption = Path("sensitivity"),
    image_list: ListOption = None,
    by: Annotated[str, typer.Option(help="What is rounded at a time: layer (one tensor) or block.")] = "layer",
    bits: Annotated[str, typer.Option(help="Widths of weights and activations to ask about.")] = "8,4,2",
    held_out: Annotated[int, typer.Option(min=1, max=256, help="Faces to measure on.")] = 128,
    max_images: Annotated[int, typer.Option(min=1, help="Other faces, which find ranges.")] = 256,
    pairs: Annotated[
        Path | None, typer.Option(help="A list of pairs, in any form that `evaluate` reads: verification, too.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that the list's paths are relative to.")] = None,
    part: Annotated[str | None, typer.Option(help="Of the folder of the CFP protocol: cfp-ff or cfp-fp.")] = None,
    protocol: ProtocolOption = None,
    max_pairs: Annotated[int, typer.Option(min=20, help="Pairs to take, evenly from every fold.")] = 600,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Which faces and pairs are chosen.")] = 0,
    allow_skipped: SkipOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Measure what rounding each layer's weights, and each activation, alone does to the embedding; or each block's.

    Writes sensitivity.json and sensitivity.html to OUT. An interrupted run goes on where it stopped.

    bitface sensitivity net.onnx --images crops/ --bits 8,4,2 --out out/
    """
    from bitface.jobs.sensitivity import TABLE, measure_sensitivity
    from bitface.search.sweep import SensitivityRequest

    widths = bits_of(bits, "--bits", 2)
    request = SensitivityRequest(
        model, source_of(images, image_list, allow_skipped=allow_skipped), out, widths, widths, held_out,
        max_images, pairs, root, part, max_pairs, preprocess, seed, by, size, force, protocol, embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        table = measure_sensitivity(request, steps)
    write_json(json, table)
    remarks(table["notes"], table["warnings"])
    for name in ("weights", "activations"):
        output.print(_worst([row for row in table["units"] if row["part"] == name], name, table["faces"]["measured"]))
    for proxy, parts in table["correlations"].items():
        coefficients = ", ".join(f"{part} {_number(values['all'])}" for part, values in parts.items())
        output.print(f"rank correlation of the proxy '{proxy}' with the sweep: {coefficients}", soft_wrap=True)
    output.print(f"{out / TABLE}\n{(out / TABLE).with_suffix('.html')}", markup=False, soft_wrap=True)


def _worst(rows: list[dict[str, Any]], part: str, faces: int) -> "Table":
    """The tensors that cost most at the narrowest width."""
    widths = list(dict.fromkeys(row["bits"] for row in rows))
    narrowest = sorted((row for row in rows if row["bits"] == min(widths)), key=lambda row: -row["cost"])[:_SHOWN]
    of = {(row["name"], row["bits"]): row for row in rows}
    judged = "accuracy" in rows[0]
    table = table_of(
        f"{part}: the {len(narrowest)} most sensitive{' blocks' if 'tensors' in rows[0] else ''}",
        *(f"{bits} bits" for bits in widths),
        *(f"accuracy at {bits}" for bits in widths if judged),
        caption=f"mean of 1 - cosine, {faces} faces",
    )
    for row in narrowest:
        own = [of[row["name"], bits] for bits in widths]
        table.add_row(
            row["name"], *(f"{one['cost']:.3g}" for one in own), *(f"{one['accuracy']:.2%}" for one in own if judged)
        )
    return table


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
