"""`bitface demo`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_line, output, progress, write_json
from bitface.cli.options import DryRunOption, JsonOption, OutOption
from bitface.limits import LARGEST_SEED
from bitface.progress import errors


def demo(
    out: OutOption = Path("out/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer faces, and no evaluation on LFW.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the synthetic faces.")] = 0,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Quantize a real face network with synthetic faces, check it, measure it, and write a report to look at."""
    from bitface.jobs.demo import demo as run
    from bitface.results.quantization import agreed

    errors.print("fetching the default assets (once), then making faces; some minutes in all", style="dim")
    with progress(dry_run) as steps:
        content = run(out, quick, seed, steps)
    write_json(json, content)
    for result in content["results"]:
        engine, figures = agreed(result)
        output.print(
            f"{result['bits']}: {result['bytes']['model.bitface'] / 1e6:.2f} MB, {result['compression']:.1f}x smaller, "
            f"mean cosine to the teacher {figures['mean']:.4f} on {figures['count']} faces, {engine_line(engine)}",
            soft_wrap=True,
        )
    for row in content["latency"]["rows"]:
        ratio = f"{row['ratio']:.2f}x float32" if row["ratio"] else row["note"] or ""
        output.print(f"{row['engine']} {row['precision']}: {row['median_ms']:.2f} ms  {ratio}", soft_wrap=True)
    output.print(str((out / "report.html").resolve()), markup=False, soft_wrap=True)
