"""How far the engines' embeddings of one model lie apart, so that a threshold or a gallery can say it where it goes."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from bitface.runtime.embedder import Embedder, unit_length
from bitface.runtime.exact import is_exact
from bitface.targets.registry import NATIVE, title_of, written

FACES = 64


def engine_differences(embedder: Embedder, faces: np.ndarray) -> dict[str, dict[str, Any]]:
    """What the other default engines that are exact on this CPU make of the same faces.

    Args:
        faces: uint8 RGB `[N, H, W, 3]`; `FACES` of them are enough.

    Returns:
        engine → `faces`; `cosine` and `lowest`, of the two embeddings of a face; `shift`, the largest change of a
        pair's similarity. Nothing where there are fewer than two faces.
    """
    model = embedder.model
    if len(faces) < 2 or model.profile or find_spec("torch") is None:  # without it nothing else runs an artifact
        return {}
    names = (NATIVE, *written()) if model.integer else written()
    others = [name for name in names if name != embedder.engine and is_exact(model, name)]
    own = unit_length(embedder.embed(faces))
    return {engine: _difference(own, unit_length(Embedder(model, engine).embed(faces))) for engine in others}


def other_engine(
    made_on: str | None, engine: str, differences: Mapping[str, Mapping[str, Any]], what: str
) -> str | None:
    """What to say where `what` was made on one engine and is used on another; None where it is the same one.

    Args:
        differences: as `engine_differences` gave them where it was made.
    """
    if made_on is None or made_on == engine:
        return None
    begin = f"{what} comes from {title_of(made_on)}, {title_of(engine)} computes here"
    if difference := differences.get(engine):
        return (
            f"{begin}: on {difference['faces']} faces their embeddings agreed by {difference['cosine']:.4f} (cosine, "
            f"lowest {difference['lowest']:.4f}), and similarities moved by {difference['shift']:.4f} at most"
        )
    return f"{begin}: how far the two lie apart wasn't measured; make it again to have it measured"


def _difference(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    cosines = (own * other).sum(1)
    return {
        "faces": len(own),
        "cosine": round(float(cosines.mean()), 6),
        "lowest": round(float(cosines.min()), 6),
        "shift": round(float(np.abs(own @ own.T - other @ other.T)[np.triu_indices(len(own), 1)].max()), 6),
    }
