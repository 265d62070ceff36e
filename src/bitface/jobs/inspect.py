"""`bitface inspect`: what a network consists of, whether it goes all the way and, given faces, which preprocessing it
wants.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitface.analysis import readiness
from bitface.analysis.preprocessing import best_preset, rank_presets
from bitface.data.faces import load_faces
from bitface.errors import BitfaceError
from bitface.graph.summary import summarise, tensor_table
from bitface.inputs.faces import chosen_files, files_of
from bitface.inputs.models import open_for
from bitface.preprocess import Size
from bitface.progress import Steps, silent
from bitface.runtime.exact import inexact
from bitface.runtime.model import Model

# Enough to tell presets apart.
_FACES = 64


def inspect_model(
    path: Path,
    images: Sequence[Path] = (),
    preprocess: str | None = None,
    size: Size | None = None,
    steps: Steps = silent,
    output: str | None = None,
    *,
    try_targets: bool = False,
) -> dict[str, Any]:
    """What a network consists of, and what becomes of it in integers (of a float network: of 8 bits).

    Args:
        try_targets: it is quantized, written for each default target and run there, on noise.

    Returns:
        `model`, `kind`, `bytes` of the file, the fields of `graph.summary.Summary`, `channels` of the image,
        `preprocess` as far as it is known,
        `targets` (`readiness.TargetReadiness` each) and `in_float` (`readiness.stays_float`), which an exported
        file hasn't, `notes` and `warnings`; of an artifact its tensors, plan, teacher, data, thresholds and card; with
        images `presets`, the scores of every preprocessing, and `best_preset`.

    Raises:
        BitfaceError: the network or the images can't be read.
    """
    files = chosen_files(files_of(images), _FACES) if images else []
    opened, notes = open_for(path, files, preprocess, size, output=output)
    network = opened.network
    own = network.preprocess.name if network.preprocess else None
    content: dict[str, Any] = {
        "model": str(path),
        "kind": opened.kind,
        "bytes": opened.path.stat().st_size,
        **summarise(network).to_json(),
        "preprocess": own,
        "channels": network.channels,
    }
    warnings = list(network.warnings)
    if opened.details is not None:
        tensors, unquantized = tensor_table(network)
        content |= {"tensors": tensors, "unquantized": unquantized}
        content |= {key: getattr(opened.details, key) for key in ("plan", "teacher", "data", "thresholds", "card")}
    student = network if opened.integer and opened.profile is None else None
    if opened.profile is None and student is None:
        try:
            student = readiness.as_integers(network)
        except BitfaceError as error:
            warnings.append(f"it can't be quantized: {error}")
    if student is not None:
        targets = readiness.readiness(student)
        if try_targets:
            advance = steps("trying targets")
            for index, facts in enumerate(targets):
                targets[index] = readiness.tried(student, facts)
                advance(index + 1, len(targets))
            model = Model.of(student)
            warnings += [text for facts in targets if not facts.obstacle and (text := inexact(model, facts.target))]
        content |= {"targets": [facts.to_json() for facts in targets], "in_float": readiness.stays_float(student)}
    if files:
        faces = load_faces(files, network.size, steps("reading faces")).images
        scores = rank_presets(network, faces)
        best, warning = best_preset(scores, own)
        content["presets"] = [score.to_json() for score in scores]
        content["best_preset"] = best
        warnings += [warning] if warning else []
    return {**content, "notes": notes, "warnings": warnings}
