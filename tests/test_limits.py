"""Caps that all readers share."""

from pathlib import Path

import pytest

from bitface.errors import UsageError
from bitface.files import read_yaml
from bitface.limits import TooLarge, check_content, largest_content


def test_what_is_packed_stays_near_its_size() -> None:
    assert largest_content(0) == 1 << 20
    check_content(16 * 1000 + (1 << 20), 1000)
    with pytest.raises(TooLarge, match="would unpack 600,000,000 bytes or more from 597,000"):
        check_content(600_000_000, 597_000)


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "more than 100,000 values"),
        ("a: &a [*a]", "more than 100,000 values"),
        ("a: &a {b: *a}", "more than 100,000 values"),
        ("a: [" + "1, " * 100_000 + "1]", "more than 100,000 values"),
        ("a: " + "x" * (1 << 20), "more than 1 MB"),
        ("[" * 5000, "no readable recipe"),
        ("a: 1\na: 2", "stands twice"),
    ],
    ids=["laughs", "list in itself", "mapping in itself", "long", "large", "deep", "twice"],
)
def test_yaml_that_grows(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        read_yaml(tmp_path / "file.yaml", "recipe")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_names_for_values_are_fine(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n")
    assert read_yaml(tmp_path / "file.yaml", "recipe") == {
        "a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3},
    }  # fmt: skip
