"""The results that earlier commands left: read from folders and files."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from bitface.errors import BitfaceError
from bitface.results.analysis import AnalysisRecord
from bitface.results.base import StoredResult
from bitface.results.bench import BenchRecord
from bitface.results.calibration import CalibrationRecord
from bitface.results.comparison import ComparisonRecord
from bitface.results.demo import DemoRecord
from bitface.results.evaluation import EvaluationRecord
from bitface.results.first_version import kind_of
from bitface.results.float_students import DistillationRecord, PruningRecord
from bitface.results.folder import check_files
from bitface.results.pretraining import PretrainingRecord
from bitface.results.quantization import QuantizationRecord
from bitface.results.reproduction import ReproductionRecord
from bitface.results.search import SearchRecord
from bitface.results.sensitivity import SensitivityRecord
from bitface.results.suite import SuiteRecord

R = TypeVar("R", bound=StoredResult, covariant=True)

# Kind → its type.
KINDS: dict[str, type[StoredResult]] = {
    one.kind_name(): one
    for one in (
        QuantizationRecord, EvaluationRecord, BenchRecord, AnalysisRecord, SensitivityRecord, SearchRecord,
        PruningRecord, DistillationRecord, PretrainingRecord, ComparisonRecord, SuiteRecord, CalibrationRecord,
        DemoRecord, ReproductionRecord,
    )
}  # fmt: skip
# What a page is made of; the other kinds are their commands' own.
REPORTED = (
    QuantizationRecord, EvaluationRecord, BenchRecord, AnalysisRecord, SensitivityRecord, SearchRecord, PruningRecord,
    DistillationRecord, ComparisonRecord, SuiteRecord,
)  # fmt: skip
_MADE_BY = (
    "quantize, prune, distill, evaluate --json, evaluate --suite, compare, bench --json, analyse, sensitivity and "
    "search write what a report is made of"
)


@dataclass(frozen=True)
class Document(Generic[R]):
    """A result, and where it was read."""

    path: Path
    result: R


def of_kind(documents: Iterable[Document[StoredResult]], kind: type[R]) -> Iterator[Document[R]]:
    """Those whose results are of one type, in their order."""
    for document in documents:
        if isinstance(document.result, kind):
            yield Document(document.path, document.result)


def read_result(path: Path) -> StoredResult:
    """A result of any kind from its file.

    Raises:
        BitfaceError: it can't be read, is no result, or is damaged (the message names the field).
    """
    content = _content(path)
    if (kind := KINDS.get(kind_of(content) or "")) is None:
        raise BitfaceError(f"{path}: is {_whose(content)}")
    return kind.from_json(content, path)


def read_runs(paths: Sequence[Path]) -> list[Document[StoredResult]]:
    """Every result in the folders, and the files themselves, that a report can show; each once, in the order given.

    Other files of a folder, and folders in it, are left alone.

    Raises:
        BitfaceError: a path isn't there, a folder holds no result, or a file is none or damaged; or the files beside a
            result are another run's.
    """
    contents: dict[Path, tuple[Path, Any]] = {}
    for path in paths:
        for file, content in _of_folder(path) if path.is_dir() else [_of_file(path)]:
            contents.setdefault(file.resolve(), (file, content))
    documents = []
    for file, content in contents.values():
        check_files(file, content)
        documents.append(Document(file, KINDS[kind_of(content) or ""].from_json(content, file)))
    return documents


def _of_folder(folder: Path) -> list[tuple[Path, Any]]:
    contents = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = _content(path)
        except BitfaceError:
            continue
        if _is_reported(content):
            contents.append((path, content))
    if not contents:
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.json")))
        hint = f"; name the folders in it instead, such as {folder / inner[0]}" if inner else ""
        raise BitfaceError(f"{folder}: holds no result that a report could show{hint} ({_MADE_BY})")
    return contents


def _of_file(path: Path) -> tuple[Path, Any]:
    content = _content(path)
    if _is_reported(content):
        return path, content
    raise BitfaceError(f"{path}: is {_whose(content)} ({_MADE_BY})")


def _is_reported(content: Any) -> bool:
    return KINDS.get(kind_of(content) or "") in REPORTED


def _whose(content: Any) -> str:
    ours = kind_of(content) is not None or (isinstance(content, dict) and "bitface" in content)
    return "a result of bitface that a report can't show" if ours else "no result of bitface"


def _content(path: Path) -> Any:
    """What a JSON file says; numbers that aren't finite count as missing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise BitfaceError(f"{path}: can't be read ({error.strerror}); give a folder or a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise BitfaceError(f"{path}: isn't JSON; give a folder or a JSON file that bitface wrote") from error
