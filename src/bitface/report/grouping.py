"""Which results speak of the same model: the rows and sections of a report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitface import artifact
from bitface.errors import BitfaceError
from bitface.files import sha256_of
from bitface.results.documents import DISTILLATION, EVALUATION, PRUNING, QUANTIZATION, Document, reading

_ARTIFACT, _FLOAT = "model.bitface", "model.onnx"
LESSONS = (PRUNING, DISTILLATION)


@dataclass
class Subject:
    """A model and what is known of it.

    Attributes:
        name: unlike that of every other one.
        path: the file that was measured, as far as anybody says.
        fingerprint: of its network; None: of an artifact that isn't there any more, where its result doesn't say it.
        sha256: of the artifact, or of the network that was pruned or distilled.
        result: what `quantize` says of it, or `prune` or `distill`.
        evaluations: what `evaluate` says of it.
        stored: the thresholds in the artifact.
    """

    name: str
    path: Path
    fingerprint: str | None = None
    sha256: str | None = None
    result: Document | None = None
    evaluations: list[Document] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, str]:
        """What `bench` calls it: with its folder where there are several files of one name, and without."""
        return f"{self.path.resolve().parent.name}/{self.path.name}", self.path.name

    @property
    def teacher(self) -> str | None:
        """The fingerprint of the network that it was made from, where a result says so."""
        return str(self.result.content["model"]["fingerprint"]) if self.result else None

    def of(self, *kinds: str) -> bool:
        """Whether a command of one of these kinds made it."""
        return self.result is not None and self.result.kind in kinds


def subjects(documents: Sequence[Document]) -> tuple[list[Subject], list[str]]:
    """The models that the results are of, in the order of the results, and warnings in plain words."""
    found, warnings = [], []
    for document in documents:
        if document.kind in (QUANTIZATION, *LESSONS):
            with reading(document):
                one, warning = _quantized(document) if document.kind == QUANTIZATION else (_learned(document), None)
            found.append(one)
            warnings += [warning] if warning else []
    for document in documents:
        if document.kind == EVALUATION:
            with reading(document):
                one = _evaluated(document, found)
            one.evaluations.append(document)
    names = told_apart([(_name(one, found), one.result.path if one.result else one.path) for one in found])
    for one, name in zip(found, names, strict=True):
        one.name = name
    return found, warnings


def _quantized(document: Document) -> tuple[Subject, str | None]:
    """The model of a quantization, and a warning where its artifact isn't beside it or isn't its own."""
    content = document.content
    path = document.path.with_name(_ARTIFACT)
    one = Subject("", path, result=document)
    if not path.is_file():
        one.fingerprint = content.get("files", {}).get(_ARTIFACT)
        return one, None
    try:
        details = artifact.read(path)
    except BitfaceError as error:
        return one, str(error)
    if details.teacher.get("fingerprint") != content["model"]["fingerprint"]:
        return one, f"{path}: was made from another network than {document.path.name} beside it says"
    one.fingerprint, one.stored, one.sha256 = details.network.fingerprint(), details.thresholds, sha256_of(path)
    return one, None


def _learned(document: Document) -> Subject:
    """The float network that was pruned or distilled."""
    path = document.path.with_name(_FLOAT)
    sha256 = sha256_of(path) if path.is_file() else None
    return Subject("", path, str(document.content["fingerprint"]), sha256, document)


def _name(one: Subject, known: Sequence[Subject]) -> str:
    """What was made of what, in few words; a network that was pruned is called `model` by its file, as all of them."""
    name = one.name
    for step in [*ancestors(one, known), one]:
        if step.result:
            with reading(step.result):
                name = _after(name or step.result.content["model"]["name"], step.result)
    return name


def _after(name: str, document: Document) -> str:
    content = document.content
    if document.kind == PRUNING:
        return f"{name} pruned by {content['removed']['parameters']:.0%}"
    if document.kind == DISTILLATION:
        return f"{content['architecture']} distilled from {name}"
    return f"{name} {content['bits']}"


def ancestors(one: Subject, known: Sequence[Subject]) -> list[Subject]:
    """The pruned or distilled networks that a model was made from, one out of the other, the nearest last."""
    made = {other.fingerprint: other for other in known if other.of(*LESSONS)}
    found: list[Subject] = []
    while (before := made.get(one.teacher)) and before not in found:
        found.insert(0, before)
        one = before
    return found


def _evaluated(document: Document, known: list[Subject]) -> Subject:
    """The model of an evaluation: the one of its fingerprint, else what was exported beside it, else a new one."""
    content = document.content
    fingerprint, path = str(content["fingerprint"]), Path(content["model"])
    for one in known:
        if one.fingerprint == fingerprint:
            return one
    beside = [one for one in known if one.result and one.of(QUANTIZATION) and one.path.parent == document.path.parent]
    whose = [one for one in beside if one.fingerprint is None or _exported(content, one)]
    if whose and content["precision"] == "integer":
        return whose[0]
    new = Subject(path.name, path, fingerprint)
    known.append(new)
    return new


def _exported(content: dict[str, Any], one: Subject) -> bool:
    """Whether an evaluation is of a file that was exported from a model: by its hash, where both say it."""
    files = one.result.content.get("files") if one.result else None
    if content["kind"] != "exported" or files is None or "sha256" not in content:
        return content["kind"] == "exported"
    return content["sha256"] in files.values()


def told_apart(named: Sequence[tuple[str, Path]]) -> list[str]:
    """Names of which no two are equal: with the file's folder where two were, and a number where that isn't enough."""
    names = [name for name, _ in named]
    found: list[str] = []
    for name, path in named:
        wanted = f"{name} ({path.resolve().parent.name})" if names.count(name) > 1 else name
        name, number = wanted, 2
        while name in found:
            name, number = f"{wanted} {number}", number + 1
        found.append(name)
    return found
