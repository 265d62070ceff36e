"""`bitface synth`: a source of faces in, a folder of them out, with a manifest and a sheet to look at."""

from pathlib import Path
from typing import Any

from bitface.data import sources
from bitface.data.sheet import sheet_png
from bitface.data.synthetic import fill_faces
from bitface.errors import UsageError, option
from bitface.files import check_new, new_folder, write_bytes
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.results.locks import locked
from bitface.runtime import ModelFile, open_float

_ON_SHEET = 100


def synthesize(
    word: str,
    out: Path,
    model: Path | ModelFile | None = None,
    preprocess: str | None = None,
    seed: int = 0,
    truncation: float = 1.0,
    steps: Steps = silent,
    size: Size | None = None,
) -> dict[str, Any]:
    """Makes the faces of a source (see `data.sources`) as PNG files in `out`, with `manifest.json`.

    `preprocess` and `size` are the model's, where its file doesn't say them; see `ModelFile` for what else it may not.

    The first hundred are on a contact sheet beside the folder, `OUT.sheet.png`.

    Returns:
        The manifest, the sheet's path under `sheet`, and what there is to say of the model under `notes` and
        `warnings`.

    Raises:
        BitfaceError, UsageError: the source can't be made, or `out` isn't free for it; nothing is written.
    """
    source = sources.Source.parse(word)
    data_set = source.data_set
    if not isinstance(data_set, sources.MadeFaces):
        raise UsageError(f"'{word}' has nothing to be made: use synthetic:N, spread:N, generator:FILE:N or none:N")
    if data_set.from_teacher and model is None:
        raise UsageError(f"'{source.kind}' makes images from a teacher: name it with {option('model')}")
    if data_set.from_teacher and truncation != 1:
        raise UsageError(f"{option('truncation')} is of a generator's latents; leave it out of '{source.kind}'")
    sheet = out.with_name(f"{out.name}.sheet.png")
    # Beside the folder, which appears when it is complete.
    with locked(out.with_name(f".{out.name}.lock"), out, "synth"):
        check_new(out)  # before minutes of making
        network = open_float(model, preprocess, size) if model and data_set.from_teacher else None
        faces = data_set.make(source, sources.Making(seed, network, truncation, steps("making faces")))
        with new_folder(out) as folder:
            fill_faces(folder, faces.images, faces.manifest)
            write_bytes(sheet, sheet_png(faces.images[:_ON_SHEET]))
    remarks = {key: list(getattr(network, key)) if network else [] for key in ("notes", "warnings")}
    return {**faces.manifest, "sheet": str(sheet), **remarks}
