"""`bitface compare`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import engine_of, output, progress, remarks, write_json
from bitface.cli.options import DryRunOption, EngineOption, JsonOption, OutputOption, ProtocolOption, SizeOption
from bitface.cli.paths import to_folder
from bitface.errors import BitfaceError


def compare(
    candidates: Annotated[Path, typer.Argument(help="A YAML file of candidates; see docs/smaller.md.")],
    out: Annotated[Path, typer.Option(callback=to_folder, help="The folder to write to, and to go on in.")],
    size: SizeOption = None,
    embedding: OutputOption = None,
    protocol: ProtocolOption = None,
    engine: EngineOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Make and measure several smaller versions of a network: quantized, pruned, distilled, or all of it in turn.

    Writes comparison.json, comparison.md and comparison.html to OUT. Run it again to go on where it was stopped, or
    after candidates were added. Exit code 1 where a candidate failed; the others are measured all the same.

    bitface compare candidates.yaml --out compared/
    """
    from bitface.config import named
    from bitface.inputs.comparisons import read_comparison
    from bitface.jobs.compare import beforehand_of, compare_candidates

    comparison = read_comparison(candidates)
    comparison = replace(
        comparison, size=size or comparison.size, output=embedding or comparison.output,
        engine=engine_of(engine) or comparison.engine,
    )  # fmt: skip
    if protocol:
        comparison = replace(comparison, pairs=None, root=None, part=None, all_pairs=False, protocol=protocol)
    with named(candidates):
        warnings = beforehand_of(comparison)
    remarks([], warnings)
    with progress(dry_run) as steps:
        content = compare_candidates(comparison, out, steps)
    write_json(json, content)
    output.print((out / "comparison.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    output.print(str(out / "comparison.html"), markup=False, soft_wrap=True)
    remarks(content["notes"], [f"{row['name']}: {text}" for row in content["rows"] for text in row.get("warnings", ())])
    failed = [row["name"] for row in content["rows"] if row["error"]]
    if failed:
        raise BitfaceError(
            f"{len(failed)} of {len(comparison.candidates)} candidates failed ({', '.join(failed)}); the table says why"
        )
