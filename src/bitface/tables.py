"""CSV files that a spreadsheet may open, and their cells read again."""

import csv
import io
from collections.abc import Iterable, Sequence

# A spreadsheet runs a cell that starts so as a formula; file names come from anybody.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell_text(cell: str) -> str:
    """What a cell of `table_bytes` was made of."""
    return cell[1:] if cell.startswith(tuple(f"'{start}" for start in _FORMULA)) else cell


def table_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file with a name for each column, of which a spreadsheet runs nothing, whatever its texts are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row])
    return text.getvalue().encode("utf-8", "backslashreplace")
