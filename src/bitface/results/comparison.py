"""The result of `bitface compare`: a row for each candidate."""

from typing import Any, Literal

from bitface.evaluation.figures.figure import Figure
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Machine, Texts
from bitface.runtime.relative_latency import RelativeLatency


class CandidateRow(Section):
    """A candidate: how it is made, what it costs and what it is worth; or why there is none (`error`).

    Attributes:
        copies: test images that are copies of what it was made with; None: nobody knows.
        notes, warnings: of its steps, each after the step's name, and of its evaluation.
    """

    name: str
    steps: tuple[dict[str, Any], ...]
    error: str | None
    model: str | None = None
    bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    figures: tuple[Figure, ...] = ()
    copies: int | None = None
    notes: Texts = ()
    warnings: Texts = ()
    latency: RelativeLatency | None = None

    def figure(self, name: str) -> Figure:
        """The figure of a name; one without a value where there is none."""
        return next((figure for figure in self.figures if figure.name == name), Figure(name, None))


class ComparisonRecord(StoredResult):
    """Candidates side by side.

    Attributes:
        engine: that ran all models, where one was named.
        ranked_by: the name of the figure that decides who is better.
        frontier: cost → names of those that nobody beats at no higher cost.
        equal: cost → groups of names that cost nearly the same, the best first.
    """

    kind: Literal["comparison"] = "comparison"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: str
    pairs: str
    threads: int
    engine: str | None = None
    rows: tuple[CandidateRow, ...]
    warnings: Texts = ()
    ranked_by: str
    frontier: dict[str, Texts]
    equal: dict[str, tuple[Texts, ...]]
    notes: Texts = ()
    machine: Machine
