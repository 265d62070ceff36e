"""Reads what people write in files, into typed values: one reader for recipes, suites, bit plans and comparisons.

A file's format is a model of pydantic's, or a dataclass, in the room that it belongs to. What isn't in it is refused in
one line that names the file, the key and the nearest known one. `schema` gives the format as a JSON schema, by which
editors complete and check it.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import WithJsonSchema

from bitface.errors import UsageError, nearest
from bitface.files import read_yaml
from bitface.preprocess import Size

T = TypeVar("T")
V = TypeVar("V")

# Nothing unknown and nothing of another kind; a dataclass has it as `__pydantic_config__`.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class Written(BaseModel):
    """A mapping of keys as a person writes it. `title` in its config is what messages call it."""

    model_config = STRICT


def read(path: Path, kind: type[T], what: str, made: Callable[[T], V]) -> V:
    """A YAML file as what is made of its typed content; paths in it are relative to its folder.

    Args:
        what: a message calls it, such as `recipe`.
        made: checks what types can't say, too.

    Raises:
        UsageError: the file can't be read, has an unknown key, lacks one, or holds a value that can't be.
    """
    content = read_yaml(path, what)
    try:
        return made(checked(kind, content, path.resolve().parent))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def checked(kind: type[T], content: Any, base: Path = Path()) -> T:
    """Plain values as a typed one.

    Args:
        base: what paths are relative to.

    Raises:
        UsageError: as `read`, without the file.
    """
    try:
        # As JSON, where a list may be a tuple and a mapping a dataclass, and yet nothing is taken for something else.
        return TypeAdapter(kind).validate_json(json.dumps(content, default=str), context={"base": base})
    except ValidationError as error:
        # What isn't known first: a misspelt key is also a missing one.
        errors = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN)
        raise UsageError(_message(kind, dict(errors[0]), content)) from error


def check_limits(value: Any) -> None:
    """Refuses a dataclass, made by hand, whose words and numbers aren't what its types allow.

    Raises:
        UsageError: a number outside `Ge` and `Le` of its type, or a word that isn't among those of its `Literal`.
    """
    for name, annotation in _keys(type(value)).items():
        if said := _outside(annotation, getattr(value, name)):
            raise UsageError(f"'{name}' of {_called(value)} is {said}")


def _outside(annotation: Any, value: Any) -> str | None:
    """What to say of a number outside its limits, or of an unknown word; None of others."""
    words = get_args(annotation) if get_origin(annotation) is Literal else ()
    if words and value not in words:
        return f"'{value}': use one of {', '.join(words)}"
    limits = {type(one): one for one in getattr(annotation, "__metadata__", ())}
    if Ge in limits and isinstance(value, int | float) and not limits[Ge].ge <= value <= limits[Le].le:
        return f"{value}: use {limits[Ge].ge:g} to {limits[Le].le:g}"
    return None


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a format."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(kind).json_schema()}


def _path(value: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return base / value


def _size(value: Any) -> Any:
    return Size.parse(value) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


_WORD = {"type": "string"}
# A path relative to the file that it stands in.
FilePath = Annotated[Path, AfterValidator(_path), WithJsonSchema(_WORD)]
# 160, or 112x96.
ImageSize = Annotated[Size, BeforeValidator(_size), WithJsonSchema({"type": ["string", "integer"]})]
# One word, or a list of them.
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_WORD, {"type": "array", "items": _WORD}]}),
]

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_WANTED = {
    "string": "a word",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "tuple": "a list",
    "model": "a mapping of keys to values",
    "dict": "a mapping of keys to values",
    "dataclass": "a mapping of keys to values",
}
_NO_MAPPING = ("model_type", "model_attributes_type", "dataclass_type", "dict_type")


def _message(kind: Any, error: Mapping[str, Any], content: Any) -> str:
    """What is wrong with one key, in one line."""
    place = list(error["loc"])
    value = error["input"]
    while place and isinstance(place[-1], int):  # an entry of a list: the whole list is shown
        place.pop()
        value = reduce(lambda part, step: part[step], place, content)
    *before, key = place or [""]
    model, where = _model_at(kind, before)
    if error["type"] in _UNKNOWN:
        return f"{where} has an unknown key '{key}'{nearest(key, _keys(model))}"
    if error["type"] in _MISSING:
        return f"{where} needs '{key}'"
    if error["type"] in _NO_MAPPING and not error["loc"]:
        return f"{where} must be a mapping of keys to values"
    if said := _outside(_keys(model).get(key), value):
        return f"'{key}' of {where} is {said}"
    wanted = next((words for kind, words in _WANTED.items() if error["type"].startswith(kind)), None)
    return f"'{key}' of {where} can't be {value!r}" + (f": use {wanted}" if wanted else "")


def _model_at(kind: Any, place: list[str | int]) -> tuple[Any, str]:
    """The format of a place in a value, and what messages call it."""
    model, where = kind, _called(kind)
    for step in place:
        annotation = _keys(model).get(str(step)) if isinstance(step, str) else None
        inner = _format_in(annotation) if annotation is not None else None
        if inner is not None:
            model, where = inner, _called(inner)
    return model, where


def _called(model: Any) -> str:
    config = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", {})
    return f"the {config.get('title', getattr(model, '__name__', 'file').lower())}"


def _keys(model: Any) -> dict[str, Any]:
    """The keys of a format and their types; of anything else none."""
    known = getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {})
    return {name: annotation for name, annotation in _hints(model).items() if name in known} if known else {}


def _format_in(annotation: Any) -> Any:
    """The format among the parts of a type; None: there is none."""
    if dataclasses.is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return annotation
    return next((found for part in get_args(annotation) if (found := _format_in(part)) is not None), None)
