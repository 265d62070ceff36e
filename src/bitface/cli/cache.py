"""`bitface cache`"""

from typing import Annotated

import typer

from bitface.cli.console import output, table_of, write_json
from bitface.cli.options import JsonOption
from bitface.errors import UsageError


def cache(
    kind: Annotated[str | None, typer.Argument(help="Of which kind (default: of every kind).")] = None,
    show: Annotated[bool, typer.Option("--list", help="List it (the default).")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove it; it is made again where it is needed.")] = False,
    json: JsonOption = None,
) -> None:
    """What is computed once and kept between runs: list it, or empty it."""
    from bitface.store import BIOMETRIC, KINDS, Store

    if show and clear:
        raise UsageError("--list and --clear: use one of them")
    store = Store()
    contents = store.clear(kind) if clear else store.contents(kind)
    write_json(
        json,
        {
            name: {"entries": content.entries, "bytes": content.bytes, "biometric": name in BIOMETRIC}
            for name, content in contents.items()
        },
    )
    table = table_of("kind", "what it is", "biometric", "entries", "MB", title="removed" if clear else None)
    for name, content in contents.items():
        personal = "yes" if name in BIOMETRIC else ""
        table.add_row(name, KINDS[name], personal, f"{content.entries:,}", f"{content.bytes / 1e6:,.1f}")
    if contents:
        output.print(table)
    total = sum(content.bytes for content in contents.values())
    output.print(f"{store.root}: {total / 1e6:,.1f} MB{' removed' if clear else ''}", markup=False, soft_wrap=True)
