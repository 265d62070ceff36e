from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from bitface.config import File, FilePath, Words, read
from bitface.errors import UsageError


class Part(File):
    count: Annotated[int, Field(ge=1, le=9)] = 1
    mode: Literal["slow", "fast"] = "fast"


class Example(File):
    place: FilePath
    part: Part = Part()
    words: Words = ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plce: a", "the example has an unknown key 'plce'; did you mean 'place'?"),
        ("{}", "the example lacks 'place'"),
        ("- place", "the example must be a mapping of keys to values (place, part, words)"),
        ("place: 3", "'place' of the example can't be 3"),
        ("{place: a, part: {cuont: 3}}", "the example's part has an unknown key 'cuont'; did you mean 'count'?"),
        ("{place: a, part: {count: 12}}", "'count' of the example's part is 12: use 1 to 9"),
        ("{place: a, part: {count: true}}", "'count' of the example's part can't be True: use a whole number"),
        ("place: a\npart: {mode: fst}", "'mode' of the example's part can't be 'fst': use slow or fast; did you mean 'fast'?"),  # noqa: E501
        ("{place: a, words: [b, 1]}", "'words' of the example can't be ['b', 1]: use a word"),
    ],
)  # fmt: skip
def test_messages(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(path, Example, "example")
    assert str(caught.value) == f"{path}: {message}"


def test_paths_begin_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{place: a/b, words: c}")
    assert read(path, Example, "example") == Example.model_construct(place=tmp_path / "a/b", part=Part(), words=("c",))
