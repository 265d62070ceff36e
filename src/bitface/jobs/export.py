"""`bitface export`: an artifact, or a float network, as the file or the folder of one target."""

from pathlib import Path
from typing import Any

from bitface.preprocess import Size
from bitface.runtime import open_model
from bitface.targets.registry import FASTEST
from bitface.targets.write import check_place


def export_model(
    path: Path, out: Path, target: str = FASTEST, size: Size | None = None, output: str | None = None
) -> dict[str, Any]:
    """Writes what a target reads: of an artifact its integers, of a float network its fastest float graph.

    Args:
        out: a file, or a new folder where the target is written as several files.

    Returns:
        `path` and `bytes` of what was written, and `notes`.

    Raises:
        UsageError: an unknown target, or one that isn't written.
        BitfaceError: the model can't be read, is an exported file already, or can't be expressed; or `out` can't be
            written.
    """
    out = Path(out)
    check_place(target, out)
    model = open_model(Path(path), size=size, output=output)
    return {"path": str(out), "bytes": model.export(target, out), "notes": list(model.network.notes)}
