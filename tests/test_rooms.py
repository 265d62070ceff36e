"""The rooms of `docs/architecture.md`: none imports one that stands below it in the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import bitface

SOURCE = Path(bitface.__file__).parent
OUTSIDE = {"config", "errors", "files", "cpu", "preprocess", "progress", "registry", "store", "__init__", "__main__"}


def rooms() -> list[str]:
    """The rooms that hold code, in the order of the table."""
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    return [name for name in named if any((SOURCE / name).glob("*.py"))]


def imported(file: Path) -> Iterator[str]:
    """The rooms that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "bitface":
            yield from (alias.name for alias in node.names)
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            yield from (name.split(".")[1] for name in names if name.startswith("bitface."))


def test_every_room_is_in_the_table() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/*.py")}
    assert folders == set(rooms())
    assert {path.stem for path in SOURCE.glob("*.py")} <= OUTSIDE


def test_the_data_walks_one_way() -> None:
    order = rooms()
    back = [
        f"{file.relative_to(SOURCE)} imports {name}"
        for place, room in enumerate(order)
        for file in (SOURCE / room).rglob("*.py")
        for name in imported(file)
        if name in order[place + 1 :]
    ]
    assert not back
