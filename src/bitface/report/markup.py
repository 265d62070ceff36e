"""Tables as a narrow page needs them: each row as a list, whose entries say which column they are of."""

import re

from markupsafe import Markup

# Columns that a phone has room for.
_FEW = 2
_HEADING = re.compile(r"<t([hd])[^>]*>(.*?)</t\1>", re.DOTALL)
_CELL = re.compile(r"<t[hd](?=[ >])[^>]*")
_TAG = re.compile(r"<[^>]*>")
_SPAN = re.compile(r'colspan="(\d+)"')


def labelled(table: str) -> Markup:
    """A table with the heading of its column on each cell, where it has more columns than fit side by side on a phone.

    Args:
        table: as the templates write it, values escaped: no text in it holds a `<`.
    """
    head, end, body = str(table).partition("</thead>")
    columns = [_TAG.sub("", text).strip() for _, text in _HEADING.findall(head.partition("<thead>")[2])]
    if len(columns) <= _FEW:
        return Markup(table)
    before, tag, after = head.partition("<table")
    listed = (
        after.replace(' class="', ' class="stacked ', 1) if after.startswith(" class") else f' class="stacked"{after}'
    )
    rows = body.split("<tr>")
    return Markup(before + tag + listed + end + "<tr>".join([rows[0], *(_row(row, columns) for row in rows[1:])]))


def _row(row: str, columns: list[str]) -> str:
    """A row whose cells, but for the first, say their columns."""
    place = 0

    def named(cell: re.Match[str]) -> str:
        nonlocal place
        own, span = place, _SPAN.search(cell[0])
        place += int(span[1]) if span else 1
        return f'{cell[0]} data-column="{columns[own]}"' if 0 < own < len(columns) and not span else cell[0]

    return _CELL.sub(named, row)
