"""Every table in README.md and docs/ is what `benchmarks/results/*.json` says."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pages_hold_what_the_results_say() -> None:
    from lib.pages import pages

    different = [file.name for file, text in pages().items() if file.read_text(encoding="utf-8") != text]
    assert not different, "python benchmarks/readme.py writes them again"


def test_every_marked_table_is_a_generated_one() -> None:
    from lib.pages import TABLES

    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        marked = re.findall(r"^<!-- (\w+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(marked) == {name for name, (file, *_) in TABLES.items() if file == page}, page.name


def test_the_index_names_every_script_and_every_result() -> None:
    index = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")}
    assert not [name for name in scripts if f"]({name})" not in index]
    for result in (ROOT / "benchmarks" / "results").glob("*.json"):
        rows = [line for line in index.splitlines() if f"](results/{result.name})" in line]
        assert rows, f"{result.name} isn't in the index"
        day = json.loads(result.read_text(encoding="utf-8"))["created"][:10]
        assert all(day in row for row in rows), f"{result.name} is of {day}"


def test_tests_named_as_proof_of_a_promise_are_there() -> None:
    from lib.tables import read

    places = [place for row in read("reliability")["rows"] for place in row["tests"]]
    assert not [place for place in places if not (ROOT / place.partition("::")[0]).is_file()]
