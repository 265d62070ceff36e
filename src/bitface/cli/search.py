"""`bitface search`"""

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
    SizeOption,
    SkipOption,
    source_of,
)
from bitface.limits import LARGEST_SEED

if TYPE_CHECKING:
    from rich.table import Table


def search(
    model: ModelArgument,
    images: ImagesOption,
    budget: Annotated[str, typer.Option(help="Of packed weights (400KB), mean bits (3.5bits) or time (2.1ms).")],
    out: OutOption = Path("search"),
    image_list: ListOption = None,
    bits: Annotated[str, typer.Option(help="Widths of weights to choose from.")] = "8,6,4,3,2",
    activations: Annotated[str, typer.Option(help="Bits of activations; several with --activation-bits.")] = "8",
    activation_bits: Annotated[
        float | None, typer.Option(min=2, max=8, help="Mean bits of an activation, chosen from several widths.")
    ] = None,
    sums: Annotated[
        str, typer.Option(help="Bits of what additions read, which take no bytes; plan: as layers that read the same.")
    ] = "8",
    cost: Annotated[
        str, typer.Option(help="What plans are chosen by: measured, or a proxy: jacobian, fisher, local.")
    ] = "measured",
    sensitivity: Annotated[
        Path | None, typer.Option(help="A sensitivity.json (default: the one in OUT, else it is measured).")
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=50, help="Budgets of the front, beside yours.")] = 8,
    tries: Annotated[int, typer.Option(min=0, help="Whole plans measured for each budget.")] = 16,
    held_out: Annotated[int, typer.Option(min=1, max=256, help="Faces to choose by; others judge.")] = 128,
    max_images: Annotated[int, typer.Option(min=1, help="Other faces, which find ranges.")] = 256,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="FILE[:NAME]", help="Any protocol, on which the plans that are found are judged."),
    ] = None,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Which faces are chosen.")] = 0,
    allow_skipped: SkipOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Find the bits of each layer under a budget, and what other budgets would buy.

    Writes a plan for each budget (plan-0400KB.yaml, …), result.json and report.html to OUT. An interrupted run goes on
    where it stopped.

    bitface search net.onnx --images crops/ --budget 400KB --out out/

    bitface quantize net.onnx --images crops/ --bits out/plan-0400KB.yaml --out student/
    """
    from bitface.jobs.search import SearchRequest, search_plans
    from bitface.search.budget import TIME, Budget
    from bitface.search.sweep import SensitivityRequest

    base = SensitivityRequest(
        model, source_of(images, image_list, allow_skipped=allow_skipped), out, faces=held_out,
        calibration_faces=max_images, preprocess=preprocess, seed=seed, size=size, force=force, output=embedding,
        protocol=protocol,
    )  # fmt: skip
    request = SearchRequest(
        base, Budget.parse(budget), bits_of(bits, "--bits", 2), bits_of(activations, "--activations", 2),
        activation_bits, cost, sensitivity, points, tries, sums_of(sums),
    )  # fmt: skip
    with progress(dry_run) as steps:
        result = search_plans(request, steps)
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    timed = request.budget.axis == TIME
    table = table_of("plan", *(["ms"] if timed else []), "weight bytes", "mean bits", "agreement")
    for row in [*result["front"], *result["uniform"]]:
        table.add_row(
            row.get("file", row["label"]), *([f"{row['milliseconds']:.3f}"] if timed else []),
            f"{row['weight_bytes']:,}", f"{row['mean_bits']:.2f}", f"{row['agreement']:.4f}",
        )  # fmt: skip
    output.print(table)
    if result.get("protocol"):
        output.print(judged(result))
    best = result["best"]
    output.print(
        f"within {result['budget']['word']}: agreement {best['agreement']:.4f} on {result['faces']['reported']} faces "
        f"that chose nothing\n{out / 'report.html'}\n{out / best['file']}",
        markup=False,
        soft_wrap=True,
    )


def sums_of(word: str) -> int | None:
    """The bits of sums; None: as the layers that read the same. Raises UsageError for anything but 2 to 8 or `plan`."""
    from bitface.errors import UsageError

    if word == "plan":
        return None
    if word not in map(str, range(2, 9)):
        raise UsageError(f"--sums is '{word}': use 2 to 8 bits, or plan")
    return int(word)


def judged(result: dict[str, Any]) -> "Table":
    """The figures of the front, and of the float network."""
    from bitface.report.search_pages import judged_plans
    from bitface.results.search import SearchRecord

    (content,) = judged_plans(SearchRecord.of(result))
    table = table_of(*content["columns"], title=content["title"])
    for row in content["rows"]:
        table.add_row(*row)
    return table
