"""The result of `bitface bench`."""

from typing import Literal

from bitface.results.base import Field, StoredResult
from bitface.results.sections import Machine, Texts
from bitface.runtime.bench import Row


class BenchRecord(StoredResult):
    """Times of models on engines; `machine` in a line, `versions` in detail, `fingerprints` of integer networks by the
    rows' names.
    """

    kind: Literal["bench"] = "bench"
    schema_version: Literal[1] = Field(1, alias="schema")
    machine: str
    versions: Machine
    notes: Texts = ()
    rows: tuple[Row, ...]
    warnings: Texts = ()
    fingerprints: dict[str, str] = Field(default_factory=dict)
