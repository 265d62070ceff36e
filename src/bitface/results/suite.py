"""The results of a suite: a cell for each protocol and model, or gallery's and probes' model."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One result: a protocol, the gallery's model and the probes'."""

    protocol: str
    gallery: str
    probe: str
    figures: list[dict[str, Any]]
    result: dict[str, Any] = field(repr=False)
    warnings: list[str] = field(default_factory=list)
    skipped: int = 0

    @property
    def sides(self) -> str:
        """Whose gallery, and whose probes where those are another's."""
        return self.gallery if self.gallery == self.probe else f"{self.gallery} gallery, {self.probe} probes"

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dict(vars(self))


def who(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.protocol}, {cell.sides}"
