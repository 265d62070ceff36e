"""Mixed galleries: what happens when one model's probes meet another model's gallery."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bitface.errors import BitfaceError
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.figures.results import Result
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol
from bitface.evaluation.protocols.pairs import PairProtocol
from bitface.evaluation.protocols.people import ClosedSetProtocol

BASELINE, MODEL = "baseline", "model"


@dataclass(frozen=True)
class MixedCell:
    """One cell of the matrix: whose gallery, whose probes, and the figures of verification and identification."""

    gallery: str
    probe: str
    figures: list[Figure]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "gallery": self.gallery,
            "probe": self.probe,
            "figures": [figure.to_json() for figure in self.figures],
        }


def matrix(
    protocol: FaceProtocol,
    baseline: Embeddings,
    model: Embeddings,
    fars: Sequence[float],
    seed: int = 0,
    scored: tuple[Result, Result] | None = None,
) -> list[MixedCell]:
    """All four combinations of galleries and probes, each at thresholds of its own.

    Over all pairs, mixed cells score each two images twice: either may be the enrolled one. That is one comparison
    still, so that every cell supports the same FARs. With lists of pairs
    there is identification, too, which enrols the first image of each person; it is left out where the list doesn't say
    who is on each image, and the folders contradict it.

    Args:
        scored: the results of baseline and model alone, where they are known already.

    Raises:
        BitfaceError: the two models' embeddings are of different sizes.
    """
    sides = {BASELINE: baseline, MODEL: model}
    alone = dict(zip(sides, scored, strict=True)) if scored else {}
    identification = None
    if isinstance(protocol, PairProtocol) and not len(protocol.pairs.contradicting):
        with suppress(BitfaceError):
            identification = ClosedSetProtocol.of(protocol.paths, (1,), protocol.pairs.identities)
    cells = []
    for gallery, enrolled in sides.items():
        for probe, asking in sides.items():
            other = None if gallery == probe else asking
            result = alone.get(gallery) if other is None else None
            figures = list((result or protocol.score(enrolled, other, fars=fars, seed=seed)).figures())
            if identification:
                figures += identification.score(enrolled, other, fars=fars, seed=seed).figures()
            cells.append(MixedCell(gallery, probe, figures))
    return cells
