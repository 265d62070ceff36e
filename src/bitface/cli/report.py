"""`bitface report`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import STDOUT, output, remarks, write_json
from bitface.cli.options import JsonOption
from bitface.cli.paths import Words, to_file


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders that bitface wrote, or JSON files of it; several models side by side.")
    ],
    out: Annotated[Path, typer.Option(callback=to_file, help="The page; .md and .json lie beside it.")] = Path(
        "report.html"
    ),
    title: Annotated[str | None, typer.Option(help="Of the page (default: the models' names)."), Words()] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Show the faces of flipped pairs, where an analysis found some.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="What changed from the first of two results to the second.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """One page of everything that was measured: size, speed, accuracy, curves, plans, analyses, where it came from.

    bitface report out/ --out report.html

    bitface report w8/ w4/ latency.json --out both.html

    bitface report w8/ w4/ --diff --out changes.html
    """
    from bitface.jobs.report import ReportRequest, make_report

    content = make_report(ReportRequest(runs, out, title, faces, diff, None if json in STDOUT else json))
    write_json(json, content)
    remarks([], content.get("warnings", []))
    for path in (out, out.with_suffix(".md"), out.with_suffix(".json")):
        output.print(str(path), markup=False, soft_wrap=True)
