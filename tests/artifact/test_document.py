"""The written format names every operator with its attributes."""

from pathlib import Path

import pytest

from bitface.artifact import file
from bitface.graph.attributes import defaults
from bitface.graph.op_spec import vocabulary

DOCUMENT = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text(encoding="utf-8")
ROWS = [line.split("|") for line in DOCUMENT.splitlines() if line.startswith("| `")]
VOCABULARY = vocabulary()
# Described by what IntegerConv has.
LIKE_INTEGER_CONV = ("IntegerLinear", "Conv", "Linear")


@pytest.mark.parametrize("op", [*VOCABULARY, "Constant"])
def test_every_operator_is_described(op: str) -> None:
    rows = [row for row in ROWS if f"`{op}`" in row[1]]
    assert len(rows) == 1
    if op in LIKE_INTEGER_CONV:
        rows = [row for row in ROWS if "`Integer" in row[1]]
    stored = defaults(VOCABULARY[op]) if op in VOCABULARY else {}
    assert {name for name in stored if f"`{name}`" not in " ".join(row[2] for row in rows)} == set()


def test_the_numbers_of_the_format() -> None:
    assert f"version {file.FORMAT}\n" in DOCUMENT
    assert file.MAGIC == b"BITFACE\n"
    golden = Path(__file__).with_name("golden.bitface")
    assert f"{golden.stat().st_size} bytes" in DOCUMENT
