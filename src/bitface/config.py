"""The one reader of configuration files: YAML, checked by a model (`File`), or refused in one line.

What a file may hold is written once, as the fields of a model; the checks, the messages and the JSON schema that
editors read (`schema_of`, `python -m bitface.inputs.schemas`) come from it. A check that needs more than a field's type
is a function of the room that the file belongs to, and raises UsageError itself.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)

from bitface.errors import UsageError, nearest
from bitface.files import read_yaml
from bitface.limits import LARGEST_SEED
from bitface.preprocess import Size, parse

# Bytes of a part of a path, and of all of it.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095

T = TypeVar("T")
F = TypeVar("F", bound="File")


class File(BaseModel):
    """A file, or a part of one: a key that is no field is refused, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _path(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError
    return path_below((info.context or {}).get("base", Path()), value)


def path_below(base: Path, word: str) -> Path:
    """The path that a file in a folder names. Raises UsageError where no file system has names as long as that."""
    path = base / word
    parts = [os.fsencode(part) for part in path.parts]
    if max(map(len, parts), default=0) > _LONGEST_NAME or sum(map(len, parts)) + len(parts) > _LONGEST_PATH:
        raise UsageError(f"no file has a name as long as '{word[:20]}…' ({len(word):,} characters); give its path")
    return path


def _size(value: Any) -> Size:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    return Size.parse(value)


def _preprocessing(word: str) -> str:
    parse(word)  # what is wrong with it shows here, and not when the first network is there
    return word


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def number_of(value: Any) -> float:
    """A number of a file, or a word of one, as YAML takes `1e-4` for a word. Raises ValueError where it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError from error


# A path, relative to the folder that `check` is told.
FilePath = Annotated[Path, PlainValidator(_path), WithJsonSchema({"type": "string", "minLength": 1})]
# The size of an image: `112` or `112x96`.
ImageSize = Annotated[Size, PlainValidator(_size), WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]})]
# How faces are preprocessed, in the words of `preprocess.parse`.
Preprocessing = Annotated[str, AfterValidator(_preprocessing)]
# Of what draws numbers, and of an engine.
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Threads = Annotated[int, Field(ge=1, le=4096)]
# Of images, people, …
Count = Annotated[int, Field(ge=1, le=10**9)]
# A name as a key: YAML takes `8:` for a number.
Name = Annotated[str, BeforeValidator(str)]
# A list.
Many = Annotated[tuple[T, ...], Strict(False)]
# One word, or a list of words.
Words = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
# One path, or a list of paths.
FilePaths = Annotated[tuple[FilePath, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
# Paths by names, one at least.
FilesByName = Annotated[dict[Name, FilePath], Field(min_length=1)]


def read(path: Path, kind: type[F], what: str, base: Path | None = None) -> F:
    """A YAML file as what a model says it is.

    Args:
        what: the file should be, for messages: `suite`.
        base: the folder that paths in it are relative to; None: the file's own.

    Raises:
        UsageError: the file can't be read, a key is unknown (the nearest known one is named) or missing, or a value is
            of another type or out of range; the message names file and key.
    """
    content = read_yaml(path, what)
    with named(path):
        return check(content, kind, f"the {what}", path.resolve().parent if base is None else base)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the file's name before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def model_of(kind: type) -> type[File]:
    """The model of a dataclass: its fields with types (paths as `FilePath`) and defaults, and its first paragraph."""
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for item in fields(kind):
        facts: dict[str, Any] = {"default": item.default, "default_factory": item.default_factory}
        default = Field(**{key: value for key, value in facts.items() if value is not MISSING})
        values[item.name] = (_with_base(hints[item.name]), default)
    about = (kind.__doc__ or "").partition("\n\n")[0]
    return create_model(kind.__name__, __base__=File, __doc__=about, **values)


def _with_base(annotation: Any) -> Any:
    """A type whose plain paths are relative to the folder that `check` is told."""
    plain = {Path: FilePath, list[Path]: FilePaths, dict[str, Path]: FilesByName}
    if get_origin(annotation) in (Union, UnionType):
        return Union[*(_with_base(part) for part in get_args(annotation))]
    return plain.get(annotation, annotation)


def check(content: Any, kind: type[F], where: str, base: Path = Path()) -> F:
    """Plain data as what a model says it is; see `read`.

    Args:
        where: the data stands, for messages: `the recipe`.

    Raises:
        UsageError: see `read`; the message names no file.
    """
    # Misspelt keys first: what else is wrong is often wrong for them.
    for key in content if isinstance(content, Mapping) else ():
        if key not in kind.model_fields:
            raise UsageError(f"{where} has an unknown key '{key}'{nearest(key, kind.model_fields)}")
    try:
        return kind.model_validate(content, context={"base": base})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        worst = min(errors, key=lambda one: one["type"] not in _UNKNOWN)
        raise UsageError(_message(worst, content, _schema(kind), where)) from None


def schema_of(kind: Any, title: str) -> dict[str, Any]:
    """The JSON schema of a file, for editors (draft 2020-12)."""
    schema = TypeAdapter(kind).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


@cache
def _schema(kind: type[File]) -> dict[str, Any]:
    return kind.model_json_schema()


_UNKNOWN = ("extra_forbidden", "invalid_key")
_EXPECTED = {
    "bool_type": "use true or false",
    "int_type": "use a whole number",
    "float_type": "use a number",
    "string_type": "use a word",
}


def _message(error: Any, content: Any, schema: dict[str, Any], where: str) -> str:
    """One line on one of pydantic's errors."""
    *parents, key = [str(part) for part in error["loc"] if isinstance(part, str)] or [""]
    if error["type"] in _UNKNOWN:
        return f"{_place(parents, where)} has an unknown key '{key}'{nearest(key, _known(schema, parents))}"
    if error["type"] == "missing":
        return f"{_place(parents, where)} lacks '{key}'"
    keys, value = _found(content, error["loc"])
    about = f"'{keys[-1]}' of {_place(keys[:-1], where)}" if keys else where
    if error["type"] in ("model_type", "dataclass_type", "dict_type"):
        names = _known(schema, keys)
        return f"{about} must be a mapping of keys to values" + (f" ({', '.join(names)})" if names else "")
    for part in _parts(schema, keys):
        low, high = part.get("minimum"), part.get("maximum")
        if "enum" in part:
            return f"{about} can't be {value!r}: use {_either(part['enum'])}{nearest(value, part['enum'])}"
        if error["type"].startswith(("greater_than", "less_than")) and (low is not None or high is not None):
            return f"{about} is {value}: use {_range(low, high)}"
    expected = _EXPECTED.get(error["type"])
    return f"{about} can't be {value!r}" + (f": {expected}" if expected else "")


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _place(keys: Sequence[str], where: str) -> str:
    return f"{where}'s {'.'.join(keys)}" if keys else where


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"{high:g} at most"
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


def _found(content: Any, place: Sequence[int | str]) -> tuple[list[str], Any]:
    """The keys on the way to a place in plain data, and the value of the last one, of a list as a whole.

    Pydantic's own words for types are no keys.
    """
    keys: list[str] = []
    value = content
    for part in place:
        if isinstance(content, list) and isinstance(part, int):
            content = content[part]
            continue
        inner = {str(name): one for name, one in content.items()} if isinstance(content, Mapping) else {}
        if part not in inner:
            break
        value = content = inner[str(part)]
        keys.append(str(part))
    return keys, value


def _known(schema: dict[str, Any], keys: Sequence[str]) -> list[str]:
    return [name for part in _parts(schema, keys) for name in part.get("properties", {})]


def _parts(schema: dict[str, Any], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The schemas of the value that keys lead to: several, where it may be of several types."""
    parts = list(_alternatives(schema, schema))
    for key in keys:
        inner = [part.get("properties", {}).get(key, part.get("additionalProperties")) for part in parts]
        parts = [one for part in inner if isinstance(part, dict) for one in _alternatives(part, schema)] or parts
    return parts


def _alternatives(part: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in part:
        yield from _alternatives(schema["$defs"][part["$ref"].rpartition("/")[2]], schema)
    elif "anyOf" in part or "oneOf" in part:
        for one in part.get("anyOf") or part["oneOf"]:
            yield from _alternatives(one, schema)
    else:
        yield part
        if "items" in part:
            yield from _alternatives(part["items"], schema)
