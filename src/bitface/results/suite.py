"""The result of `bitface evaluate --suite`: a cell for each protocol and model, or gallery's and probes' model."""

from typing import Any, Literal

from bitface.evaluation.protocols.base import Figure
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, Texts


class Cell(Section):
    """One result: a protocol, the gallery's model and the probes'; `result` as the protocol's `to_json` gives it."""

    protocol: str
    gallery: str
    probe: str
    figures: tuple[Figure, ...]
    result: dict[str, Any] = Field(repr=False)
    warnings: Texts = ()
    skipped: int = 0

    @property
    def sides(self) -> str:
        """Whose gallery, and whose probes where those are another's."""
        return self.gallery if self.gallery == self.probe else f"{self.gallery} gallery, {self.probe} probes"


class SuiteRecord(StoredResult):
    """Models on protocols; `models` are the paths by name, `skipped` the unusable images of each protocol."""

    kind: Literal["suite"] = "suite"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    models: dict[str, str]
    baseline: str | None
    fars: tuple[float, ...]
    flip: bool
    cells: tuple[Cell, ...]
    skipped: dict[str, int]
    notes: Texts
    warnings: Texts
    machine: Machine


def who(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.protocol}, {cell.sides}"
