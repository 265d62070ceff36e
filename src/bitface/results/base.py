"""What every result has: its kind, the version of its schema, and the way to JSON and back.

The only file here that knows the library that checks types (pydantic).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bitface.errors import BitfaceError
from bitface.results.first_version import upgraded

__all__ = ["Field", "Section", "StoredResult", "article"]


class Section(BaseModel):
    """A part of a result; it doesn't change, and keeps what a later version wrote into it.

    A field with a default may be missing in a file, and then stays out of the JSON.
    """

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=(), validate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, in the order of the file; those that weren't given stay out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def but(self, **changes: Any) -> Self:
        """The same with other values in some fields, checked."""
        return type(self).model_validate({**self.to_json(), **changes})


class StoredResult(Section):
    """What a command found out, as it stands in a JSON file.

    Attributes:
        kind: of command, the same for every result of a class.
        schema_version: of the keys below; `schema` in the JSON. It rises when a key goes or changes its meaning.
    """

    kind: str
    schema_version: int = Field(alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, content: Any) -> Any:
        return upgraded(content, cls.kind_name())

    @classmethod
    def kind_name(cls) -> str:
        """The `kind` of results of this class."""
        return str(cls.model_fields["kind"].default)

    @classmethod
    def known_schema(cls) -> int:
        """The schema that this version of bitface writes and reads."""
        return int(cls.model_fields["schema_version"].default)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """The result of a command that has just run, with its kind and schema first."""
        return cls.from_json({"kind": cls.kind_name(), "schema": cls.known_schema(), **facts})

    @classmethod
    def from_json(cls, content: Any, path: Path | str = "result") -> Self:
        """A result from the content of its file; one of bitface 0.1.0 has neither kind nor schema.

        Raises:
            BitfaceError: a field is missing or of another type (the message names the file, `path`, and the field), or
                the schema is a later one.
        """
        schema = content.get("schema", cls.known_schema()) if isinstance(content, dict) else None
        if isinstance(schema, int) and schema > cls.known_schema():
            raise BitfaceError(
                f"{path}: is schema {schema} of {article(cls.kind_name())}, this version of bitface reads "
                f"{cls.known_schema()}; update bitface, or make the result again"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise BitfaceError(
                f"{path}: looks like the result of {article(cls.kind_name())}, but {_place(first['loc'])} can't be "
                f"read ({_reason(first)}); it was changed, or another version of bitface wrote it: make it again"
            ) from error

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of such a file."""
        schema = cls.model_json_schema(by_alias=True)
        required = ["kind", "schema", *schema.get("required", ())]
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "required": required}


def article(kind: str) -> str:
    """A kind with its article: `an evaluation`."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _place(path: tuple[int | str, ...]) -> str:
    """A field by its keys: 'tar[0].far'."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return f"'{text.removeprefix('.')}'" if text else "its content"


def _reason(error: Mapping[str, Any]) -> str:
    """Why in few words, in one line."""
    if error["type"] == "missing":
        return "it is missing"
    value = repr(error["input"])
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {value if len(value) <= 40 else value[:37] + '...'}"
