"""The tests that are named as proof of a promise are there, and counted where they stand."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_named_test_is_there() -> None:
    from lib.promises import ASKED, GROUPS

    for place in {place for group in GROUPS.values() for own in group.values() for place in own}:
        file, _, name = place.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in names, place
    assert [int(re.match(r"\d+", words).group()) for words in ASKED] == list(range(1, 26))


def test_cases_are_counted_by_whole_names() -> None:
    from reliability import counted

    cases = [("tests.a.test_b::test_c[1]", "passed"), ("tests.a.test_b::test_c[2]", "failed"),
             ("tests.a.test_b::test_cd", "passed"), ("tests.a.test_bc::test_c", "skipped")]  # fmt: skip
    assert counted(cases, ["tests/a/test_b.py"]) == {"attempts": 3, "failures": 1, "skipped": 0}
    assert counted(cases, ["tests/a/test_b.py::test_c"]) == {"attempts": 2, "failures": 1, "skipped": 0}
    assert counted(cases, ["tests/a/test_bc.py", "tests/a/test_b.py::test_cd"])["attempts"] == 1
    assert counted(cases, []) == {"attempts": 3, "failures": 1, "skipped": 1}
