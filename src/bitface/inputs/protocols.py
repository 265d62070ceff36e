"""From what a person writes of a protocol to the protocol itself and the images that it needs."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from bitface.errors import UsageError, nearest
from bitface.evaluation.protocols.pairs import PairFiles, listed_pairs
from bitface.evaluation.protocols.registry import PROTOCOLS, Opened
from bitface.files import read_yaml

__all__ = ["Opened", "asked_protocol", "listed_pairs", "open_protocol", "read_protocol"]


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
            raise UsageError("name the faces to test on: --pairs (with --root), or --protocol FILE.yaml")
        return PairFiles(pairs, root, part, all_pairs).open(pairs.stem)
    if pairs or root or part or all_pairs:
        raise UsageError("--protocol says everything of the test; leave out --pairs and what belongs to it")
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


def open_protocol(name: str, spec: Mapping[str, Any], base: Path = Path()) -> Opened:
    """A protocol by its description in a suite.

    Args:
        spec: the key of one of `PROTOCOLS` with what belongs to it.
        base: what paths in it are relative to.

    Raises:
        UsageError: no kind, two of them, or an unknown key (the nearest known one is named).
        BitfaceError: its files can't be read.
    """
    kinds = [key for key in PROTOCOLS if key in spec]
    if len(kinds) != 1:
        raise UsageError(f"the protocol '{name}' must have one of the keys {', '.join(sorted(PROTOCOLS))}")
    described: Any = PROTOCOLS[kinds[0]]
    options = get_type_hints(described)
    values: dict[str, Any] = {}
    for key, value in spec.items():
        if key not in options:
            raise UsageError(f"the protocol '{name}' has an unknown key '{key}'{nearest(key, options)}")
        values[key] = _value(value, options[key], base)
        if values[key] is None:
            raise UsageError(f"'{key}' of the protocol '{name}' can't be {value!r}")
    for field in fields(described):
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"the protocol '{name}' lacks '{field.name}'")
    opened: Opened = described(**values).open(name)
    return opened


def _value(value: Any, kind: Any, base: Path) -> Any:
    """A value of the kind that a key has: paths made whole, one path as a list of one; None where it is another."""
    if NoneType in get_args(kind):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if kind is Path:
        return base / value if isinstance(value, str) and value else None
    if kind == list[Path]:
        paths = [_value(one, Path, base) for one in (value if isinstance(value, list) else [value])]
        return paths if paths and None not in paths else None
    if kind == dict[str, Path]:
        named = {str(key): _value(one, Path, base) for key, one in value.items()} if isinstance(value, Mapping) else {}
        return named if named and None not in named.values() else None
    return value if isinstance(value, kind) and isinstance(value, bool) == (kind is bool) else None
