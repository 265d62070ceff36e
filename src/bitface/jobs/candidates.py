"""The file of `bitface compare`: what is compared on what, and candidates as lists of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bitface
from bitface.data.faces import find_images
from bitface.errors import UsageError, nearest
from bitface.evaluation.figures.operating import check_fars
from bitface.evaluation.protocols.registry import PROTOCOLS
from bitface.files import read_yaml, sha256_of
from bitface.inputs.protocols import Opened, asked_protocol, open_protocol
from bitface.jobs.candidate_steps import STEPS, Request
from bitface.preprocess import Size
from bitface.store import key_of

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
        images, image_list, max_images, labels: what candidates learn from; see `bitface quantize`.
        pairs, root, part, all_pairs: what they are tested on; see `jobs.evaluate.EvaluateRequest`.
        threads: of the latency.
        protocol: another protocol in the place of the list: its keys, or a file (see `inputs.protocols.read_protocol`).
        base: the folder that paths in the candidates' options, and in `protocol`, are relative to.
        size: of the image, where the network leaves it free; None: see `inputs.faces.load_teacher`.
    """

    model: Path
    images: tuple[Path, ...]
    pairs: Path | None
    candidates: tuple[Candidate, ...]
    root: Path | None = None
    part: str | None = None
    all_pairs: bool = True
    image_list: Path | None = None
    max_images: int | None = None
    labels: str | None = None
    preprocess: str | None = None
    fars: tuple[float, ...] = FARS
    threads: int = 1
    seed: int = 0
    allow_skipped: bool = False
    base: Path = Path()
    size: Size | None = None
    protocol: str | Mapping[str, Any] | None = None

    def opened(self) -> Opened:
        """The test."""
        if isinstance(self.protocol, Mapping):
            return open_protocol("protocol", self.protocol, self.base)
        return asked_protocol(self.protocol, self.pairs, self.root, self.part, self.all_pairs)

    def request(self, step: str, options: Mapping[str, Any], model: Path, out: Path, first: bool) -> Request:
        """The request of a step on a model; `first`: on the original, which may not say its preprocessing.

        Raises:
            UsageError: an unknown step or option (the nearest known one is named), or a value that can't be.
        """
        if step not in STEPS:
            raise UsageError(f"unknown step '{step}'{nearest(step, STEPS)} (there are {', '.join(STEPS)})")
        known, make = STEPS[step]
        for key, value in _mapping(options, f"'{step}'").items():
            if key not in known:
                raise UsageError(f"'{step}' has an unknown option '{key}'{nearest(key, known)}")
            if not isinstance(value, known[key]) or isinstance(value, bool) != (known[key] is bool):
                raise UsageError(f"'{key}' of '{step}' can't be {value!r}")
        common = {
            "model": model, "images": list(self.images), "out": out, "image_list": self.image_list,
            "max_images": options.get("max_images", self.max_images), "labels": self.labels, "seed": self.seed,
            "preprocess": self.preprocess if first else None, "size": self.size if first else None,
            "allow_skipped": self.allow_skipped, "minutes": options.get("minutes"), "resume": True,
        }  # fmt: skip
        return make(dict(options), common, self.base)

    def key(self, request: Request, before: str) -> str:
        """Names what a step gives: changed by anything that it depends on.

        Args:
            before: names the model it begins with.
        """
        plain = replace(request, model=Path(before), out=Path(), resume=False)
        named = [Path(path) for path in (request.image_list, request.labels) if path]
        lists = [sha256_of(path) for path in named if path.is_file()]
        facts = (bitface.__version__, plain, lists, _facts_of(request.images))
        return key_of(facts)[:16]


def _facts_of(images: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of every image in the folders: from other images comes another student."""
    found = find_images([folder for folder in images if folder.is_dir()])
    stats = ((str(file.path.resolve()), file.path.stat()) for file in found)
    return [(path, status.st_size, status.st_mtime_ns) for path, status in stats]


def read_comparison(path: Path) -> Comparison:
    """A comparison from a YAML file; paths in it are relative to the file's folder.

    Raises:
        UsageError: the file can't be read, has an unknown key (the nearest known one is named), lacks one, or holds
            a value that can't be.
    """
    content = read_yaml(path, "comparison")
    try:
        made = _comparison(content, path.resolve().parent)
        for candidate in made.candidates:
            try:
                if candidate.file and not candidate.file.is_file():
                    raise UsageError(f"there is no file {candidate.file}")
                for place, (step, options) in enumerate(candidate.steps):
                    made.request(step, options, made.model, Path(), place == 0)
            except UsageError as error:
                raise UsageError(f"candidate '{candidate.name}': {error}") from error
        return made
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


_KINDS: dict[str, Any] = {
    "model": str, "preprocess": str, "size": (int, str), "images": (str, list), "image_list": str, "max_images": int,
    "labels": str, "protocol": dict, "fars": list, "threads": int, "seed": int, "allow_skipped": bool,
    "candidates": dict,
}  # fmt: skip
_PROTOCOL: dict[str, Any] = {"pairs": str, "root": str, "part": str, "all_pairs": bool}
_NEEDED = ("model", "images", "protocol", "candidates")


def _comparison(content: Any, base: Path) -> Comparison:
    values = _checked(content, _KINDS, "a comparison", _NEEDED)
    protocol = values.pop("protocol")
    if "pairs" in protocol or not any(key in PROTOCOLS for key in protocol):
        protocol = _checked(protocol, _PROTOCOL, "'protocol'", ("pairs",))
    else:
        protocol = {"pairs": None, "all_pairs": False, "protocol": protocol}
    images = values.pop("images")
    made = {**values, **protocol}
    for key in ("model", "image_list", "pairs", "root"):
        if made.get(key) is not None:
            made[key] = base / made[key]
    if "labels" in made and made["labels"] != "folder":
        made["labels"] = str(base / made["labels"])
    made["images"] = tuple(_source(str(one), base) for one in ([images] if isinstance(images, str) else images))
    made["candidates"] = tuple(_candidate(str(name), steps, base) for name, steps in values["candidates"].items())
    if "size" in made:
        made["size"] = Size.parse(made["size"])
    if not made["candidates"] or not made["images"]:
        raise UsageError("'candidates' and 'images' must name at least one")
    if made.get("threads", 1) < 1:
        raise UsageError(f"'threads' is {made['threads']}: use 1 or more")
    try:
        made["fars"] = check_fars([float(far) for far in made.get("fars", FARS)])
    except (TypeError, ValueError):
        raise UsageError(f"'fars' can't be {made['fars']!r}") from None
    return Comparison(**made, base=base)


def _source(word: str, base: Path) -> Path:
    """A folder below the file's, or a word such as `synthetic:1000` as it is."""
    return base / word if (base / word).exists() or ":" not in word else Path(word)


def _candidate(name: str, steps: Any, base: Path) -> Candidate:
    given = _mapping({} if steps is None else steps, f"the candidate '{name}'")
    if name == ORIGINAL:
        raise UsageError(
            f"'{ORIGINAL}' is the network itself, which is always compared; give the candidate another name"
        )
    if "quantize" in given and list(given)[-1] != "quantize":
        raise UsageError(f"the candidate '{name}' goes on after 'quantize', which must be the last step")
    file = None
    if "file" in given:
        if next(iter(given)) != "file" or not isinstance(given["file"], str):
            raise UsageError(f"'file' of the candidate '{name}' must be a path, and come before every step")
        file = base / given.pop("file")
        if file.suffix == ".bitface" and given:
            raise UsageError(
                f"the candidate '{name}' goes on after an artifact, which is quantized already; give a network"
            )
    steps = tuple((str(step), {} if options is None else options) for step, options in given.items())
    return Candidate(name, steps, file)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a mapping of keys to values")
    return dict(value)


def _checked(value: Any, kinds: Mapping[str, Any], where: str, needed: tuple[str, ...]) -> dict[str, Any]:
    values = _mapping(value, where)
    for key, given in values.items():
        if key not in kinds:
            raise UsageError(f"{where} has an unknown key '{key}'{nearest(key, kinds)}")
        if not isinstance(given, kinds[key]) or isinstance(given, bool) != (kinds[key] is bool):
            raise UsageError(f"'{key}' can't be {given!r}")
    for key in needed:
        if key not in values:
            raise UsageError(f"{where} needs '{key}'")
    return values
