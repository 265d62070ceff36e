"""From what a person writes of a protocol to the protocol itself and the images that it needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import PlainValidator, WithJsonSchema

from bitface.config import check, model_of, number_of
from bitface.errors import UsageError, nearest, option
from bitface.evaluation.figures.operating import check_fars
from bitface.evaluation.protocols.pairs import PairFiles, listed_pairs
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened
from bitface.files import read_yaml
from bitface.targets.registry import started

__all__ = ["Engine", "Fars", "Opened", "asked_protocol", "describe", "listed_pairs", "open_protocol", "read_protocol"]


def _fars(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise ValueError
    return check_fars([number_of(far) for far in value])


# False accept rates of a file; YAML takes `1e-4` for a word.
Fars = Annotated[
    tuple[float, ...],
    PlainValidator(_fars),
    WithJsonSchema({"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1}),
]


def _engine(value: Any) -> str:
    started(str(value))
    return str(value)


# What runs models: a target that runs here.
Engine = Annotated[str, PlainValidator(_engine), WithJsonSchema({"type": "string"})]
# For JSON schemas: any protocol of ours.
ANY_PROTOCOL: Any = Union[*(model_of(PROTOCOLS[name]) for name in sorted(PROTOCOLS))]


def asked_protocol(
    protocol: str | Opened | None,
    pairs: Path | None,
    root: Path | None = None,
    part: str | None = None,
    all_pairs: bool = False,
) -> Opened:
    """The protocol of a command's options: `--protocol`, or a list of pairs and what belongs to it.

    Args:
        protocol: see `read_protocol`; one that is open already is taken as it is.

    Raises:
        UsageError: both, neither, or what the file says isn't a protocol.
        BitfaceError: its files can't be read.
    """
    if protocol is None:
        if pairs is None:
            raise UsageError(
                f"name the faces to test on: {option('pairs')} (with {option('root')}), or "
                f"{option('protocol', 'FILE.yaml')}"
            )
        return PairFiles(pairs, root, part, all_pairs).open(pairs.stem)
    if pairs or root or part or all_pairs:
        raise UsageError(
            f"{option('protocol')} says everything of the test; leave out {option('pairs')} and what belongs to it"
        )
    return read_protocol(protocol) if isinstance(protocol, str) else protocol


def read_protocol(word: str) -> Opened:
    """The protocol of a YAML file, `FILE.yaml`, or of a file that names several, such as a suite: `FILE.yaml:NAME`.

    Paths in it are relative to the file's folder.

    Raises:
        UsageError: the file holds no protocol, none of that name, or several and no name was given.
        BitfaceError: its files can't be read.
    """
    path, name = Path(word), None
    if not path.is_file() and ":" in word:
        file, _, name = word.rpartition(":")
        path = Path(file)
    content = read_yaml(path, "protocol")
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}: a protocol is a list of keys such as pairs and root")
    try:
        spec = content
        if isinstance(content.get("protocols"), Mapping):
            listed = {str(key): value for key, value in content["protocols"].items()}
            if name is None and len(listed) != 1:
                raise UsageError(f"holds {len(listed)} protocols ({', '.join(listed)}); name one: {path}:NAME")
            if name is not None and name not in listed:
                raise UsageError(f"no protocol '{name}'{nearest(name, listed)} (there are {', '.join(listed)})")
            name = name if name is not None else next(iter(listed))
            spec = listed[name]
            if not isinstance(spec, Mapping):
                raise UsageError(f"the protocol '{name}' must be a list of keys such as pairs and root")
        elif name is not None:
            raise UsageError(f"names no 'protocols', so that there is no '{name}' in it")
        return open_protocol(name or path.stem, spec, path.resolve().parent)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def describe(name: str, spec: Any, base: Path = Path()) -> Description:
    """A protocol as a suite describes it, checked.

    Args:
        spec: the key of one of `PROTOCOLS` with what belongs to it.
        base: what paths in it are relative to.

    Raises:
        UsageError: no kind, two of them, or see `config.check`.
    """
    if not isinstance(spec, Mapping):
        raise UsageError(f"the protocol '{name}' must be a list of keys such as pairs and root")
    kinds = [key for key in PROTOCOLS if key in spec]
    if len(kinds) != 1:
        near = next((text for key in spec if (text := nearest(key, PROTOCOLS))), "")
        raise UsageError(f"the protocol '{name}' must have one of the keys {', '.join(sorted(PROTOCOLS))}{near}")
    described: type[Description] = PROTOCOLS[kinds[0]]
    return described(**dict(check(spec, model_of(described), f"the protocol '{name}'", base)))


def open_protocol(name: str, spec: Mapping[str, Any], base: Path = Path()) -> Opened:
    """A protocol and its images by its description in a suite; see `describe`.

    Raises:
        UsageError: the description makes no sense.
        BitfaceError: its files can't be read.
    """
    return describe(name, spec, base).open(name)
