"""`bitface export`: an artifact, or a float network, as the file or the folder of one target."""

from pathlib import Path
from typing import Any

from bitface.errors import UsageError, option
from bitface.preprocess import Size
from bitface.runtime import open_model
from bitface.search.budget import BYTES, Budget
from bitface.targets.registry import FASTEST
from bitface.targets.write import check_place, notes_of


def export_model(
    path: Path,
    out: Path,
    target: str = FASTEST,
    size: Size | None = None,
    output: str | None = None,
    name: str | None = None,
    scratch: str | None = None,
    preprocess: str | None = None,
) -> dict[str, Any]:
    """Writes what a target reads: of an artifact its integers, of a float network its fastest float graph.

    Args:
        out: a file, where it ends in the target's suffix; else a new folder, with a guide to what is in it.
        name: of the functions in it, for targets that are code.
        scratch: the most memory that they may work in, such as 300KB; None: as much as is fastest.

        preprocess: of a float network that doesn't say it, for targets whose files hold it.

    Returns:
        `path` and `bytes` of what was written, and `notes`.

    Raises:
        UsageError: an unknown target, or one that isn't written; a scratch that is no size.
        BitfaceError: the model can't be read, is an exported file already, or can't be expressed; or `out` can't be
            written.
    """
    out, most = Path(out), None if scratch is None else _bytes(scratch)
    check_place(target, out)
    model = open_model(Path(path), preprocess, size, output=output)
    notes = [*model.network.notes, *notes_of(target, model.network)]
    return {"path": str(out), "bytes": model.export(target, out, name, most), "notes": notes}


def _bytes(word: str) -> int:
    budget = Budget.parse(word)
    if budget.axis != BYTES:
        raise UsageError(f"{option('scratch')} '{word}' is no size in bytes; write 300KB")
    return int(budget.value)
