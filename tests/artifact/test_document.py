"""The written format names every operator with its attributes."""

import inspect
from pathlib import Path

import pytest

from bitface.artifact import file
from bitface.graph.ops import VOCABULARY

DOCUMENT = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text(encoding="utf-8")
# Attributes that are never stored, as they change nothing in evaluation.
UNSTORED = {"padding_mode", "inplace", "device", "dtype", "momentum", "affine", "track_running_stats", "return_indices",
            "init", "args", "kwargs"}  # fmt: skip


@pytest.mark.parametrize("op", [*VOCABULARY, "Constant"])
def test_every_operator_is_described(op: str) -> None:
    rows = [
        line.split("|") for line in DOCUMENT.splitlines() if line.startswith("| `") and f"`{op}`" in line.split("|")[1]
    ]
    assert len(rows) == 1
    attributes = set(inspect.signature(VOCABULARY[op]).parameters) - UNSTORED if op in VOCABULARY else set()
    if op in ("IntegerLinear", "Conv", "Linear"):  # described by what IntegerConv has
        rows = [line.split("|") for line in DOCUMENT.splitlines() if line.startswith("| `Integer")]
    named = " ".join(row[2] for row in rows)
    assert {name for name in attributes if f"`{name}`" not in named} == set()


def test_the_numbers_of_the_format() -> None:
    assert f"version {file.FORMAT}\n" in DOCUMENT
    assert file.MAGIC == b"BITFACE\n"
    golden = Path(__file__).with_name("golden.bitface")
    assert f"{golden.stat().st_size} bytes" in DOCUMENT
