"""Which results speak of the same model: the rows and sections of a report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitface import artifact
from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.results.base import StoredResult
from bitface.results.documents import Document
from bitface.results.evaluation import EvaluationRecord
from bitface.results.float_students import DistillationRecord, PruningRecord
from bitface.results.quantization import QuantizationRecord

ModelRecord = QuantizationRecord | PruningRecord | DistillationRecord

_ARTIFACT, _FLOAT = "model.bitface", "model.onnx"


@dataclass
class ReportedModel:
    """A model and what is known of it.

    Attributes:
        name: unlike that of every other one.
        path: the file that was measured, as far as anybody says.
        fingerprint: of its network; None: of an artifact that isn't there any more, where its result doesn't say it.
        sha256: of the artifact, or of the network that was pruned or distilled.
        origin: the result of the command that made it, and its file.
        evaluations: what `evaluate` says of it.
        thresholds: those stored in the artifact.
    """

    name: str
    path: Path
    fingerprint: str | None = None
    sha256: str | None = None
    origin: Document[ModelRecord] | None = None
    evaluations: list[Document[EvaluationRecord]] = field(default_factory=list)
    thresholds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> ModelRecord | None:
        """What `quantize` says of it, or `prune` or `distill`."""
        return self.origin.result if self.origin else None

    @property
    def labels(self) -> tuple[str, str]:
        """What `bench` calls it: with its folder where there are several files of one name, and without."""
        return f"{self.path.resolve().parent.name}/{self.path.name}", self.path.name

    @property
    def teacher(self) -> str | None:
        """The fingerprint of the network that it was made from, where a result says so."""
        return self.result.model.fingerprint if self.result else None


def reported_models(documents: Sequence[Document[StoredResult]]) -> tuple[list[ReportedModel], list[str]]:
    """The models that the results are of, in the order of the results, and warnings in plain words."""
    models, warnings = list[ReportedModel](), list[str]()
    for document in documents:
        if isinstance(document.result, QuantizationRecord):
            model, warning = _quantized(document.path, document.result)
            models.append(model)
            warnings += [warning] if warning else []
        elif isinstance(document.result, PruningRecord | DistillationRecord):
            models.append(_trained(document.path, document.result))
    for document in documents:
        if isinstance(document.result, EvaluationRecord):
            evaluation = Document(document.path, document.result)
            _evaluated(evaluation, models).evaluations.append(evaluation)
    names = told_apart([(_name(one, models), one.origin.path if one.origin else one.path) for one in models])
    for one, name in zip(models, names, strict=True):
        one.name = name
    return models, warnings


def _quantized(result_path: Path, result: QuantizationRecord) -> tuple[ReportedModel, str | None]:
    """The model of a quantization, and a warning where its artifact isn't beside it or isn't its own."""
    path = result_path.with_name(_ARTIFACT)
    model = ReportedModel("", path, origin=Document(result_path, result))
    if not path.is_file():
        model.fingerprint = result.files.get(_ARTIFACT)
        return model, None
    try:
        details = artifact.read(path)
    except BitfaceError as error:
        return model, str(error)
    if details.teacher.get("fingerprint") != result.model.fingerprint:
        return model, f"{path}: was made from another network than {result_path.name} beside it says"
    model.fingerprint, model.thresholds = details.network.fingerprint(), details.thresholds
    model.sha256 = sha256_of(path)
    return model, None


def _trained(result_path: Path, result: PruningRecord | DistillationRecord) -> ReportedModel:
    """The float network that was pruned or distilled."""
    path = result_path.with_name(_FLOAT)
    sha256 = sha256_of(path) if path.is_file() else None
    return ReportedModel("", path, result.fingerprint, sha256, Document(result_path, result))


def _name(model: ReportedModel, models: Sequence[ReportedModel]) -> str:
    """What was made of what, in few words; a network that was pruned is called `model` by its file, as all of them."""
    name = model.name
    for step in [*ancestors(model, models), model]:
        if step.result:
            name = _after(name or step.result.model.name, step.result)
    return name


def _after(name: str, result: ModelRecord) -> str:
    if isinstance(result, PruningRecord):
        return f"{name} pruned by {result.removed.parameters:.0%}"
    if isinstance(result, DistillationRecord):
        return f"{result.architecture} distilled from {name}"
    return f"{name} {result.bits}"


def ancestors(model: ReportedModel, models: Sequence[ReportedModel]) -> list[ReportedModel]:
    """The pruned or distilled networks that a model was made from, one out of the other, the nearest last."""
    students = {
        one.fingerprint: one for one in models if isinstance(one.result, PruningRecord | DistillationRecord)
    }  # fmt: skip
    chain: list[ReportedModel] = []
    while (before := students.get(model.teacher)) and before not in chain:
        chain.insert(0, before)
        model = before
    return chain


def _evaluated(evaluation: Document[EvaluationRecord], models: list[ReportedModel]) -> ReportedModel:
    """The model of an evaluation: the one of its fingerprint, else what was exported beside it, else a new one."""
    result, path = evaluation.result, Path(evaluation.result.model)
    for model in models:
        if model.fingerprint == result.fingerprint:
            return model
    for model in models if result.precision == "integer" else ():
        beside = model.path.parent == evaluation.path.parent
        if beside and isinstance(model.result, QuantizationRecord) and _is_exported(result, model):
            return model
    models.append(ReportedModel(path.name, path, result.fingerprint))
    return models[-1]


def _is_exported(evaluation: EvaluationRecord, model: ReportedModel) -> bool:
    """Whether an evaluation is of a file that was exported from a model: by its hash, where both say it."""
    files = model.result.files if model.result else {}
    if model.fingerprint is None:
        return True
    if evaluation.model_kind != "exported" or not files or evaluation.sha256 is None:
        return evaluation.model_kind == "exported"
    return evaluation.sha256 in files.values()


def told_apart(titles: Sequence[tuple[str, Path]]) -> list[str]:
    """Names of which no two are equal: with the file's folder where two were, and a number where that isn't enough."""
    names = [name for name, _ in titles]
    distinct: list[str] = []
    for name, path in titles:
        title = f"{name} ({path.resolve().parent.name})" if names.count(name) > 1 else name
        name, number = title, 2
        while name in distinct:
            name, number = f"{title} {number}", number + 1
        distinct.append(name)
    return distinct
