"""`bitface export`: an artifact, or a float network, as the file of one engine."""

from pathlib import Path
from typing import Any

from bitface.errors import BitfaceError, UsageError
from bitface.files import write_bytes
from bitface.graph import passes, to_onnx
from bitface.graph.onnx_writer import PROFILES
from bitface.preprocess import Size
from bitface.runtime import open_model
from bitface.runtime.model import PREPROCESS_KEY, export


def export_model(path: Path, out: Path, engine: str, size: Size | None = None) -> dict[str, Any]:
    """Writes the ONNX file of an artifact for one engine; of a float network, its fastest float graph.

    Returns:
        `path` and `bytes` of what was written, and `notes`.

    Raises:
        UsageError: an unknown engine.
        BitfaceError: the model can't be read, or is an exported file already.
    """
    if engine not in PROFILES:
        raise UsageError(f"unknown engine '{engine}': use one of {', '.join(PROFILES)}")
    model = open_model(path, size=size)
    if model.kind == "exported":
        raise BitfaceError(f"{path}: is an exported file already; export the .bitface file")
    profile = PROFILES[PROFILES.index(engine)]
    if model.details is not None:
        exported = export(model.details, profile)
    else:
        known = {PREPROCESS_KEY: model.preprocess.name} if model.preprocess else {}
        exported = to_onnx(passes.fold(model.network.graph), profile, known)
    data = exported.SerializeToString()
    write_bytes(out, data)
    return {"path": str(out), "bytes": len(data), "notes": list(model.network.notes)}
