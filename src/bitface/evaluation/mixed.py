"""Mixed galleries: what happens when one model's probes meet another model's gallery."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bitface.errors import BitfaceError
from bitface.evaluation.figures.figure import Figure
from bitface.evaluation.protocols.base import Embeddings
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
    protocol: PairProtocol, baseline: Embeddings, model: Embeddings, fars: Sequence[float], seed: int = 0
) -> list[MixedCell]:
    """All four combinations of galleries and probes, each at thresholds of its own.

    Over all pairs, mixed cells score each two images twice: either may be the enrolled one. That is one comparison
    still, so that every cell supports the same FARs. Identification enrols the first image of each person; it is left
    out where images aren't in their people's folders.

    Raises:
        BitfaceError: the two models' embeddings are of different sizes.
    """
    sides = {BASELINE: baseline, MODEL: model}
    try:
        identification: ClosedSetProtocol | None = ClosedSetProtocol.of(protocol.paths, ranks=(1,))
    except BitfaceError:
        identification = None
    cells = []
    for gallery, enrolled in sides.items():
        for probe, asking in sides.items():
            other = None if gallery == probe else asking
            figures = list(protocol.score(enrolled, other, fars=fars, seed=seed).figures())
            if identification:
                figures += identification.score(enrolled, other, fars=fars, seed=seed).figures()
            cells.append(MixedCell(gallery, probe, figures))
    return cells
