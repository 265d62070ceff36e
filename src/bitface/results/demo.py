"""The result of `bitface demo`: quantizations and times of the default assets."""

from typing import Any, Literal

from bitface.results.base import Field, StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.quantization import QuantizationRecord


class DemoRecord(StoredResult):
    """What was made; `faces` is the manifest of the synthetic faces."""

    kind: Literal["demo"] = "demo"
    schema_version: Literal[1] = Field(1, alias="schema")
    faces: dict[str, Any]
    results: tuple[QuantizationRecord, ...]
    latency: BenchRecord
