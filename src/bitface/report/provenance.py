"""Where a report's figures come from: models, hashes, seeds, versions, machines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bitface.report.derivation import way
from bitface.report.grouping import ReportedModel
from bitface.results.analysis import AnalysedModel, AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.comparison import ComparisonRecord
from bitface.results.documents import Document
from bitface.results.evaluation import EvaluationRecord
from bitface.results.float_students import DistillationRecord, PruningRecord, StudentSource
from bitface.results.quantization import QuantizationRecord, QuantizedSource
from bitface.results.search import SearchRecord
from bitface.results.sections import FloatNetwork
from bitface.results.sensitivity import SensitivityRecord
from bitface.results.suite import SuiteRecord

Facts = dict[str, Any]
_Network = QuantizedSource | StudentSource | FloatNetwork | AnalysedModel


def teachers(documents: Sequence[Document[StoredResult]]) -> list[str]:
    """A warning where the results speak of different float networks; one that was made of another counts as that."""
    names: dict[str, str] = {}
    students: dict[str, _Network] = {}
    for one in documents:
        if isinstance(one.result, PruningRecord | DistillationRecord):
            students[one.result.fingerprint] = one.result.model
    for one in documents:
        if (network := _float_network(one.result)) and network.fingerprint:
            network = _origin(network, students)
            names.setdefault(network.fingerprint, network.name or network.path)
    if len(names) < 2:
        return []
    listing = ", ".join(f"{name} ({fingerprint[:8]})" for fingerprint, name in names.items())
    return [f"these results are of different teachers: {listing}; what each lost isn't one scale"]


def _float_network(result: StoredResult) -> _Network | None:
    """The float network that a result is of."""
    if isinstance(result, AnalysisRecord):
        return result.teacher
    if isinstance(result, QuantizationRecord | PruningRecord | DistillationRecord | SensitivityRecord | SearchRecord):
        return result.model
    return None


def _origin(network: _Network, students: dict[str, _Network]) -> _Network:
    """The network that the first of these steps began with."""
    passed = set[str]()
    while network.fingerprint in students and network.fingerprint not in passed:
        passed.add(network.fingerprint)
        network = students[network.fingerprint]
    return network


def facts(models: Sequence[ReportedModel], documents: Sequence[Document[StoredResult]]) -> Facts:
    """Every fact once where all agree on it, else with the name of what it is true of in front."""
    rows = [*_of_models(models), *_of_documents(documents)]
    keys = dict.fromkeys(key for _, row in rows for key in row)
    table: Facts = {}
    for key in keys:
        values = [(name, row[key]) for name, row in rows if row.get(key) not in (None, "")]
        if len({str(value) for _, value in values}) == 1 and (len(values) > 1 or len(rows) == 1):
            table[key] = values[0][1]
        else:
            table |= {f"{name}: {key}": value for name, value in values}
    return table


def _of_models(models: Sequence[ReportedModel]) -> Iterator[tuple[str, Facts]]:
    for model in models:
        result = model.result
        quantized = isinstance(result, QuantizationRecord)
        file, faces = ("artifact", "calibration") if quantized else (model.path.name, "training")
        row: Facts = {"fingerprint": model.fingerprint, f"{file} SHA-256": model.sha256}
        if result is not None:
            preprocess = result.model.preprocess if isinstance(result, QuantizationRecord) else result.preprocess
            row |= {
                "teacher": result.model.path,
                "teacher fingerprint": result.model.fingerprint,
                "preprocessing": preprocess,
                f"{faces} faces (manifest)": result.faces.manifest,
                "method": result.method if isinstance(result, QuantizationRecord) else way(result),
                "seed": result.seed,
            }
        for document in model.evaluations:
            row |= {f"evaluated in {document.path.name} on": document.result.pairs}
        yield model.name, row


def _of_documents(documents: Sequence[Document[StoredResult]]) -> Iterator[tuple[str, Facts]]:
    """Versions and machine of each result, and when it was made."""
    for one in documents:
        content = one.result
        about = {**_when(content), **_about(content), "bitface": getattr(content, "bitface", None)}
        yield _label(one.path), {**about, **_machine(content)}


def _label(path: Path) -> str:
    return f"{path.resolve().parent.name}/{path.name}"


def _when(result: StoredResult) -> Facts:
    return {} if isinstance(result, EvaluationRecord) else {"made": getattr(result, "created", None)}


def _machine(result: StoredResult) -> dict[str, str]:
    machine: dict[str, str] = result.versions if isinstance(result, BenchRecord) else getattr(result, "machine", {})
    return machine


def _about(result: StoredResult) -> Facts:
    """What a result of many models was made from."""
    if isinstance(result, ComparisonRecord):
        return {"model": result.model, "pairs": result.pairs}
    if isinstance(result, SuiteRecord):
        protocols = dict.fromkeys(cell.protocol for cell in result.cells)
        return {"models": result.models, "protocols": list(protocols), "baseline": result.baseline}
    return {}
