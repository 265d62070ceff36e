"""The result of `bitface sensitivity`: what rounding each tensor, or block, alone costs."""

from typing import Literal

from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Files, FloatNetwork, Machine, Seconds, Texts


class SweptWidths(Section):
    """Which widths were asked about, and the seed.

    Attributes:
        sums: bits of what additions read, where that was settled; rotate: how residual streams were turned.
        equalized: bits of activations that channels got their steps for, below 8.
    """

    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    seed: int
    sums: int | None = None
    rotate: str | None = None
    equalized: int | None = None


class SweptFaces(Section):
    """Faces that found ranges, and others that were measured on; `manifest` is the hash of the latter."""

    kind: str
    calibration: int
    measured: int
    manifest: str


class SweptPairs(Section):
    """The list of pairs, and the float network's accuracy on it."""

    list: str
    count: int
    accuracy: float


class UnitCost(Section):
    """What one tensor, or all of a block, costs at some width.

    Attributes:
        part: `weights` or `activations`.
        tensors: of a block; read_by: the layers that read a tensor of activations; parameters: of weights.
        cost: 1 - cosine to the float embedding, a mean over faces, with its standard error.
        proxies: the same as estimated, by the name of the estimate.
        accuracy: of verification, where pairs were given.
    """

    part: str
    name: str
    bits: int
    tensors: Texts = ()
    read_by: Texts = ()
    parameters: int | None = None
    cost: float
    standard_error: float
    proxies: dict[str, float]
    accuracy: float | None = None


class SensitivityRecord(StoredResult):
    """A sweep; `correlations` are Spearman's: proxy → part → bits (or `all`)."""

    kind: Literal["sensitivity"] = "sensitivity"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: FloatNetwork
    by: str = "layer"
    settings: SweptWidths
    faces: SweptFaces
    pairs: SweptPairs | None
    units: tuple[UnitCost, ...]
    correlations: dict[str, dict[str, dict[str, float | None]]]
    notes: Texts
    warnings: Texts
    seconds: Seconds
    machine: Machine
    files: Files = Field(default_factory=dict)
