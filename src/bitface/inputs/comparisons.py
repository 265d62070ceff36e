"""The file of `bitface compare`: what is compared on what, and candidates as lists of steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo

from bitface import config
from bitface.config import Count, File, FilePath, ImageSize, Preprocessing, Seed, Threads, Words
from bitface.data.face_source import FaceSource
from bitface.errors import UsageError, nearest
from bitface.evaluation.protocols.pairs import PairFiles
from bitface.inputs.protocols import ANY_PROTOCOL, Engine, Fars, Opened, asked_protocol, describe, open_protocol
from bitface.inputs.recipes import Rotation
from bitface.preprocess import Size

ORIGINAL = "original"
FARS = (1e-4, 1e-5)


@dataclass(frozen=True)
class Candidate:
    """A way to a smaller network: its steps in their order, as (`prune`, `distill` or `quantize`, options).

    Attributes:
        file: the network or artifact that it begins with, which says its preprocessing; None: the original.
    """

    name: str
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    file: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """What is compared on what.

    Attributes:
        model: the float network that every candidate begins with, or learns from.
        source: the faces that candidates learn from.
        pairs, root, part, all_pairs: what they are tested on; see `jobs.evaluate.EvaluateRequest`.
        threads: of the latency.
        engine: that runs all models; None: of the latency OpenVINO, of the figures each model's default one.
        protocol: another protocol in the place of the list: its keys, or a file (see `inputs.protocols.read_protocol`).
        base: the folder that paths in the candidates' options, and in `protocol`, are relative to.
        output: of the network, where it has several: the name of the embedding.
        size: of the image, where the network leaves it free; None: see `inputs.faces.load_teacher`.
    """

    model: Path
    source: FaceSource
    pairs: Path | None
    candidates: tuple[Candidate, ...]
    root: Path | None = None
    part: str | None = None
    all_pairs: bool = True
    preprocess: str | None = None
    fars: tuple[float, ...] = FARS
    threads: int = 1
    seed: int = 0
    base: Path = Path()
    size: Size | None = None
    protocol: str | Mapping[str, Any] | None = None
    output: str | None = None
    engine: str | None = None

    def opened(self) -> Opened:
        """The test."""
        if isinstance(self.protocol, Mapping):
            return open_protocol("protocol", self.protocol, self.base)
        return asked_protocol(self.protocol, self.pairs, self.root, self.part, self.all_pairs)


class Learning(File):
    """What steps that train have in common; `training` holds settings of a recipe's `training`."""

    loss: str | dict[str, Any] | None = None
    epochs: float | None = None
    minutes: float | None = None
    max_images: Count | None = None
    training: dict[str, Any] = Field(default_factory=dict)


class PruneStep(Learning):
    """Channels are removed; see `prune.Pruning`."""

    ratio: float
    importance: str | None = None
    scope: str | None = None
    round_to: int | None = None


class DistillStep(Learning):
    """Another network learns from this one; see `jobs.distill`."""

    student: str
    embedding_size: int | None = None
    from_teacher: bool | None = None


class QuantizeStep(File):
    """The last step, of every candidate that has it."""

    bits: str | dict[str, Any] | None = None
    first: str | None = None
    last: str | None = None
    method: str = "ptq"
    recipe: str | None = None
    epochs: float | None = None
    minutes: float | None = None
    max_images: Count | None = None
    effort: str | None = None
    observer: str | None = None
    equalization: bool | None = None
    rotate: Rotation | None = None
    bias_correction: bool | None = None


STEPS: dict[str, type[File]] = {"prune": PruneStep, "distill": DistillStep, "quantize": QuantizeStep}


class CandidateFile(File):
    """A candidate as its file names it: its steps in their order, after the network that it begins with."""

    file: str | None = None
    prune: PruneStep | None = None
    distill: DistillStep | None = None
    quantize: QuantizeStep | None = None


def _test(value: Any, info: ValidationInfo) -> dict[str, Any]:
    """What a comparison says of its test: a list of pairs (all pairs of its images are formed), or another protocol."""
    described = describe("protocol", value, (info.context or {})["base"])
    if isinstance(described, PairFiles):
        return {"all_pairs": True, **{key: getattr(described, key) for key in value}}
    return {"pairs": None, "all_pairs": False, "protocol": value}


def _candidates(value: Any, info: ValidationInfo) -> tuple[Candidate, ...]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError
    return tuple(_candidate(str(name), steps, (info.context or {})["base"]) for name, steps in value.items())


class ComparisonFile(File):
    """Several smaller versions of a network, each made in its own way, in one table."""

    model: FilePath
    images: Annotated[Words, Field(min_length=1)]
    protocol: Annotated[dict[str, Any], PlainValidator(_test, json_schema_input_type=ANY_PROTOCOL)]
    candidates: Annotated[
        tuple[Candidate, ...],
        PlainValidator(_candidates, json_schema_input_type=dict[str, CandidateFile | None]),
    ]
    preprocess: Preprocessing | None = None
    size: ImageSize | None = None
    output: str | None = None
    image_list: FilePath | None = None
    max_images: Count | None = None
    labels: str | None = None
    fars: Fars = FARS
    threads: Threads = 1
    engine: Engine | None = None
    seed: Seed = 0
    allow_skipped: bool = False


def read_comparison(path: Path) -> Comparison:
    """A comparison from a YAML file; paths in it are relative to the file's folder.

    What only the rooms of the steps know of their options, `jobs.candidates.requests_of` refuses.

    Raises:
        UsageError: see `config.read`.
    """
    base = path.resolve().parent
    content = config.read(path, ComparisonFile, "comparison")
    values = {**dict(content), **content.protocol}
    labels = content.labels and (
        content.labels if content.labels == "folder" else str(config.path_below(base, content.labels))
    )
    images = [_source(one, base) for one in content.images]
    source = FaceSource(images, content.image_list, content.max_images, labels, content.allow_skipped)
    if "protocol" not in content.protocol:
        values.pop("protocol")
    for key in ("images", "image_list", "max_images", "labels", "allow_skipped"):
        values.pop(key)
    return Comparison(**values, source=source, base=base)


def values_of(part: File) -> dict[str, Any]:
    """What somebody wrote of a part of a file, without what is left to its defaults."""
    return {key: getattr(part, key) for key in type(part).model_fields if getattr(part, key) is not None}


def step_of(step: str, options: Any) -> File:
    """The options of a step, checked.

    Raises:
        UsageError: an unknown step or option (the nearest known one is named), or a value that can't be.
    """
    if step not in STEPS:
        raise UsageError(f"unknown step '{step}'{nearest(step, STEPS)} (there are {', '.join(STEPS)})")
    return config.check(options, STEPS[step], f"'{step}'")


def _source(word: str, base: Path) -> Path:
    """A folder below the file's, or a word such as `synthetic:1000` as it is."""
    path = config.path_below(base, word)
    return path if path.exists() or ":" not in word else Path(word)


def _candidate(name: str, content: Any, base: Path) -> Candidate:
    if not isinstance(content, Mapping | None):
        raise UsageError(f"the candidate '{name}' must be a mapping of keys to values")
    entries = dict(content or {})
    if name == ORIGINAL:
        raise UsageError(
            f"'{ORIGINAL}' is the network itself, which is always compared; give the candidate another name"
        )
    if "quantize" in entries and list(entries)[-1] != "quantize":
        raise UsageError(f"the candidate '{name}' goes on after 'quantize', which must be the last step")
    file = None
    if "file" in entries:
        if next(iter(entries)) != "file" or not isinstance(entries["file"], str):
            raise UsageError(f"'file' of the candidate '{name}' must be a path, and come before every step")
        file = config.path_below(base, entries.pop("file"))
        if file.suffix == ".bitface" and entries:
            raise UsageError(
                f"the candidate '{name}' goes on after an artifact, which is quantized already; give a network"
            )
    steps = tuple((str(step), {} if options is None else options) for step, options in entries.items())
    try:
        if file and not file.is_file():
            raise UsageError(f"there is no file {file}")
        for step, options in steps:
            step_of(step, options)
    except UsageError as error:
        raise UsageError(f"candidate '{name}': {error}") from error
    return Candidate(name, steps, file)
