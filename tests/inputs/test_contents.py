"""A test is named by what it says: what was kept of another content of the same files isn't taken for its own."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitface.evaluation.protocols.registry import Opened
from bitface.inputs.contents import state_of
from bitface.inputs.protocols import open_protocol
from support.protocol_sets import SPECS, write_sets

# What is said differently in a file of each kind: the same images, other people or other comparisons.
CHANGES: dict[str, tuple[str, str, str]] = {
    "pairs": ("pairs.txt", "p00/0.png p00/1.png 1 0", "p00/0.png p00/1.png 0 0"),
    "videos": ("splits.txt", "1, p00/0, p00/1, 0.5, 1", "1, p00/0, p00/1, 0.5, 0"),
    "templates": ("matches.txt", "0 1 1", "0 1 0"),
    "galleries": ("probes.csv", "200,0,p00/1.png", "200,1,p00/1.png"),
    "distractors": ("scrub.json", '"p00", "p00"', '"p01", "p00"'),
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_sets(tmp_path)


@pytest.mark.parametrize("kind", SPECS)
def test_other_images_are_another_test(kind: str, base: Path) -> None:
    opened = open_protocol("mine", SPECS[kind], base)
    before = state_of(opened)
    assert state_of(open_protocol("mine", SPECS[kind], base)) == before
    os.utime(opened.files[-1].path, ns=(1, 1))
    assert state_of(open_protocol("mine", SPECS[kind], base)) != before


@pytest.mark.parametrize("kind", CHANGES)
def test_other_words_are_another_test(kind: str, base: Path) -> None:
    before = open_protocol("mine", SPECS[kind], base)
    name, old, new = CHANGES[kind]
    text = (base / name).read_text()
    assert old in text
    (base / name).write_text(text.replace(old, new, 1))
    after = open_protocol("mine", SPECS[kind], base)
    assert after.protocol.paths == before.protocol.paths
    assert state_of(after) != state_of(before)


def test_other_landmarks_are_another_test(base: Path) -> None:
    before = state_of(open_protocol("mine", SPECS["templates"], base))
    text = (base / "points.txt").read_text()
    (base / "points.txt").write_text(text.replace("30 40 80 40", "31 40 80 40", 1))
    assert state_of(open_protocol("mine", SPECS["templates"], base)) != before


@dataclass(frozen=True)
class Of:
    """A protocol of another package."""

    said: Any
    name: str = "mine"
    paths: tuple[str, ...] = ()


class Said:
    """Nobody knows what it says."""


def test_whatever_a_protocol_holds() -> None:
    long = np.arange(5000)
    other = long.copy()
    other[2500] = 0  # `repr` shows the ends alone
    said: list[Any] = [
        "a",
        "b",
        ("a", "b"),
        ["a", "b"],
        ["ab"],
        ["a", "b", "c"],
        {"a": 1},
        long,
        other,
        long.astype(float),
    ]
    said += [np.array(["a"]), np.array(["b"]), None, 1, True]
    names = {state_of(Opened(Of(one), [])) for one in said}  # type: ignore[arg-type]
    assert len(names) == len(said) - 1  # a tuple says what a list does
    unknown = Opened(Of(Said()), [])  # type: ignore[arg-type]
    assert state_of(unknown) != state_of(replace(unknown))
