"""The result of `bitface search`: bit plans, what they cost, and what they keep."""

from typing import Any, Literal

from bitface.evaluation.figures.figure import Figure
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Files, FloatNetwork, Machine, PlannedBits, Seconds, Texts


class SearchBudget(Section):
    """What was asked for: the word itself, and so much of `weight_bytes`, `mean_bits` or `milliseconds`."""

    word: str
    axis: str
    value: float


class SearchFaces(Section):
    """Faces that found ranges, that plans were chosen on, and that only judged the chosen ones."""

    kind: str
    calibration: int
    chosen_on: int
    reported: int


class SearchedPlan(Section):
    """A plan: its costs, the bits of its layers, and its agreement on faces that chose nothing.

    Attributes:
        limit: the budget that it was searched for; None: a uniform plan.
        milliseconds: of one image, where the budget is one of time.
        cost: by which it was chosen.
        chosen_agreement, unrefined_agreement: on the faces that chose, and before neighbours were measured.
        file: beside the result; None: a uniform plan has none.
        figures: of the front on the protocol that judges it.
    """

    label: str
    limit: float | None = None
    milliseconds: float | None = None
    weight_bytes: int
    mean_bits: float
    agreement: float
    bits: dict[str, int]
    cost: float | None = None
    chosen_agreement: float | None = None
    unrefined_agreement: float | None = None
    file: str | None = None
    figures: tuple[Figure, ...] = ()


class SearchRecord(StoredResult):
    """The front of plans, uniform plans beside it, and the plan that was asked for with its layers.

    Attributes:
        protocol: that judges the front; float_figures: what the float network has on it.
    """

    kind: Literal["search"] = "search"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: FloatNetwork
    settings: dict[str, Any]
    faces: SearchFaces
    warnings: Texts
    machine: Machine
    budget: SearchBudget
    front: tuple[SearchedPlan, ...]
    uniform: tuple[SearchedPlan, ...]
    best: SearchedPlan
    layers: tuple[PlannedBits, ...]
    protocol: str | None = None
    float_figures: tuple[Figure, ...] = ()
    notes: Texts
    seconds: Seconds
    files: Files = Field(default_factory=dict)
