"""Attributes of images and people, from CSV files."""

from pathlib import Path

import pytest

from bitface.errors import BitfaceError
from bitface.evaluation.groups import read_groups

IMAGES = ["Ada/1.jpg", "Ada/2.jpg", "Ben/1.jpg", "Cy/1.jpg"]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_attributes_of_people(tmp_path: Path) -> None:
    groups = read_groups(written(tmp_path, "person,age,skin\nAda,old,I\nBen,young,\n"), IMAGES)
    assert {name: list(inside) for name, inside in groups.members.items()} == {"age": ["old", "young"], "skin": ["I"]}
    assert groups.members["age"]["old"].tolist() == [True, True, False, False]
    assert groups.members["age"]["young"].tolist() == [False, False, True, False]
    assert groups.members["skin"]["I"].tolist() == [True, True, False, False]
    assert groups.unknown == 1


def test_attributes_of_images(tmp_path: Path) -> None:
    groups = read_groups(written(tmp_path, "path,glasses\nAda/1.jpg,yes\nAda\\2.jpg,no\nCy/1.jpg,yes\n"), IMAGES)
    assert groups.members["glasses"]["yes"].tolist() == [True, False, False, True]
    assert groups.members["glasses"]["no"].tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header is empty"),
        ("name,age\nAda,old\n", "expected a column 'path' or 'person'"),
        ("person\nAda\n", "one column for each attribute"),
        ("person,age,age\nAda,old,old\n", "one column for each attribute"),
        ("person,age\nAda,old,1\n", r"groups.csv:2: expected 2 cells"),
        ("person,age\nAda\n", r"groups.csv:2: expected 2 cells"),
        ("person,age\n,old\n", r"groups.csv:2: expected 2 cells"),
        ("person,age\nAda,old\nAda,young\n", r"groups.csv:3: says something else of 'Ada'"),
        ("person,age\nZoe,old\n", "has no attribute of any of the 4 images, 'Ada' the first"),
        ("path,age\nZoe/1.jpg,old\n", "holds paths below the image folder"),
        ('person,age\n"Ada,old\n', "no readable CSV"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BitfaceError, match=message):
        read_groups(written(tmp_path, text), IMAGES)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BitfaceError, match="no readable CSV file of attributes"):
        read_groups(tmp_path / "no.csv", IMAGES)
