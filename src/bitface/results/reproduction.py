"""The result of `bitface reproduce`: a paper's figures beside ours."""

from typing import Literal

from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, Texts


class ReproducedRow(Section):
    """A row of a paper's table.

    Attributes:
        recipe: what made it; None: the float network.
        models: one for each seed.
        paper: benchmark or `benchmark / figure` → the paper's figure, per cent.
        ours: the same of ours, the mean over the seeds; figures that weren't measured are missing.
        spread: their standard deviation, of several seeds.
        agreement: the mean cosine to the float network on faces held out.
    """

    network: str
    name: str
    recipe: str | None
    models: Texts = ()
    paper: dict[str, float] = Field(default_factory=dict)
    ours: dict[str, float] = Field(default_factory=dict)
    spread: dict[str, float] = Field(default_factory=dict)
    agreement: float | None = None


class ReproductionRecord(StoredResult):
    """A table of a paper, ours beside it.

    Attributes:
        small: it was run on what was at hand, in few steps: it says nothing of the paper's claims.
        departures: where ours differs from the paper.
    """

    kind: Literal["reproduction"] = "reproduction"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    paper: str
    table: str
    title: str
    small: bool
    rows: tuple[ReproducedRow, ...]
    departures: Texts = ()
    notes: Texts = ()
    machine: Machine
