"""`bitface data info`, `check` and `pack`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bitface.cli.console import output, progress, remarks, table_of, write_json
from bitface.cli.options import JsonOption, LabelsOption, ListOption, SkipOption, WorkersOption, source_of, spoken

app = typer.Typer(
    help="Sets of faces: what they hold, what is damaged or there twice, another form.", rich_markup_mode=None
)

SourcesArgument = Annotated[list[str], typer.Argument(help="Folders, rec:FOLDER, tar:PATTERN, parquet:PATH, …")]
# So many of a kind are named; --json names all.
_NAMED = 3


@app.command()
@spoken
def info(sources: SourcesArgument, json: JsonOption = None) -> None:
    """Count images and identities, by the index alone.

    bitface data info rec:ms1mv2/ crops/
    """
    from bitface.jobs.datasets import describe_dataset

    found = {source: describe_dataset(source_of([Path(source)])) for source in sources}
    write_json(json, found)
    table = table_of("source", "images", "identities", "each (least, median, most)", "size", "MB")
    for source, content in found.items():
        each, sizes = content["per_identity"], content["sizes"]
        table.add_row(
            source,
            f"{content['images']:,}",
            "?" if each is None else f"{content['identities']:,}",
            "?" if each is None else f"{each['least']:,}, {each['median']:,g}, {each['most']:,}",
            next(iter(sizes), "?") + (f" +{len(sizes) - 1}" if len(sizes) > 1 else ""),
            f"{content['bytes'] / 1e6:,.1f}",
        )
    output.print(table)
    _remarks(found)


@app.command()
@spoken
def check(sources: SourcesArgument, workers: WorkersOption = None, json: JsonOption = None) -> None:
    """Read every image: which are damaged, which are copies of others, and which copies go by two names.

    bitface data check rec:ms1mv2/ --json found.json
    """
    from bitface.jobs.datasets import check_dataset

    with progress() as steps:
        found = {source: check_dataset(source_of([Path(source)], workers=workers), steps) for source in sources}
    write_json(json, found)
    table = table_of("source", "images", "damaged", "identical", "near copies", "of two people")
    for source, content in found.items():
        pairs = content["identical"] + content["near"]
        counts = [len(content[key]) for key in ("damaged", "identical", "near")]
        two = sum(same is False for *_, same in pairs)
        table.add_row(source, f"{content['images']:,}", *(f"{count:,}" for count in (*counts, two)))
    output.print(table)
    for content in found.values():
        _named(": ".join(one) for one in content["damaged"])
        _named(
            f"{one} and {two} are copies{' of two people' * (same is False)}"
            for one, two, same in sorted(content["identical"] + content["near"], key=lambda pair: pair[2] is not False)
        )
    _remarks(found)


@app.command()
@spoken
def pack(
    sources: SourcesArgument,
    out: Annotated[str, typer.Option(help="rec:FOLDER or tar:FOLDER; the folder must be empty or new.")],
    labels: LabelsOption = None,
    image_list: ListOption = None,
    allow_skipped: SkipOption = False,
    workers: WorkersOption = None,
    json: JsonOption = None,
) -> None:
    """Write faces as one packed set, as they are encoded. Damaged ones are left out, and listed in --json.

    bitface data pack crops/ --out rec:packed/
    """
    from bitface.jobs.datasets import pack_dataset

    with progress() as steps:
        source = source_of([Path(one) for one in sources], image_list, None, labels, allow_skipped, workers)
        content = pack_dataset(source, out, steps)
    write_json(json, content)
    people = "" if content["identities"] is None else f" of {content['identities']:,} identities"
    output.print(
        f"{content['out']}: {content['images']:,} images{people}, {content['bytes'] / 1e6:,.1f} MB",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    left = content["skipped"]
    first = f", the first: {': '.join(left[0])}" if left else ""
    remarks(content["notes"], [f"{len(left):,} images can't be read and are left out{first}"] if left else [])


def _named(lines: Any) -> None:
    lines = list(lines)
    for line in lines[:_NAMED]:
        output.print(f"  {line}", markup=False, soft_wrap=True)
    if len(lines) > _NAMED:
        output.print(f"  and {len(lines) - _NAMED:,} more (--json names all)", markup=False)


def _remarks(found: dict[str, dict[str, Any]]) -> None:
    for content in found.values():
        remarks(content["notes"], content["warnings"])
