"""The file of `bitface evaluate --suite`: which models are evaluated on which protocols."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, ValidationInfo

from bitface import config
from bitface.config import File, FilePath, ImageSize, Name, Preprocessing, Seed, Threads
from bitface.errors import UsageError, nearest, option
from bitface.evaluation import FARS
from bitface.inputs.protocols import ANY_PROTOCOL, Engine, Fars, describe
from bitface.preprocess import Size


@dataclass(frozen=True)
class SuiteModel:
    """A model by its name in the table; `preprocess`, `size` and `output` where its file doesn't say them."""

    name: str
    path: Path
    preprocess: str | None = None
    size: Size | None = None
    output: str | None = None


@dataclass(frozen=True)
class Suite:
    """What to evaluate.

    Attributes:
        protocols: name → what `inputs.protocols.open_protocol` takes.
        base: the folder that the protocols' paths are relative to.
        baseline: the model that the others are held against; None: nobody is.
        mixed: galleries of the baseline against probes of each other model, and the other way round.
        groups: a CSV of attributes (see `evaluation.groups`), for the lists of pairs.
        out: the folder of results and kept embeddings.
    """

    models: tuple[SuiteModel, ...]
    protocols: Mapping[str, Mapping[str, Any]]
    out: Path
    base: Path = Path()
    baseline: str | None = None
    mixed: bool = False
    fars: tuple[float, ...] = FARS
    flip: bool = False
    engine: str | None = None
    threads: int | None = None
    seed: int = 0
    groups: Path | None = None
    allow_skipped: bool = False


class ModelEntry(File):
    """A model of a suite; a path alone stands for its `path`."""

    path: FilePath
    preprocess: Preprocessing | None = None
    size: ImageSize | None = None
    output: str | None = None


def _entries(value: Any) -> Any:
    if not isinstance(value, Mapping) or not value:
        raise UsageError("'models' must name at least one, each on a line of its own")
    entries = {name: {"path": entry} if isinstance(entry, str) else entry for name, entry in value.items()}
    for name, entry in entries.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
            raise UsageError(f"the model '{name}' must be a path, or 'path', 'preprocess', 'size' and 'output'")
    return entries


def _described(value: Any, info: ValidationInfo) -> dict[str, Mapping[str, Any]]:
    """The protocols as they are written; what can't be opened is refused here, with the file's name."""
    if not isinstance(value, Mapping) or not value:
        raise UsageError("'protocols' must name at least one, each on a line of its own")
    for name, spec in value.items():
        describe(str(name), spec, (info.context or {})["base"])
    return {str(name): spec for name, spec in value.items()}


class SuiteFile(File):
    """Many models on many protocols, in one table."""

    models: Annotated[
        dict[Name, ModelEntry], BeforeValidator(_entries, json_schema_input_type=dict[str, str | ModelEntry])
    ]
    protocols: Annotated[dict[str, Any], PlainValidator(_described, json_schema_input_type=dict[str, ANY_PROTOCOL])]
    baseline: str | None = None
    mixed: bool = False
    fars: Fars = FARS
    flip: bool = False
    engine: Engine | None = None
    threads: Threads | None = None
    seed: Seed = 0
    groups: FilePath | None = None
    allow_skipped: bool = False
    out: FilePath | None = None


def read_suite(path: Path, out: Path | None = None) -> Suite:
    """A suite from a YAML file; paths in it are relative to the file's folder.

    Args:
        out: replaces the file's.

    Raises:
        UsageError: see `config.read`; or the baseline is none of the models, or nobody says where results go.
    """
    content = config.read(path, SuiteFile, "suite")
    with config.named(path):
        return _suite(content, path.resolve().parent, out)


def _suite(content: SuiteFile, base: Path, out: Path | None) -> Suite:
    models = tuple(SuiteModel(name, **dict(entry)) for name, entry in content.models.items())
    names = [model.name for model in models]
    values = {**dict(content), "models": models, "out": out or content.out, "base": base}
    if content.baseline is None and content.mixed:
        values["baseline"] = names[0]
    elif content.baseline is not None and content.baseline not in names:
        raise UsageError(f"the baseline '{content.baseline}' is none of the models{nearest(content.baseline, names)}")
    if values["out"] is None:
        raise UsageError(f"neither the suite nor {option('out')} says where the results go")
    return Suite(**values)
